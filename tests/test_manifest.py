import hashlib
import itertools
from collections import Counter
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tune.audio import AudioFacts
from ser_tune.config import EMOTIONS, DataConfig
from ser_tune.corpora import Clip, Excluded, read_clips
from ser_tune.errors import InputError
from ser_tune.manifest import Manifest, build_manifest, data_fingerprint, summary

COLUMNS = ["clip_id", "corpus", "speaker", "emotion", "text", "path", "duration_s", "sample_rate", "sha256"]
DATA = DataConfig(data_dir=Path("data"))


def sounding(content: str) -> AudioFacts:
    return AudioFacts(hashlib.sha256(content.encode()).hexdigest(), 2.5, 16000, 1, 0.5)


def clip(path: str, emotion: str = "happy", corpus: str = "tess", speaker: str = "tess-OAF") -> Clip:
    return Clip(path, corpus, speaker, emotion, "")


# Two clips that nothing is wrong with, so that something always remains.
SOUND = [clip("/d/fine_happy.wav"), clip("/d/fine_sad.wav", "sad")]
FACTS = {"/d/fine_happy.wav": sounding("fine happy"), "/d/fine_sad.wav": sounding("fine sad")}


def build(clips: list[Clip], facts: dict[str, AudioFacts], data: DataConfig = DATA) -> Manifest:
    return build_manifest(SOUND + clips, FACTS | facts, [], data)


def left_out(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.excluded["path"], manifest.excluded["reason"], strict=True))


def four_complete_corpora(folder: Path) -> None:
    """Empty files under every name of the four corpora; the counts are those of the corpora's documentation."""
    grid = itertools.product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
    names = [f"Actor_{a:02}/03-01-{e:02}-{i:02}-{s:02}-{r:02}-{a:02}" for a, e, i, s, r in grid if (e, i) != (1, 2)]
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
    tess = itertools.product(("OAF", "YAF"), words, ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"))
    names += [f"TESS/{'_'.join(parts)}" for parts in tess]
    savee = itertools.product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su"), range(1, 31))
    names += [f"ALL/{s}_{code}{n:02}" for s, code, n in savee if n <= 15 or code == "n"]
    sentences = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
    crema_d = [
        f"AudioWAV/{actor}_{sentence}_{emotion}_{level}"
        for actor, sentence, emotion in itertools.product(
            range(1001, 1092), sentences, ("ANG", "DIS", "FEA", "HAP", "SAD")
        )
        for level in (("LO", "MD", "HI") if sentence == "IEO" else ("XX",))
        # the corpus has 1271 of these 1274, for each emotion; which ones does not matter here
        if (actor, sentence) not in {(1002, "ITS"), (1019, "ITH"), (1064, "TIE")}
    ]
    neutral = [
        f"AudioWAV/{actor}_{sentence}_NEU_XX" for actor, sentence in itertools.product(range(1001, 1092), sentences)
    ]
    names += crema_d + neutral[:-5]
    for parent in {name.partition("/")[0] for name in names}:
        (folder / parent).mkdir()
    for name in names:
        (folder / f"{name}.wav").touch()


def test_of_the_four_complete_corpora_12154_of_12162_clips_remain(tmp_path: Path) -> None:
    four_complete_corpora(tmp_path)
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    assert (len(clips), excluded) == (12162, [])
    assert len({clip.speaker for clip in clips}) == 121
    assert Counter(clip.emotion for clip in clips) == {
        **dict.fromkeys(("happy", "sad", "angry", "fearful", "disgust"), 1923),
        "neutral": 1703,
        "surprise": 652,
        "calm": 192,
    }
    facts = {clip.path: sounding(clip.path) for clip in clips}
    at = {Path(clip.path).stem: clip.path for clip in clips}
    pairs = [("1006_TIE_HAP_XX", "1006_TIE_NEU_XX"), ("1013_WSI_DIS_XX", "1013_WSI_SAD_XX")]
    pairs += [("1017_IWW_ANG_XX", "1017_IWW_FEA_XX"), ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")]
    for one, other in pairs:
        facts[at[other]] = facts[at[one]]
    facts[at["1076_MTI_SAD_XX"]] = AudioFacts("5", 2.0, 16000, 1, 0.0)
    manifest = build_manifest(clips, facts, excluded, DataConfig(data_dir=tmp_path))
    assert len(manifest.clips) == 12154
    assert summary(manifest.excluded["reason"]) == {"contradicting labels": 6, "duplicate": 1, "silent": 1}
    everything = build_manifest(clips, facts, excluded, DataConfig(data_dir=tmp_path, keep_everything=True))
    assert (len(everything.clips), len(everything.excluded)) == (12162, 0)


def test_the_tables_have_the_documented_columns_and_order() -> None:
    manifest = build([clip("/d/a.wav")], {"/d/a.wav": sounding("a")})
    assert list(manifest.clips) == COLUMNS
    assert list(manifest.excluded) == ["path", "corpus", "reason"]
    assert manifest.clips["clip_id"].tolist() == ["tess/a", "tess/fine_happy", "tess/fine_sad"]
    assert manifest.clips.index.equals(pd.RangeIndex(3))
    assert set(manifest.clips["duration_s"]) == {2.5}
    assert set(manifest.clips["sample_rate"]) == {16000}


def test_an_empty_table_of_what_is_left_out_keeps_its_types(tmp_path: Path) -> None:
    build([], {}).excluded.to_parquet(tmp_path / "excluded.parquet")
    kinds = {str(kind) for kind in pq.read_schema(tmp_path / "excluded.parquet").types}
    assert kinds <= {"string", "large_string"}


def test_a_duplicate_counts_once_and_names_the_copy_that_is_used() -> None:
    copies = [clip("/d/nested/a.wav"), clip("/d/a.wav"), clip("/d/b.wav")]
    manifest = build(copies, {copy.path: sounding("same") for copy in copies})
    assert "/d/a.wav" in set(manifest.clips["path"])
    assert left_out(manifest) == {
        "/d/nested/a.wav": "duplicate: same audio as /d/a.wav",
        "/d/b.wav": "duplicate: same audio as /d/a.wav",
    }


def test_a_clip_of_a_known_corpus_is_preferred_to_its_row_in_a_table() -> None:
    row, known = clip("/a/first.wav", corpus="own", speaker="Ann"), clip("/z/last.wav")
    manifest = build([row, known], {row.path: sounding("same"), known.path: sounding("same")})
    assert left_out(manifest) == {"/a/first.wav": "duplicate: same audio as /z/last.wav"}


def test_every_copy_of_audio_with_contradicting_labels_is_left_out() -> None:
    copies = [clip("/d/1.wav", "sad"), clip("/d/2.wav", "angry"), clip("/d/3.wav", "sad")]
    manifest = build(copies, {copy.path: sounding("same") for copy in copies})
    assert left_out(manifest) == {
        "/d/1.wav": "contradicting labels: sad here, angry for the same audio in /d/2.wav",
        "/d/2.wav": "contradicting labels: angry here, sad for the same audio in /d/1.wav",
        "/d/3.wav": "contradicting labels: sad here, angry for the same audio in /d/2.wav",
    }


def test_unreadable_and_silent_clips_are_left_out_with_the_reason() -> None:
    clips = [clip("/d/empty.wav"), clip("/d/torn.wav", "sad"), clip("/d/silent.wav")]
    facts = {
        "/d/empty.wav": AudioFacts(error="empty file"),
        "/d/torn.wav": AudioFacts(error="not decodable as audio"),
        "/d/silent.wav": AudioFacts("5", 2.0, 16000, 1, 0.0),
    }
    reasons = left_out(build(clips, facts))
    assert reasons.pop("/d/silent.wav").startswith("silent: holds no sound")
    assert reasons == {"/d/empty.wav": "unreadable: empty file", "/d/torn.wav": "unreadable: not decodable as audio"}


def test_keep_everything_leaves_out_only_what_cannot_be_decoded() -> None:
    clips = [clip("/d/1.wav", "sad"), clip("/d/2.wav"), clip("/d/3.wav"), clip("/d/0.wav"), clip("/d/torn.wav")]
    facts = {path: sounding("same") for path in ("/d/1.wav", "/d/2.wav", "/d/3.wav")}
    facts |= {"/d/0.wav": AudioFacts("5", 2.0, 16000, 1, 0.0), "/d/torn.wav": AudioFacts(error="empty file")}
    manifest = build(clips, facts, DataConfig(data_dir=Path("data"), keep_everything=True))
    assert len(manifest.clips) == 6
    assert left_out(manifest) == {"/d/torn.wav": "unreadable: empty file"}


def test_what_was_left_out_before_is_listed_too() -> None:
    manifest = build_manifest(SOUND, FACTS, [Excluded("/d/take.wav", "", "not a corpus file: x")], DATA)
    assert left_out(manifest) == {"/d/take.wav": "not a corpus file: x"}


def test_clips_of_one_name_get_ids_of_their_own() -> None:
    paths = ["/d/DC/a01.wav", "/d/JE/a01.wav", "/d/JK/a01.wav", "/d/x/a01~2.wav"]
    clips = [clip(path, corpus="savee", speaker=path) for path in paths]
    manifest = build(clips, {path: sounding(path) for path in paths})
    ids = manifest.clips.loc[manifest.clips["corpus"] == "savee", "clip_id"].tolist()
    assert ids == ["savee/a01", "savee/a01~2", "savee/a01~2~2", "savee/a01~3"]


audio = st.sampled_from(["a", "b", "c", "d"])
recordings = st.lists(st.tuples(audio, st.sampled_from(EMOTIONS), st.sampled_from(["own", "tess"])), max_size=12)


@given(recordings, st.randoms())
def test_neither_the_folder_nor_the_order_of_clips_changes_what_is_used(
    drawn: list[tuple[str, str, str]], random: Random
) -> None:
    manifests = []
    for root in ("/d", "/elsewhere/deeper"):
        clips = [clip(f"{root}/{n % 3}/{n // 3}.wav", *kind[1:]) for n, kind in enumerate(drawn)]
        facts = {each.path: sounding(kind[0]) for each, kind in zip(clips, drawn, strict=True)}
        random.shuffle(clips)
        manifests.append(build(clips, facts).clips)
    here, there = manifests
    assert data_fingerprint(here) == data_fingerprint(there)
    pd.testing.assert_frame_equal(here.drop(columns="path"), there.drop(columns="path"))


@given(recordings)
def test_no_audio_is_used_twice_and_every_clip_is_used_or_listed(drawn: list[tuple[str, str, str]]) -> None:
    clips = [clip(f"/d/{n}.wav", *kind[1:]) for n, kind in enumerate(drawn)]
    facts = {each.path: sounding(kind[0]) for each, kind in zip(clips, drawn, strict=True)}
    manifest = build(clips, facts)
    assert manifest.clips["sha256"].is_unique
    assert manifest.clips["clip_id"].is_unique
    assert sorted([*manifest.clips["path"], *manifest.excluded["path"]]) == sorted(each.path for each in SOUND + clips)
    emotions = {name: {kind[1] for kind in drawn if kind[0] == name} for name in "abcd"}
    used = {sounding(name).sha256 for name, labels in emotions.items() if len(labels) == 1}
    assert set(manifest.clips["sha256"]) == used | {fact.sha256 for fact in FACTS.values()}


@pytest.mark.parametrize("column", ["sha256", "corpus", "speaker", "emotion", "text"])
def test_the_fingerprint_changes_with_the_content_and_not_with_the_path(column: str) -> None:
    clips = build([], {}).clips
    assert data_fingerprint(clips.assign(path="/elsewhere")) == data_fingerprint(clips)
    assert data_fingerprint(clips.assign(**{column: "other"})) != data_fingerprint(clips)


def test_nothing_usable_is_refused_with_what_was_found() -> None:
    facts = {"/d/a.wav": AudioFacts(error="empty file")}
    before = [Excluded(f"/d/{n}.wav", "", "not a corpus file: x") for n in range(2)]
    with pytest.raises(
        InputError, match=r"no usable recording in data \(left out: 2 not a corpus file, 1 unreadable\)"
    ):
        build_manifest([clip("/d/a.wav")], facts, before, DATA)
    with pytest.raises(InputError, match="no other audio file is there"):
        build_manifest([], {}, [], DATA)


def test_one_emotion_alone_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match=r"only one emotion, happy, in data .*expected two or more"):
        build_manifest(SOUND[:1], FACTS, [], DATA)
