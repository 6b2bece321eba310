"""A progress bar on a terminal; a plain line for every tenth of the work where there is none."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(console: Console, what: str, quiet_s: float = 3.0) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with the items done and the items in all; shows nothing until it is called.

    Plain lines begin after `quiet_s` [s]: what is done sooner needs none.
    """
    if not console.is_terminal:
        yield _plain_lines(console, what, quiet_s)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:

        def show(done: int, total: int) -> None:
            task = bar.task_ids[0] if bar.task_ids else bar.add_task(what)
            bar.update(task, completed=done, total=total)

        yield show


def _plain_lines(console: Console, what: str, quiet_s: float) -> Callable[[int, int], None]:
    tenths_said = -1
    begin = time.monotonic() + quiet_s

    def say(done: int, total: int) -> None:
        nonlocal tenths_said
        tenths = 10 * done // max(1, total)
        if tenths > tenths_said and time.monotonic() >= begin:
            tenths_said = tenths
            console.print(f"{what}: {done}/{total}", markup=False, highlight=False, soft_wrap=True)

    return say
