import json
import sys
from pathlib import Path

import pytest
from experiment_fixture import write_experiment

sys.path.append(str(Path(__file__).with_name("faults")))  # the faults themselves are injected by `make faults`

from bench import Row
from compare import differences
from table import as_json, from_json, table
from watch import Watch

from ser_tune.experiment import ExperimentFolder


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    return write_experiment(tmp_path / "experiments" / "faults")


def test_the_reader_finds_nothing_in_whole_files(folder: ExperimentFolder, tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.look()
    with folder.trials.open("a") as file:
        file.write('{"torn')  # as a kill can leave it
    watch.look()
    assert watch.problems == []
    assert watch.n_read > 5


@pytest.mark.parametrize("name", ["selection.json", "test.json", "config.json", "manifest.parquet", "trials.jsonl"])
def test_the_reader_notices_a_file_that_is_not_whole(folder: ExperimentFolder, tmp_path: Path, name: str) -> None:
    path = folder.root / name
    path.write_bytes(path.read_bytes()[:-200] + b"\n")
    watch = Watch(tmp_path)
    watch.look()
    assert [name in problem for problem in watch.problems] == [True]


def test_the_reader_notices_lines_that_were_lost_or_changed(folder: ExperimentFolder, tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.look()
    first, *rest = folder.trials.read_text().splitlines(keepends=True)
    folder.trials.write_text("".join([*rest, first]))
    watch.look()
    assert watch.problems == [f"{folder.trials} lost or changed lines that were there"]


def test_the_comparison_names_what_differs_is_missing_or_too_much() -> None:
    assert differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "d": 4}) == ["b", "c", "d"]


def test_a_row_that_was_kept_in_a_file_makes_the_same_line() -> None:
    row = Row("SIGKILL of the driver", problems=["it lost a line"])
    for stage in ("search", "export", "search", "over"):
        row.hit(stage)
    row.happened["same result"] += 1
    again = from_json(json.loads(json.dumps(as_json(row))))
    assert table([again]) == table([row])
    assert "| SIGKILL of the driver | 3 | search 2, export 1 | same result (1) | 0 | 1 | **1** |" in table([row])
    assert "3 kills in all: 2 in search, 1 in export." in table([row])
