from collections import Counter
from pathlib import Path

import pytest
import soundfile

from ser_tune.audio import AudioFacts, probe
from ser_tune.config import EMOTIONS, DataConfig
from ser_tune.corpora import read_clips
from ser_tune.errors import InputError
from ser_tune.manifest import Manifest, build_manifest, summary
from ser_tune.sample import make_sample_corpora, speak_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "sample-corpora"
    make_sample_corpora(folder)
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, AudioFacts]:
    clips, _ = read_clips(DataConfig(data_dir=folder))
    return {clip.path: probe(clip.path) for clip in clips}


@pytest.fixture(scope="module")
def manifest(folder: Path, facts: dict[str, AudioFacts]) -> Manifest:
    clips, excluded = read_clips(DataConfig(data_dir=folder))
    assert excluded == []
    return build_manifest(clips, facts, excluded, DataConfig(data_dir=folder))


def test_all_four_corpora_have_their_speakers_rates_and_emotions(manifest: Manifest) -> None:
    clips = manifest.clips
    assert 350 <= len(clips) <= 450
    assert clips.groupby("corpus")["speaker"].nunique().to_dict() == {"ravdess": 6, "tess": 2, "savee": 4, "crema-d": 6}
    rates = {corpus: set(group["sample_rate"]) for corpus, group in clips.groupby("corpus")}
    assert rates == {"ravdess": {48000}, "tess": {24414}, "savee": {44100}, "crema-d": {16000}}
    assert set(clips["emotion"]) == set(EMOTIONS)
    assert set(clips.loc[clips["emotion"] == "calm", "corpus"]) == {"ravdess"}
    assert "crema-d" not in set(clips.loc[clips["emotion"] == "surprise", "corpus"])


def test_real_faults_are_among_them_and_are_left_out(manifest: Manifest) -> None:
    assert summary(manifest.excluded["reason"]) == {"contradicting labels": 2, "duplicate": 1, "silent": 1}


def test_real_oddities_are_among_them_and_are_used(folder: Path, facts: dict[str, AudioFacts]) -> None:
    aiff = folder / "TESS/YAF_fear/YAF_neat_fear.wav"
    assert (aiff.read_bytes()[:4], aiff.read_bytes()[8:12]) == (b"FORM", b"AIFC")
    assert Counter(fact.channels for fact in facts.values())[2] == 1
    assert (folder / "TESS/OAF_neutral/OA_bite_neutral.wav").exists()
    quiet, sample_rate = soundfile.read(folder / "RAVDESS/Actor_02/03-01-05-01-01-01-02.wav")
    assert abs(quiet[: sample_rate // 2]).max() < 0.01 * abs(quiet).max()


def test_they_say_that_they_are_synthetic(folder: Path) -> None:
    assert "Synthetic voices" in (folder / "README.txt").read_text()


def test_the_same_bytes_come_out_each_time(folder: Path, tmp_path: Path) -> None:
    speak_corpus(tmp_path, "TESS")
    again = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.wav")}
    assert len(again) == 112
    changed = [path for path, content in again.items() if (folder / path).read_bytes() != content]
    assert changed == [Path("TESS/YAF_fear/YAF_neat_fear.wav")]  # the one that is turned into AIFF-C


def test_what_is_there_is_left_as_it_is(folder: Path) -> None:
    before = (folder / "README.txt").stat()
    make_sample_corpora(folder)
    assert (folder / "README.txt").stat() == before
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["sample-corpora"]


def test_what_is_there_serves_where_nothing_can_be_written(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "sample-corpora").symlink_to(folder)
    (tmp_path / ".sample-corpora.lock").mkdir()  # root may write everywhere else
    make_sample_corpora(tmp_path / "sample-corpora")


def test_a_cache_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written \(.*\); choose another --cache-dir"):
        make_sample_corpora(tmp_path / "file" / "sample-corpora")


def test_a_folder_of_other_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "sample-corpora").mkdir()
    (tmp_path / "sample-corpora" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"is in the way.*move it or delete it"):
        make_sample_corpora(tmp_path / "sample-corpora")
    assert (tmp_path / "sample-corpora" / "thesis.txt").exists()
