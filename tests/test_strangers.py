"""What the program does not do to what others send: unpickle, unpack, download, run it.

Where one of these comes into the program it needs tests of its own, of what a stranger could send: no file outside the
folder, no more than announced, nothing run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ser_tune

SOURCES = sorted(Path(ser_tune.__file__).parent.rglob("*.py"))
NEVER = {
    *("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
    *("zipfile", "tarfile", "gzip", "bz2", "lzma", "urllib", "http", "ftplib", "requests", "httpx"),
    *(
        "torch.load",
        "torch.hub",
        "numpy.load",
        "np.load",
        "shutil.unpack_archive",
        "pandas.read_pickle",
        "pd.read_pickle",
    ),
    *("eval", "exec", "compile", "os.system", "yaml.load"),
}


def names_used(source: str) -> Iterator[str]:
    """The modules that are imported, and what is called, with dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def forbidden(source: str) -> set[str]:
    return {name for name in names_used(source) for never in NEVER if name == never or name.startswith(f"{never}.")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_is_unpickled_unpacked_downloaded_or_run(path: Path) -> None:
    assert not forbidden(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source", ["import pickle", "from urllib.request import urlopen", "from torch import load", "x = torch.load(path)"]
)
def test_what_is_looked_for_would_be_found(source: str) -> None:
    assert forbidden(source)
