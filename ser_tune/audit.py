"""Tell what is in a folder of recordings: corpora, speakers, emotions, audio, faults, what a search leaves out."""

from ser_tune.command import run
from ser_tune.config import AuditConfig


def main(config: AuditConfig) -> None:
    """Find, decode and check the recordings, and print what was found; nothing is written."""
    import io
    import sys
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import track

    from ser_tune.audio import probe
    from ser_tune.corpora import SYNTHETIC_MARKER, read_clips
    from ser_tune.findings import find, listing, tables
    from ser_tune.manifest import refuse_no_clip

    clips, excluded = read_clips(config.data)
    paths = sorted({clip.path for clip in clips})
    notes = Console(stderr=True)
    pool = ThreadPoolExecutor()
    try:
        probed = pool.map(probe, paths)
        shown = track(probed, "reading", len(paths), console=notes, disable=not notes.is_terminal, transient=True)
        facts = dict(zip(paths, shown, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C thousands may be waiting
    found = find(clips, facts, excluded, keep_everything=config.data.keep_everything)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold what the terminal's encoding does not
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(markup=False, emoji=False, highlight=False)
    if config.data.data_dir is not None and (config.data.data_dir / SYNTHETIC_MARKER).exists():
        console.print("These corpora are synthetic: a program made the voices, and nobody speaks in them.\n")
    for table in tables(found) if clips or excluded else ():
        console.print(table)
        console.print()
    for line in listing(found, list_all=config.list_all):
        console.print(line, soft_wrap=True)
    refuse_no_clip(found.usable, found.left_out, config.data)
    console.print(f"{len(found.usable)} recordings are usable, {len(found.left_out)} files are left out")


if __name__ == "__main__":
    run(main, AuditConfig)
