"""The files of an experiment -> what the report draws and writes from; nothing else is read.

What is not there yet (the choice, the test, some folds) is None or missing; InputError where config.json
or the manifest is absent or damaged.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ser_tune.candidates import Candidate, trial_seed
from ser_tune.config import EMOTIONS
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, TrialResult, read_json
from ser_tune.selection import CandidateSummary, index_results

_OWN_COLUMNS = {"candidate", "folds_done", "mean", "sd", "epochs", "status", "diagnosis"}


@dataclass(frozen=True)
class Evidence:
    """One experiment as its files tell it.

    `record` is config.json, `clips` the manifest, `excluded` the clips left out; `selection` and `test` are
    their JSON files, None where there is none.
    """

    folder: ExperimentFolder
    record: dict[str, Any]
    clips: pd.DataFrame
    excluded: pd.DataFrame
    candidates: list[CandidateSummary]
    trials: dict[tuple[str, int], TrialResult]
    selection: dict[str, Any] | None
    test: dict[str, Any] | None

    @property
    def config(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.record["config"]
        return settings

    @property
    def protocol(self) -> str:
        return str((self.test or {}).get("protocol", self.config["splits"]["protocol"]))

    @property
    def metric(self) -> str:
        return str((self.selection or {}).get("metric", self.config["selection"]["metric"]))

    @property
    def n_folds(self) -> int:
        return int(self.config["splits"]["folds"])

    @property
    def winner(self) -> int:
        """Row of the chosen candidate, -1 if none is chosen."""
        ids = [row.candidate.id for row in self.candidates]
        return ids.index(self.selection["candidate"]) if self.selection and self.selection["candidate"] in ids else -1

    @cached_property
    def emotions(self) -> list[str]:
        """Those of the clips used, in the usual order."""
        return [emotion for emotion in EMOTIONS if emotion in set(self.clips["emotion"])]

    @property
    def training(self) -> pd.DataFrame:
        return self.clips[self.clips["split"] == "train"]

    @property
    def tested(self) -> pd.DataFrame:
        return self.clips[self.clips["split"] == "test"]

    def folds(self, candidate: Candidate) -> list[TrialResult]:
        """The candidate's finished trials by fold."""
        return [self.trials[candidate.id, fold] for fold in range(self.n_folds) if (candidate.id, fold) in self.trials]

    @property
    def validation_chance(self) -> float:
        """What guessing reaches on the metric in training clips: see `chance`."""
        largest, even = chance(self.training)
        return largest if self.metric == "accuracy" else even


def chance(clips: pd.DataFrame) -> tuple[float, float]:
    """Accuracy of always naming the most frequent emotion, and UAR of any guessing: 1 / emotions."""
    shares = clips["emotion"].value_counts(normalize=True)
    return (float(shares.max()), 1 / len(shares)) if len(shares) else (math.nan, math.nan)


def read_evidence(folder: ExperimentFolder) -> Evidence:
    """Everything the report needs; trials that do not count (other data, torn, doubled) are left out."""
    record = read_json(folder.config)
    settings = record["config"]
    seeds = {fold: trial_seed(settings["seed"], fold) for fold in range(settings["splits"]["folds"])}
    epochs = settings["training"]["epochs"]
    return Evidence(
        folder=folder,
        record=record,
        clips=_read_table(folder, "manifest"),
        excluded=_read_table(folder, "excluded"),
        candidates=_read_candidates(folder),
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


def _read_candidates(folder: ExperimentFolder) -> list[CandidateSummary]:
    """candidates.csv in its order; a candidate's id is a word, even one that looks like a number."""
    if not folder.candidates.exists():
        return []
    rows = pd.read_csv(folder.candidates, dtype={"candidate": str, "status": str}).replace({np.nan: None})
    names = [name for name in rows.columns if name not in _OWN_COLUMNS]
    return [
        CandidateSummary(
            candidate=Candidate(row["candidate"], {name: row[name] for name in names}),
            folds_done=int(row["folds_done"]),
            mean=math.nan if row["mean"] is None else row["mean"],
            sd=math.nan if row["sd"] is None else row["sd"],
            epochs=int(row["epochs"] or 0),
            status=row["status"],
            diagnosis=row["diagnosis"] or "",
        )
        for row in rows.to_dict("records")
    ]
