"""Sections of the report on what the numbers rest on: network, data, what was left out, how to repeat it."""

import json
import shlex

import pandas as pd

from ser_tune import figures
from ser_tune.config import to_json
from ser_tune.manifest import summary
from ser_tune.report.evidence import Evidence
from ser_tune.report.markup import Html, bullets, code, count, details, paragraph, picture, section, table

LOSSES = {
    "logits": "with cross-entropy on the values before the softmax",
    "published": "with cross-entropy on the softmax's output, as published",
}

ORDER = (
    "Where several trials run at a time, what a race drops and what Optuna proposes depends on the order in which they "
    "end; decisions.jsonl tells what was decided."
)


def network(evidence: Evidence) -> Html:
    """The chosen candidate's network, layer by layer, and its settings; the network all share where none is chosen."""
    chosen, setting = evidence.selection or {}, evidence.setting
    features, training = setting.features, setting.training
    recorded = chosen.get("network", evidence.record["network"])
    layers = [(layer["layer"], layer["output"], layer["parameters"]) for layer in recorded]
    figure = figures.network_figure(layers, features.shape)
    whose = "of the chosen candidate" if chosen else "before any hyperparameter, as no candidate is chosen yet"
    return section(
        "The network",
        paragraph(
            f"The network {whose}. It hears the first {features.duration_s:g} s of a clip, mono at "
            f"{features.sample_rate} Hz, as {features.n_mfcc} MFCC with delta and delta-delta. "
            f"It is trained {LOSSES[training.loss]}, by {training.optimizer} at a learning rate of {training.lr:g} in "
            f"batches of {training.batch_size}. Sizes are channels x coefficients x frames; a box is wider where more "
            "numbers flow."
        ),
        picture(evidence.folder.figures, "network", figure, "The layers from top to bottom with sizes and parameters"),
        details(f"All settings {whose}", table(["setting", "value", "searched"], _setting_rows(evidence))),
    )


def _setting_rows(evidence: Evidence) -> list[tuple[object, ...]]:
    """Name, value, and whether it is one of the chosen candidate's hyperparameters."""
    searched = (evidence.selection or {}).get("hyperparameters", {})
    rows: list[tuple[object, ...]] = [
        (f"{part}.{name}", " ".join(map(str, value)) if isinstance(value, list) else value, "yes" * (name in searched))
        for part, values in to_json(evidence.setting).items()
        for name, value in values.items()
    ]
    if evidence.selection:
        rows.append(("epochs of the final training", evidence.selection["epochs"], "yes"))
    return rows


def data(evidence: Evidence) -> Html:
    """The clips by corpus, emotion, speaker, split and fold."""
    clips = evidence.clips
    shared = set(evidence.training["speaker"]) & set(evidence.tested["speaker"])
    hours = clips["duration_s"].sum() / 3600
    return section(
        "Data",
        paragraph(
            f"{len(clips)} clips ({hours:.2f} h) of {clips['speaker'].nunique()} speakers: {len(evidence.training)} "
            f"for training, in {evidence.n_folds} folds, and {len(evidence.tested)} for the test. "
            f"{len(shared)} of the {evidence.tested['speaker'].nunique()} test speakers are in the training split too."
        ),
        bullets(f"{notice[:1].upper()}{notice[1:]}." for notice in evidence.record["notices"]),
        table(["corpus", "clips", "speakers", "training", "test", *evidence.emotions], _corpus_rows(evidence)),
        table(["part", "clips", "speakers", *evidence.emotions], _part_rows(evidence)),
    )


def _corpus_rows(evidence: Evidence) -> list[tuple[object, ...]]:
    rows = []
    for name, clips in [*evidence.clips.groupby("corpus"), ("all", evidence.clips)]:
        split = clips["split"].value_counts()
        sides = (int(split.get("train", 0)), int(split.get("test", 0)))
        rows.append((name, len(clips), clips["speaker"].nunique(), *sides, *_per_emotion(evidence, clips)))
    return rows


def _part_rows(evidence: Evidence) -> list[tuple[object, ...]]:
    folds = [(f"fold {fold}", clips) for fold, clips in evidence.training.groupby("fold")]
    parts = [*folds, ("training", evidence.training), ("test", evidence.tested)]
    return [(name, len(clips), clips["speaker"].nunique(), *_per_emotion(evidence, clips)) for name, clips in parts]


def _per_emotion(evidence: Evidence, clips: pd.DataFrame) -> list[int]:
    counts = clips["emotion"].value_counts()
    return [int(counts.get(emotion, 0)) for emotion in evidence.emotions]


def left_out(evidence: Evidence) -> Html:
    """The clips that were left out, by the kind of reason, and each of them."""
    excluded = evidence.excluded
    if excluded.empty:
        return section("What was left out", paragraph("Nothing."))
    rows = excluded[["path", "corpus", "reason"]].itertuples(index=False, name=None)
    return section(
        "What was left out",
        table(["reason", "clips"], summary(excluded["reason"]).items()),
        details(f"All {len(excluded)} clips left out", table(["path", "corpus", "reason"], rows)),
    )


def reproduce(evidence: Evidence) -> Html:
    """Command, seed, versions, commit, fingerprint, hardware."""
    record = evidence.record
    trials = list(evidence.trials.values())
    devices = ", ".join(sorted({trial.device for trial in trials})) or "none yet"
    nodes = len({trial.node for trial in trials})
    minutes = sum(trial.seconds for trial in trials) / 60
    facts = [
        ("seed", evidence.config["seed"]),
        ("data fingerprint", record["data_fingerprint"]),
        ("git commit", record["git_commit"] or "unknown"),
        ("device", f"{devices} ({count(nodes, 'node')})"),
        ("precision", ", ".join(sorted({trial.precision for trial in trials})) or "-"),
        ("trials", f"{len(trials)}, together {minutes:.1f} minutes"),
        *sorted(record["versions"].items()),
    ]
    return section(
        "How to reproduce it",
        code(record["command"]),
        paragraph("Clips of the same content, the same settings and seed give the same splits, networks and batches."),
        paragraph(ORDER) if evidence.method.races or evidence.method.method == "optuna" else Html(),
        table(["what", "value"], facts),
        details("The whole configuration", code(json.dumps(evidence.config, indent=2, ensure_ascii=False))),
    )


def read_on(evidence: Evidence) -> Html:
    """Where the curves and the classifier are, and how to use them."""
    folder = evidence.folder
    bundle = [
        paragraph("Classify recordings with the exported network:"),
        code(f"python -m ser_tune.predict --bundle {shlex.quote(str(folder.bundle))} recording.wav"),
    ]
    return section(
        "How to read on",
        paragraph("Every curve, candidates side by side, the confusion matrix and the graph in TensorBoard:"),
        code(f"tensorboard --logdir {shlex.quote(str(folder.tensorboard))}"),
        paragraph(
            "Its HPARAMS has a row per candidate, the mean of the folds it ran on; of more than five hyperparameters "
            "it shows five until the others are ticked on its left."
        ),
        *(bundle if evidence.test else []),
        paragraph(
            "The numbers themselves: ", "trials.jsonl, candidates.csv, selection.json, test.json, decisions.jsonl."
        ),
    )
