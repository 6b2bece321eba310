"""The files of an experiment -> the evidence of the report; nothing else is read.

InputError where config.json or the manifest is absent or damaged.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pandas as pd

from ser_tune.candidates import Candidate, trial_seed
from ser_tune.config import Value
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.race import list_blocks
from ser_tune.report.evidence import CandidateRow, Evidence
from ser_tune.selection import index_results


def read_evidence(folder: ExperimentFolder) -> Evidence:
    """Everything the report needs; trials that do not count (other data, torn, doubled) are left out."""
    record = read_json(folder.config)
    settings = record["config"]
    blocks = list_blocks(settings["splits"]["folds"], settings["search"]["repeats"])
    seeds = {block: trial_seed(settings["seed"], *block) for block in blocks}
    epochs = settings["training"]["epochs"]
    return Evidence(
        folder=folder,
        record=record,
        clips=_read_table(folder, "manifest"),
        excluded=_read_table(folder, "excluded"),
        candidates=_read_candidates(folder),
        decisions=folder.read_decisions(),
        trials=index_results(folder.read_trials(), seeds, epochs, record["data_fingerprint"]),
        selection=read_json(folder.selection) if folder.selection.exists() else None,
        test=read_json(folder.test) if folder.test.exists() else None,
    )


def _read_table(folder: ExperimentFolder, name: str) -> pd.DataFrame:
    path = getattr(folder, name)
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); run the search again") from error


def _read_candidates(folder: ExperimentFolder) -> list[CandidateRow]:
    """candidates.csv in its order; a candidate's id is a word, even one that looks like a number."""
    if not folder.candidates.exists():
        return []
    table = pd.read_csv(folder.candidates, dtype=str, keep_default_na=False)
    own: dict[str, Any] = {item.name: item.type for item in fields(CandidateRow)[1:]}
    rows = []
    for row in table.to_dict("records"):
        # A hyperparameter that only other candidates have is an empty cell.
        values = {name: _plain(row[name]) for name in table.columns if name not in own and name != "candidate"}
        candidate = Candidate(row["candidate"], {name: value for name, value in values.items() if value != ""})
        rows.append(CandidateRow(candidate, **{name: _READERS[kind](row[name]) for name, kind in own.items()}))
    return rows


def _plain(text: str) -> Value:
    """The hyperparameter's value that the text stands for."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


_READERS: dict[type, Callable[[str], Any]] = {
    float: lambda text: float(text or math.nan),
    int: lambda text: int(text or 0),
    bool: lambda text: text == "True",
    str: str,
}
