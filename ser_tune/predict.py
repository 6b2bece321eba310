"""Classify the emotion of recordings with an exported bundle; longer ones window by window, averaged.

A recording that cannot be classified gets its own error line and the others go on. Exit status 0 where one
was classified at least, 1 where none was. What the bundle was tested on goes to stderr.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ser_tune.command import run
from ser_tune.errors import AudioError, InputError, RunError

if TYPE_CHECKING:
    from rich.table import Table

    from ser_tune.inference import Classification, Probabilities


@dataclass(frozen=True)
class PredictConfig:
    files: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...", help_behavior_hint="")]]
    """Recordings to classify: WAV, AIFF, FLAC, OGG, MP3 and others, 1 kHz to 1 MHz, 24 hours at most."""
    bundle: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder with the exported classifier, such as experiments/NAME/bundle."""
    json: bool = False
    """Print one JSON object a line: path, emotion, probabilities, windows; or path, error."""

    def __post_init__(self) -> None:
        if not self.files:
            raise InputError("no recording named; expected one file or more: --bundle DIR FILE...")


def main(config: PredictConfig) -> None:
    """Print the emotions of the recordings as a table or as JSON lines."""
    import torch

    from ser_tune.export import load_bundle
    from ser_tune.inference import classify

    torch.set_num_threads(1)  # a few windows are too little work: threads cost more than they bring
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the characters of a name gets escapes
            stream.reconfigure(errors="backslashreplace")
    bundle, network = load_bundle(config.bundle)
    print(describe_score_card(bundle.score_card), file=sys.stderr)
    classified: list[tuple[str, Classification]] = []
    for path in map(str, config.files):
        try:
            found = classify(path, bundle, network)
        except Exception as error:  # noqa: BLE001 # whatever one recording brings about, the others go on
            reason = str(error) if isinstance(error, AudioError) else f"{type(error).__name__}: {error}"
            if config.json:
                print(json.dumps({"path": path, "error": reason}), flush=True)
            else:
                print(f"error: {_printable(path)}: {_printable(reason)}", file=sys.stderr)
            continue
        classified.append((path, found))
        if config.json:
            print(json.dumps(to_record(path, found, bundle.emotions)), flush=True)
    if not classified:
        raise RunError(f"no recording could be classified, of {len(config.files)} named")
    if not config.json:
        _print_tables(classified, bundle.emotions)


def describe_score_card(card: Mapping[str, Any]) -> str:
    """One line on what the bundle is worth; of a stranger's card only numbers that make sense are shown."""
    test, corpora = card.get("test"), card.get("corpora")
    protocols = {"utterance": "unseen clips of known speakers", "speaker": "clips of unseen speakers"}
    what = protocols.get(str(card.get("protocol")))
    shown = [_describe_score(test, key, name) for key, name in (("accuracy", "accuracy"), ("uar", "UAR"))]
    if what is None or not isinstance(test, dict) or type(test.get("n")) is not int or not all(shown):
        return "tested: not known; the bundle's score card does not tell"
    line = f"tested: {', '.join(shown)} on {test['n']} {what}"
    if isinstance(corpora, dict) and corpora:
        line += f", {len(corpora)} {'corpus' if len(corpora) == 1 else 'corpora'}"
    return line + (" of synthetic voices: tells nothing of real ones" if card.get("synthetic") is True else "")


def _describe_score(test: Any, key: str, name: str) -> str:
    """`name value [low, high]`, or nothing unless all three are numbers from 0 to 1."""
    value, bounds = (test.get(key), test.get(f"{key}_interval")) if isinstance(test, dict) else (None, None)
    numbers: list[Any] = [value, *bounds] if isinstance(bounds, list) and len(bounds) == 2 else [None]
    if not all(type(number) in (int, float) and 0 <= number <= 1 for number in numbers):
        return ""
    return "{} {:.2f} [{:.2f}, {:.2f}]".format(name, *numbers)


def to_record(path: str, found: "Classification", emotions: Sequence[str]) -> dict[str, Any]:
    """What --json prints of a recording: path, emotion, probabilities{}, windows[] with start_s and end_s."""
    windows = [
        {"start_s": window.start_s, "end_s": window.end_s, **_named(window.probabilities, emotions)}
        for window in found.windows
    ]
    return {"path": path, **_named(found.probabilities, emotions), "windows": windows}


def _named(probabilities: "Probabilities", emotions: Sequence[str]) -> dict[str, Any]:
    return {
        "emotion": emotions[int(probabilities.argmax())],
        "probabilities": dict(zip(emotions, probabilities.tolist(), strict=True)),
    }


def _print_tables(classified: "list[tuple[str, Classification]]", emotions: Sequence[str]) -> None:
    """One row per recording, then a table of the windows of each that has several."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    table = _table("recording")
    for path, found in classified:
        table.add_row(Text(_printable(path)), *_ranked(found.probabilities, emotions), f"{found.duration_s:.2f} s")
    console.print(table)
    for path, found in classified:
        if len(found.windows) > 1:
            console.print(Text(f"\nwindows of {_printable(path)}"))
            table = _table("window")
            for window in found.windows:
                length = f"{window.end_s - window.start_s:.2f} s"
                span = f"{window.start_s:.2f} to {window.end_s:.2f} s"
                table.add_row(span, *_ranked(window.probabilities, emotions), length)
            console.print(table)


def _table(first: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in ("emotion", "probability", "runner-up", "length"):
        table.add_column(name, justify="right" if name in ("probability", "length") else "left", no_wrap=True)
    return table


def _ranked(probabilities: "Probabilities", emotions: Sequence[str]) -> tuple[str, str, str]:
    """The likeliest emotion, its probability and the runner-up with its own."""
    second, first = (int(index) for index in probabilities.argsort(kind="stable")[-2:])
    return emotions[first], f"{probabilities[first]:.2f}", f"{emotions[second]} {probabilities[second]:.2f}"


def _printable(path: str) -> str:
    """The path with newlines, control characters and bytes that are not UTF-8 written as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in path)


if __name__ == "__main__":
    run(main, PredictConfig)
