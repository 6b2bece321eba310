"""Search hyperparameters by cross-validation: folders of recordings in, a chosen, tested, exported classifier out.

The same command goes on after an interruption and runs only what is missing. Without --data-dir it tries itself
on synthetic sample corpora. Results lie in experiments/NAME: report.html, bundle/, trials.jsonl and more.
"""

from ser_tune.command import run
from ser_tune.config import SearchConfig


def main(config: SearchConfig) -> None:
    """Search; progress goes to standard error, the outcome to standard output."""
    from rich.console import Console

    from ser_tune.pipeline import search

    search(config, Console(stderr=True))


if __name__ == "__main__":
    run(main, SearchConfig)
