"""Our grid with the race off beside scikit-learn's cross_validate over the same trials, fold score by fold score.

    python benchmarks/against_cross_validate.py --data-dir DIR --epochs 5 --lr 0.001 0.0005 --folds 4

Flags it does not know go to ser_tune.search. A search runs first; then the network, the training and the choice are
written anew below, on what it left: its folds, features and configuration. Of ser_tune only `trial_seed` is imported.
Both sides run on the processor, one thread a trial. Exits 1 where they choose differently, or differ by too many clips.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from plain import make_network
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_validate
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from ser_tune.candidates import trial_seed

Features = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Curves = npt.NDArray[np.float64]
PLAIN = {  # what the loop below does; another training is refused
    "loss": "logits",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "time_mask": 0,
    "frequency_mask": 0,
}


class SparingDropout(nn.Module):
    """Dropout from 16 random bits per value, in the order of memory, as ser_tune's, so that both drop the same."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Values divided by the share that is kept, or 0."""
        if not self.training:
            return values
        n_dropped = round(self.p * 65536)
        # 64 bits at a time, as signed integers; the lowest 16 of each come first.
        words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).numpy()
        kept = torch.from_numpy(words.view(np.int16)[: values.numel()] >= n_dropped - 32768)
        n, n_channels, height, width = values.shape
        kept = kept.reshape(n, height, width, n_channels).permute(0, 3, 1, 2)
        return values * (kept.float() * (65536 / (65536 - n_dropped)))


class PlainClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """The published network, trained by a plain loop; `seeds` has one seed per fold, `network` the network's sizes.

    It keeps the weights of every epoch, so that each can be scored.
    """

    def __init__(self, lr: float, epochs: int, batch_size: int, network: Mapping[str, Any], seeds: Sequence[int]):
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.network = network
        self.seeds = seeds

    def fit(self, features: Features, labels: Integers, fold: Integers) -> "PlainClassifier":
        """Train on these clips; the fold that none of them is in is the one held out, and names the seed."""
        (held_out,) = set(range(len(self.seeds))) - set(fold.tolist())
        seed = self.seeds[held_out]
        torch.manual_seed(seed)  # initial weights and dropout
        shuffler = torch.Generator().manual_seed(seed)
        self.scaler_ = StandardScaler().fit(_frames(features))
        self.network_ = make_network(*features.shape[1:], **{**self.network, "dropout_layer": SparingDropout})
        self.network_.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # rounds otherwise
        # Fused as ours is: its other form rounds otherwise, which alone moves up to 4 of 171 clips in 5 epochs.
        optimiser = torch.optim.Adam(self.network_.parameters(), lr=self.lr, fused=True)
        inputs, targets = self._standardise(features), torch.from_numpy(labels)
        self.weights_ = []
        for _ in range(self.epochs):
            self.network_.train()
            for batch in torch.split(torch.randperm(len(labels), generator=shuffler), self.batch_size):
                optimiser.zero_grad()
                nn.functional.cross_entropy(self.network_(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            self.weights_.append(copy.deepcopy(self.network_.state_dict()))
        return self

    @torch.no_grad()
    def predict(self, features: Features, epoch: int) -> Integers:
        """The emotion of each clip after an epoch, from 1."""
        self.network_.load_state_dict(self.weights_[epoch - 1])
        self.network_.eval()
        found: Integers = self.network_(self._standardise(features)).argmax(dim=1).numpy()
        return found

    def _standardise(self, features: Features) -> Tensor:
        """Standardised features [clips, 1, coefficients, frames]."""
        n_clips, n_coefficients, n_frames = features.shape
        values = self.scaler_.transform(_frames(features)).reshape(n_clips, n_frames, n_coefficients)
        return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 2, 1)))[:, None]


def _frames(features: Features) -> Features:
    """Every frame of every clip as a row [clips x frames, coefficients]."""
    return features.transpose(0, 2, 1).reshape(-1, features.shape[1])


@dataclass(frozen=True)
class Search:
    """What a search of ours left: its settings, its data, and what it found."""

    config: dict[str, Any]
    features: Features
    """Of the clips of the training split [clips, coefficients, frames]."""
    labels: Integers
    fold: Integers
    curves: dict[float, Curves]
    """By learning rate, the accuracy on each fold after each epoch [folds, epochs]."""
    choice: tuple[float, int]
    """Learning rate and epoch."""


def run_search(work: Path, flags: Sequence[str]) -> Search:
    """Run our search with everything it leaves below `work`; the program ends where it fails."""
    places = ["--experiments-dir", str(work), "--experiment", "ours", "--cache-dir", str(work / "cache")]
    terms = ["--search.method", "grid", "--search.race", "off", "--selection.metric", "accuracy"]
    compute = ["--compute.cpus-per-trial", "1", "--compute.gpus-per-trial", "0", "--training.precision", "float32"]
    command = [sys.executable, "-m", "ser_tune.search", *flags, *places, *terms, *compute]
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode  # noqa: S603 # our own program
    if status:
        sys.exit(status)
    return read_search(work / "ours", work / "cache")


def read_search(folder: Path, cache_dir: Path) -> Search:
    """Read the files of a finished search; the program ends where the plain loop cannot do the same."""
    config = json.loads((folder / "config.json").read_text())["config"]
    selection = json.loads((folder / "selection.json").read_text())
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    _check_plain(config, trials)
    clips = pd.read_parquet(folder / "manifest.parquet")
    clips = clips[clips["split"] == "train"]
    return Search(
        config=config,
        features=read_features(cache_dir, clips["sha256"].tolist()),
        labels=np.array([config["data"]["emotions"].index(emotion) for emotion in clips["emotion"]]),
        fold=clips["fold"].to_numpy(dtype=np.int64),
        curves=_arrange(trials, config["space"]["lr"], config["splits"]["folds"]),
        choice=(selection["hyperparameters"]["lr"], selection["epochs"]),
    )


def _check_plain(config: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> None:
    """End the program where the search did what the plain loop does not do."""
    asked = [name for name, value in config["training"].items() if PLAIN.get(name, value) != value]
    asked += ["repeats"] * (config["search"]["repeats"] > 1) + ["rule"] * (config["selection"]["rule"] != "best")
    asked += ["space"] * any(set(trial["hyperparameters"]) != {"lr"} for trial in trials)
    if asked:
        sys.exit(f"error: flags ask for another {', '.join(asked)} than the plain loop has; leave them out")
    ran = {(trial["precision"], trial["device"]) for trial in trials}
    if ran != {("float32", "cpu")}:
        sys.exit(f"error: trials ran as {sorted(ran)}; expected float32 on the processor")


def _arrange(trials: Sequence[Mapping[str, Any]], lrs: Sequence[float], n_folds: int) -> dict[float, Curves]:
    """The accuracies of the trials by learning rate [folds, epochs]; KeyError where one is missing."""
    found = {(trial["hyperparameters"]["lr"], trial["fold"]): trial["val_accuracy"] for trial in trials}
    return {lr: np.array([found[lr, fold] for fold in range(n_folds)]) for lr in lrs}


def read_features(cache_dir: Path, sha256s: Sequence[str]) -> Features:
    """The features of these recordings [clips, coefficients, frames], from the one folder of the feature cache."""
    (manifest,) = cache_dir.glob("*/manifest.json")
    shards = [manifest.parent / shard["name"] for shard in json.loads(manifest.read_text())["shards"]]
    rows = pd.concat(pd.read_parquet(shard) for shard in shards).drop_duplicates("sha256").set_index("sha256")
    rows = rows.loc[list(sha256s)]
    shape = (len(rows), int(rows["n_coefficients"].iloc[0]), int(rows["n_frames"].iloc[0]))
    return np.stack(rows["features"].to_list()).reshape(shape)


def accuracy_after(classifier: PlainClassifier, features: Features, labels: Integers, epoch: int) -> float:
    """The share of clips recognised after an epoch: a scorer."""
    return float(accuracy_score(labels, classifier.predict(features, epoch)))


def run_cross_validate(search: Search, base_seed: int) -> dict[float, Curves]:
    """The accuracy on each fold after each epoch, by learning rate [folds, epochs], from cross_validate."""
    config, training = search.config, search.config["training"]
    seeds = [trial_seed(base_seed, fold) for fold in range(config["splits"]["folds"])]
    network = {**config["model"], "n_emotions": len(config["data"]["emotions"])}
    names = {f"epoch_{epoch}": epoch for epoch in range(1, training["epochs"] + 1)}
    torch.set_num_threads(1)
    curves = {}
    for lr in search.curves:
        scores = cross_validate(
            PlainClassifier(lr, training["epochs"], training["batch_size"], network, seeds),
            search.features,
            search.labels,
            cv=PredefinedSplit(search.fold),
            scoring={name: partial(accuracy_after, epoch=epoch) for name, epoch in names.items()},
            params={"fold": search.fold},  # each fit gets the part of it that belongs to its clips
            error_score="raise",
        )
        curves[lr] = np.column_stack([scores[f"test_{name}"] for name in names])
    return curves


def choose(curves: Mapping[float, Curves]) -> tuple[float, int]:
    """Learning rate and epoch of the highest mean over the folds, the first of equals."""
    means = {lr: folds.mean(axis=0) for lr, folds in curves.items()}
    lr = max(means, key=lambda lr: float(means[lr].max()))
    return lr, int(means[lr].argmax()) + 1


def compare(search: Search, theirs: Mapping[float, Curves], max_clips: int) -> bool:
    """Print both sides; return whether they agree."""
    n_clips = np.bincount(search.fold)
    print(
        "| lr | epoch | fold | clips | ser_tune | cross_validate | difference, clips |\n|---|---|---|---|---|---|---|"
    )
    apart = []
    for lr, ours in search.curves.items():
        apart.append(np.rint((ours - theirs[lr]) * n_clips[:, None]).astype(int))
        at = choose({lr: ours})[1] - 1
        for fold, n in enumerate(n_clips):
            scores = f"{ours[fold, at]:.4f} | {theirs[lr][fold, at]:.4f} | {apart[-1][fold, at]:+d}"
            print(f"| {lr:g} | {at + 1} | {fold} | {n} | {scores} |")
    differences, choice = np.abs(np.array(apart)), choose(theirs)
    print(f"\nOf {differences.size} fold scores, all epochs, {(differences > 0).sum()} differ; ", end="")
    print(f"the largest difference is {differences.max()} clips ({max_clips} allowed).")
    print(f"ser_tune chooses lr {search.choice[0]:g}, epoch {search.choice[1]}; ", end="")
    print(f"cross_validate lr {choice[0]:g}, epoch {choice[1]}.")
    return choice == search.choice and bool(differences.max() <= max_clips)


def parse(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """How many clips a fold score may differ by, and the flags of the search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data-dir", metavar="DIR", help="recordings (default: the sample corpora)")
    parser.add_argument("--epochs", default="5", metavar="N")
    parser.add_argument("--lr", nargs="+", default=["0.001", "0.0005"])
    parser.add_argument("--folds", default="4", metavar="K")
    parser.add_argument("--protocol", default="utterance", choices=["utterance", "speaker"])
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="by how many a fold score may differ (0)")
    args, others = parser.parse_known_args(arguments)
    flags = ["--training.epochs", args.epochs, "--space.lr", *args.lr, "--splits.folds", args.folds]
    flags += ["--splits.protocol", args.protocol, *others]
    return args.clips, flags + (["--data-dir", args.data_dir] if args.data_dir else [])


def main(arguments: Sequence[str]) -> bool:
    """Run both sides; return whether they agree."""
    max_clips, flags = parse(arguments)
    with tempfile.TemporaryDirectory() as work:
        search = run_search(Path(work), flags)
    return compare(search, run_cross_validate(search, search.config["seed"]), max_clips)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
