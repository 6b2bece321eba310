import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tune.adapters import ADAPTERS
from ser_tune.config import DataConfig
from ser_tune.corpora import Clip, Excluded, read_clips
from ser_tune.errors import InputError

LAYOUTS = {
    "ravdess": "Ravdess/audio_speech_actors_01-24/Actor_01/03-01-05-01-01-01-01.wav",
    "tess": "Tess/OAF_angry/OAF_back_angry.wav",
    "savee": "Savee/AudioData/DC/a01.wav",
    "crema-d": "Crema/1001_DFA_ANG_XX.wav",
    "emo-db": "emo/wav/03a01Wa.wav",
}
SPEAKERS = {
    "ravdess": "ravdess-01",
    "tess": "tess-OAF",
    "savee": "savee-DC",
    "crema-d": "crema-d-1001",
    "emo-db": "emo-db-03",
}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def reasons(excluded: list[Excluded]) -> dict[str, str]:
    return {Path(item.path).name: item.reason for item in excluded}


@pytest.mark.parametrize("corpus", ADAPTERS)
@pytest.mark.parametrize("depth", ["", "a/b c/d"])
def test_a_corpus_is_found_at_any_depth_with_speakers_unique_over_all(tmp_path: Path, corpus: str, depth: str) -> None:
    touch(tmp_path, *(str(Path(depth, name)) for name in LAYOUTS.values()))
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path, corpora=(corpus,)))
    path = str(tmp_path / depth / LAYOUTS[corpus])
    assert [(clip.path, clip.corpus, clip.speaker, clip.emotion) for clip in clips] == [
        (path, corpus, SPEAKERS[corpus], "angry")
    ]
    assert len(excluded) == 4
    assert all(item.reason == "not chosen: its corpus is not among --corpora" for item in excluded)


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_the_folder_of_one_speaker_alone_is_enough(tmp_path: Path, corpus: str) -> None:
    touch(tmp_path, LAYOUTS[corpus])
    clips, _ = read_clips(DataConfig(data_dir=(tmp_path / LAYOUTS[corpus]).parent))
    assert [clip.speaker for clip in clips] == [SPEAKERS[corpus]]


@pytest.mark.parametrize("written", ["crema-d", "CREMA_D", "cremad", "Crema D"])
def test_corpora_are_chosen_however_they_are_written(tmp_path: Path, written: str) -> None:
    touch(tmp_path, *LAYOUTS.values())
    clips, _ = read_clips(DataConfig(data_dir=tmp_path, corpora=(written,)))
    assert [clip.corpus for clip in clips] == ["crema-d"]


def test_a_corpus_that_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    touch(tmp_path, LAYOUTS["tess"], LAYOUTS["ravdess"])
    with pytest.raises(InputError, match=r"--corpora asks for savee; found in .*: ravdess, tess"):
        read_clips(DataConfig(data_dir=tmp_path, corpora=("tess", "savee")))


def test_other_emotions_than_the_chosen_are_left_out_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "OAF_back_sad.wav", "OAF_back_happy.wav", "OAF_back_fear.wav")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path, emotions=("sad", "happy")))
    assert sorted(clip.emotion for clip in clips) == ["happy", "sad"]
    assert reasons(excluded) == {"OAF_back_fear.wav": "not chosen: fearful is not among --emotions"}


def test_boredom_is_left_out_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "wav/03a01La.wav", "wav/03a01Na.wav")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    assert len(clips) == 1
    assert [(item.corpus, item.reason) for item in excluded] == [("emo-db", "emotion: boredom is none of the eight")]


def test_everything_that_looks_like_audio_is_a_clip_or_has_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "OAF_back_sad.WAV", "my take.wav", "._OAF_back_sad.wav", "__MACOSX/OAF_dog_sad.wav", ".git/x.ogg")
    touch(tmp_path, "labels.txt", "OAF_back_sad.json", "OAF_gap_sad.caf", "my take.m4a")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    assert {Path(clip.path).name for clip in clips} == {"OAF_back_sad.WAV", "OAF_gap_sad.caf"}
    assert {name: reason.partition(":")[0] for name, reason in reasons(excluded).items()} == {
        "my take.wav": "not a corpus file",
        "my take.m4a": "not a corpus file",
        "._OAF_back_sad.wav": "macOS resource fork",
        "OAF_dog_sad.wav": "macOS resource fork",
        "x.ogg": "hidden",
    }


def test_links_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "data/Tess/OAF_back_sad.wav", "elsewhere/1001_DFA_ANG_XX.wav", "store/3f9a")
    data = tmp_path / "data"
    (data / "Crema").symlink_to(tmp_path / "elsewhere")
    (data / "again").symlink_to(data / "Tess")
    (data / "Tess" / "up").symlink_to(tmp_path)
    (data / "OAF_dog_sad.wav").symlink_to(tmp_path / "store" / "3f9a")
    (data / "OAF_gone_sad.wav").symlink_to(tmp_path / "gone")
    clips, excluded = read_clips(DataConfig(data_dir=data))
    assert [Path(clip.path).name for clip in clips] == ["1001_DFA_ANG_XX.wav", "OAF_dog_sad.wav", "OAF_back_sad.wav"]
    assert reasons(excluded) == {"OAF_gone_sad.wav": "unreadable: No such file or directory"}


def test_a_pipe_is_left_out_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "OAF_back_sad.wav")
    assert reasons(read_clips(DataConfig(data_dir=tmp_path))[1]) == {
        "OAF_back_sad.wav": "unreadable: not a regular file"
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_closed_folder_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "open/OAF_back_sad.wav", "closed/OAF_dog_sad.wav")
    (tmp_path / "closed").chmod(0)
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    (tmp_path / "closed").chmod(0o755)
    assert len(clips) == 1
    assert reasons(excluded) == {"closed": "unreadable: folder cannot be opened (Permission denied)"}


def test_names_of_any_bytes_are_clips_or_are_left_out_with_an_escaped_path(tmp_path: Path) -> None:
    touch(tmp_path, "new\nline 😀 [red]/OAF_back_sad.wav")
    touch(tmp_path / os.fsdecode(b"caf\xe9"), "OAF_dog_sad.wav")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    assert [clip.path for clip in clips] == [str(tmp_path / "new\nline 😀 [red]/OAF_back_sad.wav")]
    assert [item.path for item in excluded] == [f"{tmp_path}/caf\\xe9/OAF_dog_sad.wav"]
    assert excluded[0].reason.startswith("file name: ")


def test_folders_too_deep_to_be_searched_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "d/" * 99 + "OAF_back_sad.wav", "d/" * 300 + "OAF_dog_sad.wav")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    assert [Path(clip.path).name for clip in clips] == ["OAF_back_sad.wav"]
    assert [item.reason for item in excluded] == ["unreadable: 101 folders deep"]


def test_sample_corpora_below_the_folder_are_not_mixed_with_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "OAF_back_sad.wav", "feature_cache/sample/.synthetic", "feature_cache/sample/TESS/OAF_dog_sad.wav")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path))
    assert [Path(clip.path).name for clip in clips] == ["OAF_back_sad.wav"]
    assert reasons(excluded)["sample"].startswith("synthetic: ")
    assert len(read_clips(DataConfig(data_dir=tmp_path / "feature_cache" / "sample"))[0]) == 1


def test_an_absent_folder_or_a_file_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data-dir .*gone: No such file or directory; expected a folder"):
        read_clips(DataConfig(data_dir=tmp_path / "gone"))
    touch(tmp_path, "table.csv")
    with pytest.raises(InputError, match=r"table.csv is a file; expected a folder .*--csv"):
        read_clips(DataConfig(data_dir=tmp_path / "table.csv"))


def write_table(folder: Path, *lines: str) -> DataConfig:
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return DataConfig(csv=folder / "table.csv")


def test_a_table_brings_ones_own_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "mine/a.m4a", "b.wav")
    data = write_table(
        tmp_path,
        "speaker,emotion,path,text,corpus",
        'Ann,Anger,mine/a.m4a,"hello, you",',
        f"Bob,sad,{tmp_path}/b.wav,,Study 1",
    )
    assert read_clips(data) == (
        [
            Clip(f"{tmp_path}/b.wav", "Study 1", "Bob", "sad", ""),
            Clip(f"{tmp_path}/mine/a.m4a", "own", "Ann", "angry", "hello, you"),
        ],
        [],
    )


@pytest.mark.parametrize(
    ("written", "emotion"),
    [("happiness", "happy"), ("Fear", "fearful"), (" surprised ", "surprise"), ("sadness", "sad"), ("CALM", "calm")],
)
def test_a_table_may_use_common_words_for_emotions(tmp_path: Path, written: str, emotion: str) -> None:
    touch(tmp_path, "a.wav")
    clips, _ = read_clips(write_table(tmp_path, "path,emotion,speaker", f"a.wav,{written},Ann"))
    assert [clip.emotion for clip in clips] == [emotion]


def test_rows_that_cannot_be_used_are_left_out_each_with_its_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    rows = ("a.wav,bored,Ann", "gone.wav,sad,Ann", ",sad,Ann", "a.wav,sad,", "a.wav,,Ann", ".,sad,Ann", "a.wav")
    clips, excluded = read_clips(write_table(tmp_path, "path,emotion,speaker", *rows))
    assert clips == []
    assert sorted(item.reason for item in excluded) == [
        "emotion: an empty one is none of the eight",
        "emotion: bored is none of the eight",
        "row of the table: no path",
        "row of the table: no speaker",
        "row of the table: no speaker",
        "unreadable: No such file or directory",
        "unreadable: not a regular file",
    ]


def test_a_row_of_more_fields_than_columns_is_left_out_and_empty_ones_are_no_matter(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    clips, left_out = read_clips(
        write_table(tmp_path, "path,emotion,speaker", "a.wav,sad,Smith, John", "b.wav,sad,Ann,")
    )
    assert [(Path(clip.path).name, clip.speaker) for clip in clips] == [("b.wav", "Ann")]
    assert [one.reason for one in left_out] == [
        "row of the table: more fields than columns; put in quotes what holds a comma"
    ]


def test_a_table_names_regular_files_and_nothing_else_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "OAF_back_sad.wav").symlink_to("/dev/zero")
    names = ["/dev/zero", "/dev/stdin", "pipe.wav", "OAF_back_sad.wav", "file:///etc/passwd", "~/a.wav", "$HOME", "|ls"]
    names += ["https://example.org/a.wav", "a" * 100_000, "../" * 9999 + "a.wav"]
    clips, excluded = read_clips(write_table(tmp_path, "path,emotion,speaker", *(f"{name},sad,Ann" for name in names)))
    assert clips == []
    assert len(excluded) == len(names)
    assert all(item.reason.startswith("unreadable: ") for item in excluded)


def test_a_table_names_recordings_wherever_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.wav", "here/x")
    data = write_table(tmp_path / "here", "path,emotion,speaker", "../elsewhere/a.wav,sad,Ann")
    assert [clip.path for clip in read_clips(data)[0]] == [f"{tmp_path}/elsewhere/a.wav"]


@pytest.mark.parametrize("column", ["speaker", "corpus"])
def test_names_that_would_command_a_terminal_are_left_out(tmp_path: Path, column: str) -> None:
    touch(tmp_path, "a.wav")
    row = {"path": "a.wav", "emotion": "sad", "speaker": "Ann", "corpus": "own"} | {column: "\x1b[2J"}
    clips, excluded = read_clips(write_table(tmp_path, ",".join(row), ",".join(row.values())))
    assert clips == []
    assert [item.reason for item in excluded] == ["row of the table: control characters in its speaker or corpus"]


def test_a_recording_that_the_table_names_is_not_left_out_of_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "take.wav", "OAF_back_sad.wav")
    data = write_table(tmp_path, "path,emotion,speaker", "take.wav,sad,Ann")
    clips, excluded = read_clips(DataConfig(data_dir=tmp_path, csv=data.csv))
    assert [clip.corpus for clip in clips] == ["own", "tess"]
    assert excluded == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,emotion\na.wav,sad\n", r"lacks speaker among its columns \(path, emotion\)"),
        (b"path;emotion;speaker\n", r"expected path,emotion,speaker.*separated by commas"),
        (b"", r"among its columns \(none\)"),
        ("path,emotion,speaker\né,sad,Ann\n".encode("latin-1"), "is not UTF-8 .*save it as UTF-8"),
        (b'path,emotion,speaker\n"a"b,sad,Ann\n', "is not a table of comma-separated values"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_clips(DataConfig(csv=tmp_path / "table.csv"))


def test_a_table_that_never_ends_or_never_begins_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**30)  # takes no room on the disk
    for table in (Path("/dev/zero"), tmp_path / "pipe.csv", tmp_path / "huge.csv"):
        with pytest.raises(InputError, match=r"is no file, or of more than [0-9]+ bytes; expected a table"):
            read_clips(DataConfig(csv=table))


def test_an_absent_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--csv .*gone.csv cannot be read: No such file"):
        read_clips(DataConfig(csv=tmp_path / "gone.csv"))


@given(
    st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda row: b"path,emotion,speaker\n" + row)
    | st.text(max_size=40).map(lambda row: f"path,emotion,speaker\n{row},sad,Ann\n".encode(errors="ignore"))
)
def test_no_bytes_of_a_table_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    table = tmp_path_factory.getbasetemp() / "any.csv"
    table.write_bytes(content)
    try:
        clips, excluded = read_clips(DataConfig(csv=table))
    except InputError:
        return
    assert all(":" in item.reason for item in excluded)
    assert all(Path(clip.path).is_file() for clip in clips)
