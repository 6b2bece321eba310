"""Extract the features of recordings into the cache, ready for a search; what is there already is kept.

Recordings that cannot be read are listed with their reasons, and the others go on.
"""

from ser_tune.command import run
from ser_tune.config import ExtractConfig


def main(config: ExtractConfig) -> None:
    """Find the recordings, extract the missing ones, tell what was done."""
    from contextlib import ExitStack

    from rich.console import Console

    from ser_tune.cache import extract
    from ser_tune.cluster import connect
    from ser_tune.corpora import read_clips
    from ser_tune.errors import InputError
    from ser_tune.findings import one_line
    from ser_tune.progress import progress_bar

    clips, left_out = read_clips(config.data)
    if not clips:
        where = config.data.data_dir or config.data.csv
        raise InputError(f"no recording of a known corpus in {where}; python -m ser_tune.audit tells what is there")
    console = Console(stderr=True)
    with ExitStack() as stack:
        cache = extract(
            [clip.path for clip in clips],
            config.features,
            config.cache_dir,
            start_ray=lambda: stack.enter_context(connect(config.compute, config.resume_hint)),
            progress=stack.enter_context(progress_bar(console, "extracting features")),
        )
    unreadable = {path: facts.error for path, facts in cache.facts.items() if facts.error}
    for line in [*cache.notices, *(f"unreadable: {path}: {reason}" for path, reason in unreadable.items())]:
        console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)
    if left_out:
        console.print(f"{len(left_out)} other files are no clips to use; python -m ser_tune.audit lists them")
    extracted = f"{cache.n_extracted} extracted" if cache.n_extracted else "nothing had to be extracted"
    print(
        f"{len(cache.facts)} clips: {extracted}, {cache.n_reused} already there, {len(unreadable)} unreadable; "
        f"{cache.folder} ({cache.n_bytes / 1e6:.1f} MB)"
    )


if __name__ == "__main__":
    run(main, ExtractConfig)
