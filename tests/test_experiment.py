import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from experiment_fixture import make_results

from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, identity_differences, read_json


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    return ExperimentFolder(tmp_path)


def test_trials_come_back_as_they_were_appended(folder: ExperimentFolder) -> None:
    results = make_results()[:3]
    for result in results:
        folder.append_trial(result)
    assert folder.read_trials() == results


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_again_when_read(folder: ExperimentFolder) -> None:
    first = make_results()[0]
    folder.append_trial(replace(first, val_loss=[1.0, math.inf, math.nan]))
    assert '"val_loss": [1.0, null, null]' in folder.trials.read_text()
    (again,) = folder.read_trials()
    assert again.val_loss[0] == 1.0
    assert math.isnan(again.val_loss[1])
    assert math.isnan(again.val_loss[2])


def test_a_torn_last_line_is_no_trial_and_a_damaged_one_is_named(folder: ExperimentFolder) -> None:
    first, second = make_results()[:2]
    folder.append_trial(first)
    folder.append_trial(second)
    whole = folder.trials.read_bytes()
    for cut in (1, 20, len(whole) // 3):
        folder.trials.write_bytes(whole[:-cut])
        assert folder.read_trials() == [first]
    folder.trials.write_bytes(b"{}}\n" + whole)
    with pytest.raises(InputError, match=r"line 1 of .*trials.jsonl is damaged"):
        folder.read_trials()


def test_keys_of_a_later_version_do_no_harm(folder: ExperimentFolder) -> None:
    first = make_results()[0]
    folder.append_trial(first)
    folder.trials.write_text(folder.trials.read_text().replace('{"candidate"', '{"added": 1, "candidate"'))
    assert [asdict(result) for result in folder.read_trials()] == [asdict(first)]


def test_a_second_search_in_the_same_experiment_is_refused(folder: ExperimentFolder) -> None:
    with (
        folder.claimed(),
        pytest.raises(InputError, match="another search is running"),
        ExperimentFolder(folder.root).claimed(),
    ):
        pass


def test_differences_of_identities_are_named_with_both_values() -> None:
    old = {"seed": 0, "splits": {"folds": 4, "protocol": "speaker"}}
    new = {"seed": 0, "splits": {"folds": 5, "protocol": "speaker"}, "added": 1}
    assert identity_differences(old, new) == ["added: None there, 1 now", "splits.folds: 4 there, 5 now"]


def test_absent_and_damaged_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad.json is damaged"):
        read_json(tmp_path / "bad.json")
    for text in ("null", "[]", '"text"', "[" * 100_000):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad.json is damaged .* put a copy of it back"):
            read_json(tmp_path / "bad.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder.json cannot be read \(Is a directory\)"):
        read_json(tmp_path / "folder.json")


def test_a_key_that_json_lacks_is_named_wherever_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text('{"config": {"seed": 1}}')
    held = read_json(tmp_path / "some.json")
    assert held == {"config": {"seed": 1}}
    assert held.get("other") is None
    with pytest.raises(InputError, match=r"some.json is damaged \('precision' is missing\); put a copy"):
        held["precision"]
    with pytest.raises(InputError, match=r"some.json is damaged \('folds' is missing\); put a copy"):
        held["config"]["folds"]


@pytest.mark.parametrize("line", ["null", "[]", "[" * 100_000, "{}", '{"decision": 3'])
def test_a_line_that_is_no_decision_is_named(folder: ExperimentFolder, line: str) -> None:
    folder.append_decision({"decision": "proposed"})
    with folder.decisions.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"line 2 of .*decisions.jsonl is damaged .* delete that line and run again"):
        [decision["decision"] for decision in folder.read_decisions()]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "4"),
        ("val_loss", [1.0, "x"]),
        ("val_uar", 0.5),
        ("seconds", None),
        ("hyperparameters", []),
        ("fold", 0.5),
    ],
)
def test_a_trial_with_values_of_another_kind_is_named(folder: ExperimentFolder, key: str, value: object) -> None:
    first = asdict(make_results()[0])
    folder.trials.write_text(json.dumps(first) + "\n" + json.dumps(first | {key: value}) + "\n")
    with pytest.raises(InputError, match=f"line 2 of .*trials.jsonl is damaged \\({key} is"):
        folder.read_trials()
