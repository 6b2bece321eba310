"""Sections of the report on what the numbers rest on: network, data, what was left out, how to repeat it."""

import json
import shlex

import pandas as pd

from ser_tune import figures
from ser_tune.manifest import summary
from ser_tune.report.evidence import Evidence
from ser_tune.report.markup import Html, bullets, code, details, paragraph, picture, section, table


def network(evidence: Evidence) -> Html:
    """The network layer by layer."""
    layers = [(layer["layer"], layer["output"], layer["parameters"]) for layer in evidence.record["network"]]
    features = evidence.config["features"]
    n_frames = 1 + round(features["duration_s"] * features["sample_rate"]) // features["hop_length"]
    figure = figures.network_figure(layers, (3 * features["n_mfcc"], n_frames))
    loss = evidence.config["training"]["loss"]
    heard = (
        f"It hears the first {features['duration_s']:g} s of a clip, mono at {features['sample_rate']} Hz, as "
        f"{features['n_mfcc']} MFCC with delta and delta-delta. "
    )
    trained = {
        "logits": "It is trained with cross-entropy on the values before the softmax.",
        "published": "It is trained with cross-entropy on the softmax's output, as published.",
    }
    return section(
        "The network",
        paragraph(
            heard, trained[loss], " Sizes are channels x coefficients x frames; a box is wider where more numbers flow."
        ),
        picture(evidence.folder.figures, "network", figure, "The layers from top to bottom with sizes and parameters"),
    )


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
        ("device", f"{devices} ({nodes} node{'s' * (nodes != 1)})"),
        ("precision", ", ".join(sorted({trial.precision for trial in trials})) or "-"),
        ("trials", f"{len(trials)}, together {minutes:.1f} minutes"),
        *sorted(record["versions"].items()),
    ]
    return section(
        "How to reproduce it",
        code(record["command"]),
        paragraph("Clips of the same content, the same settings and seed give the same splits, networks and batches."),
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
        *(bundle if evidence.test else []),
        paragraph("The numbers themselves: ", "trials.jsonl, candidates.csv, selection.json, test.json."),
    )
