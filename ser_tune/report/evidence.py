"""What the report draws and writes from: an experiment as its files tell it, and what follows from them.

What is not there yet (the choice, the test, some folds) is None or missing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ser_tune.candidates import Candidate
from ser_tune.config import (
    EMOTIONS,
    FeatureConfig,
    MethodConfig,
    ModelConfig,
    Setting,
    SpaceConfig,
    TrainingConfig,
    resolve,
)
from ser_tune.experiment import ExperimentFolder, TrialKey, TrialResult
from ser_tune.race import Block, best_epoch, list_blocks

LONGEST_NAME = 14  # characters; where a candidate's hyperparameters need more, candidates are numbered
MOST_PICTURED = 100
STATUSES = ("complete", "dropped", "incomplete")


@dataclass(frozen=True)
class CandidateRow:
    """A row of candidates.csv; numbers are nan unless it is complete."""

    candidate: Candidate
    folds_done: int
    mean: float
    sd: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    within_one_se: bool
    epochs: int
    status: str
    diagnosis: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """One experiment as its files tell it.

    `record` is config.json, `clips` the manifest, `excluded` the clips left out; `selection` and `test` are
    their JSON files, None where there is none. `candidates` are in the order of candidates.csv.
    """

    folder: ExperimentFolder
    record: dict[str, Any]
    clips: pd.DataFrame
    excluded: pd.DataFrame
    candidates: list[CandidateRow]
    trials: dict[TrialKey, TrialResult]
    decisions: list[dict[str, Any]]
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
    def blocks(self) -> list[Block]:
        """The (fold, repeat) pairs that every candidate runs on."""
        return list_blocks(self.n_folds, int(self.config["search"]["repeats"]))

    @property
    def counted_folds(self) -> str:
        """How many trials make a complete candidate, in words."""
        if len(self.blocks) == self.n_folds:
            return f"{self.n_folds} folds"
        return f"{len(self.blocks)} folds ({self.n_folds} in each of {len(self.blocks) // self.n_folds} repeats)"

    @property
    def method(self) -> MethodConfig:
        return MethodConfig(**self.config["search"])

    @property
    def space(self) -> SpaceConfig:
        return SpaceConfig(**{name: values and tuple(values) for name, values in self.config["space"].items()})

    @property
    def setting(self) -> Setting:
        """All that the chosen candidate sets; what candidates share where none is chosen."""
        features, training = FeatureConfig(**self.config["features"]), TrainingConfig(**self.config["training"])
        listed: dict[str, Any] = self.config["model"]
        model = ModelConfig(tuple(listed["channels"]), tuple(listed["hidden"]), listed["dropout"])
        return resolve(Setting(features, model, training), (self.selection or {}).get("hyperparameters", {}))

    @property
    def winner(self) -> str | None:
        """The chosen candidate's id."""
        return self.selection["candidate"] if self.selection else None

    @cached_property
    def ranked(self) -> list[CandidateRow]:
        """The chosen candidate, the other complete ones by their means, the dropped, the incomplete by their folds."""

        def place(row: CandidateRow) -> tuple[float, ...]:
            score = float(np.nan_to_num(self.score_so_far(row)))
            return (row.candidate.id != self.winner, STATUSES.index(row.status), -row.folds_done, -score)

        return sorted(self.candidates, key=place)

    @property
    def marked(self) -> int:
        """Where the chosen candidate stands in the ranking: first, or nowhere (-1)."""
        return 0 if self.ranked and self.ranked[0].candidate.id == self.winner else -1

    @property
    def pictured(self) -> list[CandidateRow]:
        """The first of the ranking, as many as figures and pages can hold."""
        return self.ranked[:MOST_PICTURED]

    @property
    def beyond(self) -> str:
        """What to say of those that are not pictured; empty where all are."""
        more = len(self.candidates) - MOST_PICTURED
        return f" The {more} candidates that come after these in the table are left out." if more > 0 else ""

    @cached_property
    def names(self) -> dict[str, str]:
        """What candidates are called, by id: by their hyperparameters or, where those are long, by their numbers."""
        labels = {row.candidate.id: row.candidate.label for row in self.candidates}
        if len(set(labels.values())) == len(labels) and all(len(label) <= LONGEST_NAME for label in labels.values()):
            return labels
        return {name: f"#{number}" for number, name in enumerate(labels, start=1)}

    @property
    def numbered(self) -> bool:
        """Whether candidates are called by their numbers."""
        return any(row.candidate.label != self.names[row.candidate.id] for row in self.candidates)

    def named(self, text: str) -> str:
        """The text with candidates, told by id or by all their hyperparameters, called by their names."""
        for row in sorted(self.candidates, key=lambda row: len(row.candidate.label), reverse=True):
            for told in (f"candidate {row.candidate.id}", row.candidate.label):
                text = text.replace(told, self.names[row.candidate.id])
        return text

    @cached_property
    def drops(self) -> dict[str, dict[str, Any]]:
        """The decision that dropped a candidate, by id, of those that are not complete all the same."""
        dropped = {row.candidate.id for row in self.candidates if row.status == "dropped"}
        lines = [line for line in self.decisions if line["decision"] == "dropped" and line["metric"] == self.metric]
        return {line["candidate"]: line for line in lines if line["candidate"] in dropped}

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
        """The candidate's finished trials, by repeat and fold."""
        keys = [(candidate.id, *block) for block in self.blocks]
        return [self.trials[key] for key in keys if key in self.trials]

    def lag(self, drop: Mapping[str, Any]) -> str:
        """How far a dropped candidate lay below which one."""
        return f"{-100 * drop['difference']:.1f} points below {self.names.get(drop['against'], drop['against'])}"

    def scores(self, row: CandidateRow) -> dict[Block, float]:
        """Of its finished trials at its epoch; at that of the highest mean so far where it is not complete."""
        folds = self.folds(row.candidate)
        if not folds:
            return {}
        curves = np.array([fold.curve(self.metric) for fold in folds])
        epoch = row.epochs - 1 if row.epochs else best_epoch(curves)
        return {(fold.fold, fold.repeat): float(score) for fold, score in zip(folds, curves[:, epoch], strict=True)}

    def score_so_far(self, row: CandidateRow) -> float:
        """The mean of its scores, of a complete candidate its mean; nan if no trial is finished."""
        return float(np.mean([*self.scores(row).values()] or [math.nan]))

    @property
    def validation_chance(self) -> float:
        """What guessing reaches on the metric in training clips: see `chance`."""
        largest, even = chance(self.training)
        return largest if self.metric == "accuracy" else even


def chance(clips: pd.DataFrame) -> tuple[float, float]:
    """Accuracy of always naming the most frequent emotion, and UAR of any guessing: 1 / emotions."""
    shares = clips["emotion"].value_counts(normalize=True)
    return (float(shares.max()), 1 / len(shares)) if len(shares) else (math.nan, math.nan)
