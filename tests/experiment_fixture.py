"""Synthetic experiment folders that follow the contract: a grid of 4 learning rates, and a race of many candidates.

Their numbers belong together: the confusion matrix counts the manifest's test clips, the scores are the
confusion matrix's, candidates.csv and selection.json come from the trials, the race's decisions from its schedule.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from ser_tune.candidates import Candidate, draw_candidates, list_grid, make_candidate, trial_seed
from ser_tune.certainty import selection_record, table_row
from ser_tune.config import EMOTIONS, MethodConfig, SearchConfig, SpaceConfig, SplitConfig, TrainingConfig, to_json
from ser_tune.experiment import ExperimentFolder, TrialResult, read_json
from ser_tune.files import write_json, write_text
from ser_tune.race import Block, list_blocks
from ser_tune.schedule import Schedule
from ser_tune.selection import choose, summarise_candidates

N_FOLDS, N_EPOCHS = 4, 12
# Per learning rate: final training accuracy, final validation accuracy, epochs to get two thirds there.
SHAPES = {0.01: (0.16, 0.16, 1.0), 0.005: (0.55, 0.51, 4.0), 0.001: (0.84, 0.61, 3.0), 0.0005: (0.72, 0.57, 4.0)}
CORPORA = {"crema-d": (12, 36), "ravdess": (8, 40), "tess": (2, 112)}  # speakers, clips of each
LACKING = {"crema-d": {"calm", "surprise"}, "tess": {"calm"}, "ravdess": set[str]()}
NETWORK = [
    ("Conv2d(1, 32, 3, padding 1)", [32, 39, 94], 320),
    ("ReLU", [32, 39, 94], 0),
    ("MaxPool2d(2)", [32, 19, 47], 0),
    ("Dropout(0.2)", [32, 19, 47], 0),
    ("Conv2d(32, 64, 3, padding 1)", [64, 19, 47], 18496),
    ("ReLU", [64, 19, 47], 0),
    ("MaxPool2d(2)", [64, 9, 23], 0),
    ("Dropout(0.2)", [64, 9, 23], 0),
    ("Flatten", [13248], 0),
    ("Linear(13248, 256)", [256], 3391744),
    ("ReLU", [256], 0),
    ("Linear(256, 128)", [128], 32896),
    ("ReLU", [128], 0),
    ("Linear(128, 8)", [8], 1032),
    ("Softmax", [8], 0),
]


WIDE_SPACE = SpaceConfig(
    lr=("log:1e-4..1e-2",),
    batch_size=("log-int:16..64",),
    optimizer=("adam", "adamw", "sgd"),
    dropout=("0.1..0.5",),
    channels=("log-int:8..64",),
    duration_s=(1.5, 2),
)


def make_results(
    candidates: Sequence[Candidate] | None = None, blocks: Sequence[Block] | None = None
) -> list[TrialResult]:
    """Every trial of the grid, curves rising towards their candidate's level, folds a few points apart."""
    candidates = candidates or list_grid(SpaceConfig(lr=tuple(SHAPES)))
    blocks = blocks or list_blocks(N_FOLDS, 1)
    return [make_result(candidate, *block) for candidate in candidates for block in blocks]


def _shape(hyperparameters: dict[str, Any]) -> tuple[float, float, float]:
    """As in SHAPES; of a wide space the best are a learning rate near 0.001, adam and a dropout of 0.3."""
    lr = hyperparameters["lr"]
    if len(hyperparameters) == 1:
        return SHAPES[lr]
    level = 0.64 - 0.2 * math.log10(lr / 0.001) ** 2 - 0.4 * abs(hyperparameters["dropout"] - 0.3)
    level -= 0.1 * (hyperparameters["optimizer"] == "sgd")
    return max(0.16, level + 0.15), max(0.16, level), 3.0


def make_result(candidate: Candidate, fold: int, repeat: int) -> TrialResult:
    """The trial of a candidate on a fold."""
    train_level, val_level, pace = _shape(candidate.hyperparameters)
    number = round(candidate.hyperparameters["lr"] * 1e6)
    random = np.random.default_rng([fold, number] if repeat == 0 else [fold, number, repeat])
    learnt = 1 - np.exp(-np.arange(1, N_EPOCHS + 1) / pace)
    easier = random.normal(0, 0.02)

    def rising(level: float, spread: float) -> list[float]:
        curve = 0.14 + (level - 0.14) * learnt + easier + random.normal(0, spread, N_EPOCHS)
        return [float(value) for value in np.clip(curve, 0.02, 0.99)]

    train_accuracy, val_accuracy = rising(train_level, 0.004), rising(val_level, 0.012)
    overfit = np.linspace(0, max(0.0, train_level - val_level), N_EPOCHS) ** 1.5
    return TrialResult(
        candidate=candidate.id,
        fold=fold,
        repeat=repeat,
        seed=trial_seed(0, fold, repeat),
        hyperparameters=candidate.hyperparameters,
        epochs=N_EPOCHS,
        train_loss=[2.4 * (1 - value) for value in train_accuracy],
        train_accuracy=train_accuracy,
        val_loss=[float(2.5 * (1 - value) + 2 * more) for value, more in zip(val_accuracy, overfit, strict=True)],
        val_accuracy=val_accuracy,
        val_uar=[value - 0.02 for value in val_accuracy],
        val_macro_f1=[value - 0.03 for value in val_accuracy],
        initial_weights_sha256=hashlib.sha256(f"{fold} {repeat}".encode()).hexdigest(),
        precision="float32",
        seconds=12.5 + fold,
        node="127.0.0.1",
        device="cpu (AMD EPYC)",
        data_fingerprint="5f0c2a9b7d31",
    )


def make_manifest(protocol: str) -> pd.DataFrame:
    """The clips used: three corpora that lack the emotions the real ones lack, split by the protocol."""
    random = np.random.default_rng(0)
    rows = []
    for corpus, (n_speakers, n_each) in CORPORA.items():
        emotions = [emotion for emotion in EMOTIONS if emotion not in LACKING[corpus]]
        for index in range(n_speakers * n_each):
            speaker = f"{corpus}-{index % n_speakers + 1:02d}"
            side = index % n_speakers if protocol == "speaker" else int(random.integers(0, 10**6))
            held_out = side == n_speakers - 1 if protocol == "speaker" else side % 5 == 0
            clip = f"{corpus}/{speaker}/{index:04d}.wav"
            rows.append(
                {
                    "clip_id": clip,
                    "corpus": corpus,
                    "speaker": speaker,
                    "emotion": emotions[index // n_speakers % len(emotions)],
                    "text": f"sentence {index % 12}",
                    "path": f"/data/{clip}",
                    "duration_s": float(random.uniform(1.2, 4.8)),
                    "sample_rate": {"crema-d": 16000, "ravdess": 48000, "tess": 24414}[corpus],
                    "sha256": hashlib.sha256(clip.encode()).hexdigest(),
                    "split": "test" if held_out else "train",
                    "fold": None if held_out else side % N_FOLDS,
                }
            )
    return pd.DataFrame(rows).astype({"fold": "Int64"})


def make_test_scores(manifest: pd.DataFrame, protocol: str) -> dict[str, Any]:
    """test.json for these clips: TESS nearly always right, CREMA-D half of the time, errors among neighbours."""
    clips = manifest[manifest["split"] == "test"].reset_index(drop=True)
    truth = clips["emotion"].map(EMOTIONS.index).to_numpy()
    random = np.random.default_rng(1)
    right = random.random(len(clips)) < clips["corpus"].map({"tess": 0.95, "ravdess": 0.52, "crema-d": 0.47}).to_numpy()
    predicted = np.where(right, truth, (truth + random.integers(1, 5, len(truth))) % len(EMOTIONS))
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    labels = list(range(len(EMOTIONS)))
    per_emotion = np.transpose(precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0))
    return {
        **_scores(truth, predicted),
        "accuracy_interval": [0.488, 0.633],
        "uar_interval": [0.455, 0.612],
        "macro_f1_interval": [0.448, 0.606],
        "emotions": list(EMOTIONS),
        "confusion": confusion.tolist(),
        "evaluations": 1,
        "weights_sha256": [hashlib.sha256(b"weights").hexdigest()],
        "protocol": protocol,
        "interval_unit": "speakers" if protocol == "speaker" else "clips",
        "n_interval_units": int(clips["speaker"].nunique()) if protocol == "speaker" else len(clips),
        "per_corpus": {
            str(corpus): _scores(truth[rows.to_numpy()], predicted[rows.to_numpy()])
            for corpus, rows in ((name, clips["corpus"] == name) for name in sorted(set(clips["corpus"])))
        },
        "per_emotion": {
            emotion: {"precision": float(row[0]), "recall": float(row[1]), "f1": float(row[2]), "n": int(row[3])}
            for emotion, row in zip(EMOTIONS, per_emotion, strict=True)
        },
    }


def _scores(truth: Any, predicted: Any) -> dict[str, Any]:
    labels = np.unique(truth)
    return {
        "accuracy": float((truth == predicted).mean()),
        "uar": float(recall_score(truth, predicted, labels=labels, average="macro")),
        "macro_f1": float(f1_score(truth, predicted, labels=labels, average="macro")),
        "n": len(truth),
    }


def write_experiment(
    root: Path, *, protocol: Any = "utterance", incomplete: bool = False, tested: bool = True, synthetic: bool = True
) -> ExperimentFolder:
    """Fill `root` as a search of the grid does; `incomplete` leaves lr=0.0005 two of its folds."""
    space = SpaceConfig(lr=tuple(SHAPES))
    config = _config(root, protocol, space, MethodConfig())
    decisions = [_proposed(candidate, "grid") for candidate in list_grid(space)]
    return _write(root, config, make_results()[: -2 if incomplete else None], decisions, tested, synthetic)


def write_race(root: Path, *, n_candidates: int, n_repeats: int = 1, **changes: Any) -> ExperimentFolder:
    """Fill `root` as a race of random candidates of the wide space does, one trial at a time."""
    method = MethodConfig(method="random", candidates=n_candidates, repeats=n_repeats)
    config = _config(root, "speaker", changes.get("space", WIDE_SPACE), method)
    proposals = iter(draw_candidates(config.space, n_candidates, config.seed))
    blocks = list_blocks(N_FOLDS, n_repeats)
    schedule = Schedule(lambda _: next(proposals, None), blocks, level=method.race_level)
    results, decisions = [], []
    while (found := schedule.next()) is not None:
        result = make_result(found[0], *found[1])
        results.append(result)
        for name, drop in schedule.end(result.key, curve=result.val_accuracy).items():
            rule = {"metric": "accuracy", "level": method.race_level}
            decisions.append({"decision": "dropped", "candidate": name, **asdict(drop), **rule})
    proposed = [_proposed(candidate, "random") for candidate in schedule.candidates]
    return _write(root, config, results, [*proposed, *decisions], changes.get("tested", True), synthetic=False)


def _config(root: Path, protocol: Any, space: SpaceConfig, method: MethodConfig) -> SearchConfig:
    return SearchConfig(
        experiment=root.name,
        splits=SplitConfig(protocol=protocol, folds=N_FOLDS),
        training=TrainingConfig(epochs=N_EPOCHS),
        space=space,
        search=method,
    )


def _proposed(candidate: Candidate, method: str) -> dict[str, Any]:
    about = {"hyperparameters": candidate.hyperparameters, "method": method}
    return {"decision": "proposed", "candidate": candidate.id, **about}


def _write(
    root: Path,
    config: SearchConfig,
    results: Sequence[TrialResult],
    decisions: Sequence[dict[str, Any]],
    tested: bool,
    synthetic: bool,
) -> ExperimentFolder:
    folder = ExperimentFolder(root)
    _write_config(folder, config, synthetic)
    manifest = make_manifest(config.splits.protocol)
    manifest.to_parquet(folder.manifest)
    make_excluded().to_parquet(folder.excluded)
    for result in results:
        folder.append_trial(result)
    for decision in decisions:
        folder.append_decision(decision)
    _write_choice(folder, config, results, decisions)
    if tested:
        choice = read_json(folder.selection)
        of = {key: choice[key] for key in ("candidate", "epochs")}
        write_json(folder.test, make_test_scores(manifest, config.splits.protocol) | of)
    return folder


def make_excluded() -> pd.DataFrame:
    """What was left out, among it a name that is HTML."""
    return pd.DataFrame(
        [
            ("/data/ravdess/07.wav", "ravdess", "identical audio: the same as /data/ravdess/06.wav"),
            ("/data/ravdess/08.wav", "ravdess", "identical audio: the same as /data/ravdess/05.wav"),
            ("/data/crema-d/1076_MTI_SAD_XX.wav", "crema-d", "silent: peak below -80 dB"),
            ("/data/<b>bold</b> & co.wav", "tess", "unreadable: not decodable as audio"),
        ],
        columns=["path", "corpus", "reason"],
    )


def _write_config(folder: ExperimentFolder, config: SearchConfig, synthetic: bool) -> None:
    write_json(
        folder.config,
        {
            "config": to_json(config),
            "versions": {"librosa": "0.11.0", "python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0"},
            "git_commit": "6250045f1c7d0a9be2b1c0ffee5ca1ab1e0ddba1",
            "data_fingerprint": "5f0c2a9b7d31",
            "identity": {"data": "5f0c2a9b7d31", "splits": to_json(config.splits), "seed": 0},
            "command": f"python -m ser_tune.search --experiment {config.experiment} --training.epochs 10",
            "notices": ['corpus "tess" has 2 speakers, fewer than 4 folds: two folds validate none of its clips'],
            "synthetic": synthetic,
            "network": [{"layer": layer, "output": size, "parameters": count} for layer, size, count in NETWORK],
        },
    )


def _write_choice(
    folder: ExperimentFolder,
    config: SearchConfig,
    results: Sequence[TrialResult],
    decisions: Sequence[dict[str, Any]],
) -> None:
    candidates = [make_candidate(line["hyperparameters"]) for line in decisions if line["decision"] == "proposed"]
    drops = [line for line in decisions if line["decision"] == "dropped"]
    reasons = {line["candidate"]: ("dropped", f"below candidate {line['against']}") for line in drops}
    blocks = list_blocks(config.splits.folds, config.search.repeats)
    indexed = {result.key: result for result in results}
    metric, n_folds = config.selection.metric, config.splits.folds
    summaries = summarise_candidates(candidates, indexed, blocks, metric, 0.16, reasons)
    chosen = choose(summaries)
    table = pd.DataFrame([table_row(summary, chosen, chosen, n_folds) for summary in summaries])
    write_text(folder.candidates, table.to_csv(index=False))
    layers = [{"layer": layer, "output": size, "parameters": count} for layer, size, count in NETWORK]
    choice = selection_record(chosen, summaries, metric, "best", n_folds)
    write_json(folder.selection, choice | {"network": layers})
