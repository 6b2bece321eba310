"""The search of ser_tune as one writes it with other tools, each with what it is commonly used with; nothing of ours.

    python benchmarks/contenders.py NAME DATA.npz --epochs 5 --lr 0.001 0.0005 --dropout 0.1 0.3

DATA.npz holds features [clips, 1, coefficients, frames], labels [clips], fold [clips], seeds [folds]. Every candidate
is trained from scratch on every fold, standardised by the fold's training part. Prints the choice as JSON.
"""

import argparse
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import torch
from plain import make_network
from torch import nn

Array = npt.NDArray[Any]
Candidate = tuple[float, float]  # learning rate, dropout


@dataclass(frozen=True)
class Task:
    """The data and the grid."""

    path: str
    candidates: list[Candidate]
    epochs: int


def read_data(path: str) -> tuple[Array, Array, Array, Array]:
    """Features, labels, fold, seeds."""
    with np.load(path) as data:
        return data["features"], data["labels"], data["fold"], data["seeds"]


def build(features: Array, dropout: float) -> nn.Module:
    """The published network for these features."""
    n_coefficients, n_frames = features.shape[2:]
    return make_network(n_coefficients, n_frames, (32, 64), (256, 128), dropout, 8)


def train_and_score(path: str, fold_number: int, candidate: Candidate, epochs: int) -> list[float]:
    """The validation accuracy of one candidate on one fold after each epoch."""
    features, labels, fold, seeds = read_data(path)
    lr, dropout = candidate
    torch.manual_seed(int(seeds[fold_number]))
    train, validation = features[fold != fold_number], features[fold == fold_number]
    mean, std = train.mean(axis=(0, 1, 3), keepdims=True), train.std(axis=(0, 1, 3), keepdims=True)
    inputs, held_out = torch.from_numpy((train - mean) / std), torch.from_numpy((validation - mean) / std)
    targets, truth = torch.from_numpy(labels[fold != fold_number]), torch.from_numpy(labels[fold == fold_number])
    network = build(features, dropout)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    accuracies = []
    for _ in range(epochs):
        network.train()
        for rows in torch.split(torch.randperm(len(targets)), 32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        network.eval()
        with torch.no_grad():
            accuracies.append(float((network(held_out).argmax(dim=1) == truth).float().mean()))
    return accuracies


def best_of(curves: dict[Candidate, list[list[float]]]) -> dict[str, Any]:
    """The candidate and the epoch of the highest mean over folds."""
    means = {candidate: np.mean(folds, axis=0) for candidate, folds in curves.items()}
    lr, dropout = best = max(means, key=lambda candidate: float(means[candidate].max()))
    return {"lr": lr, "dropout": dropout, "epochs": int(means[best].argmax()) + 1}


def folds_of(task: Task) -> range:
    """The numbers of the folds."""
    return range(len(read_data(task.path)[3]))


def plain_loop(task: Task) -> dict[str, Any]:
    """Two loops, one trial after another, all processors to each."""
    curves = {}
    for candidate in task.candidates:
        curves[candidate] = [train_and_score(task.path, fold, candidate, task.epochs) for fold in folds_of(task)]
    return best_of(curves)


def grid_search_cv(task: Task) -> dict[str, Any]:
    """scikit-learn's GridSearchCV over a skorch network; it scores the last epoch alone."""
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import make_pipeline
    from skorch import NeuralNetClassifier

    class Standardiser(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, features: Array, _labels: Array) -> "Standardiser":
            self.mean_, self.std_ = (
                features.mean(axis=(0, 1, 3), keepdims=True),
                features.std(axis=(0, 1, 3), keepdims=True),
            )
            return self

        def transform(self, features: Array) -> Array:
            standardised: Array = (features - self.mean_) / self.std_
            return standardised

    class Seeded(NeuralNetClassifier):  # type: ignore[misc]
        def initialize(self) -> Any:
            torch.manual_seed(0)
            return super().initialize()

    features, labels, fold, _ = read_data(task.path)
    network = Seeded(
        build, module__features=features[:1], criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam,
        max_epochs=task.epochs, batch_size=32, iterator_train__shuffle=True, train_split=None, verbose=0,
    )  # fmt: skip
    lrs, dropouts = (sorted(set(values)) for values in zip(*task.candidates, strict=True))
    grid = {"seeded__lr": lrs, "seeded__module__dropout": dropouts}
    pipeline = make_pipeline(Standardiser(), network)
    search = GridSearchCV(pipeline, grid, cv=PredefinedSplit(fold), n_jobs=os.cpu_count(), refit=False)
    found = search.fit(features, labels).best_params_
    return {"lr": found["seeded__lr"], "dropout": found["seeded__module__dropout"], "epochs": task.epochs}


def ray_tune(task: Task) -> dict[str, Any]:
    """Ray Tune with a fold as one more hyperparameter; every trial has its own actor and reads the data by path."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        candidate = config["lr"], config["dropout"]
        tune.report({"curve": train_and_score(task.path, config["fold"], candidate, task.epochs)})

    lrs, dropouts = (sorted(set(values)) for values in zip(*task.candidates, strict=True))
    space = {"lr": lrs, "dropout": dropouts, "fold": list(folds_of(task))}
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={name: tune.grid_search(values) for name, values in space.items()},
    )
    curves: dict[Candidate, list[list[float]]] = {}
    for result in tuner.fit():
        candidate = result.config["lr"], result.config["dropout"]
        curves.setdefault(candidate, []).append(result.metrics["curve"])
    return best_of(curves)


def optuna_joblib(task: Task) -> dict[str, Any]:
    """Optuna's GridSampler; the folds of each candidate side by side with joblib."""
    import optuna

    curves: dict[Candidate, list[list[float]]] = {}
    lrs, dropouts = (sorted(set(values)) for values in zip(*task.candidates, strict=True))

    def objective(trial: optuna.Trial) -> float:
        candidate = trial.suggest_categorical("lr", lrs), trial.suggest_categorical("dropout", dropouts)
        job = joblib.delayed(train_and_score)
        curves[candidate] = joblib.Parallel(n_jobs=os.cpu_count())(
            job(task.path, fold, candidate, task.epochs) for fold in folds_of(task)
        )
        return float(np.mean(curves[candidate], axis=0).max())

    sampler = optuna.samplers.GridSampler({"lr": lrs, "dropout": dropouts}, seed=0)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(objective, n_trials=len(task.candidates))
    return best_of(curves)


CONTENDERS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "plain loop": plain_loop,
    "GridSearchCV + skorch": grid_search_cv,
    "Ray Tune": ray_tune,
    "Optuna + joblib": optuna_joblib,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one contender and print its choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, nargs="+", required=True)
    parser.add_argument("--dropout", type=float, nargs="+", required=True)
    args = parser.parse_args(arguments)
    task = Task(str(args.data.absolute()), list(itertools.product(args.lr, args.dropout)), args.epochs)
    print(json.dumps(CONTENDERS[args.name](task)))


if __name__ == "__main__":
    main()
