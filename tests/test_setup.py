"""What a fresh clone installs: pinned versions, once, and again only where that is needed."""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def canonical(name: str) -> str:
    """The name of a package as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder as it is after an installation."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    os.utime(tmp_path / ".venv" / "installed", (1, 1))
    return tmp_path


def make(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make as its user does, also where `make test` runs these tests."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
    return subprocess.run(["make", *words], cwd=clone, env=environment, capture_output=True, text=True)


def planned(clone: Path, *words: str) -> str:
    made = make(clone, "--dry-run", *words)
    made.check_returncode()
    return made.stdout


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = sum(project["optional-dependencies"].values(), start=project["dependencies"])
    names = {canonical(re.split(r"[\[<>=]", requirement)[0]) for requirement in wanted}
    assert names <= {canonical(name) for name in PINNED}


def test_pins_are_sorted_and_without_local_versions() -> None:
    assert list(PINNED) == sorted(PINNED, key=lambda name: f"{name}==".lower())
    assert not [version for version in PINNED.values() if "+" in version]


def test_tests_run_with_the_pinned_versions() -> None:
    installed = {canonical(found.name): found.version for found in importlib.metadata.distributions()}
    pinned = {canonical(name): version for name, version in PINNED.items()}
    both = installed.keys() & pinned.keys()
    assert {name: installed[name].partition("+")[0] for name in both} == {name: pinned[name] for name in both}


@pytest.mark.parametrize("target", ["search", "test", "test-fast", "lint"])
def test_second_call_installs_nothing(clone: Path, target: str) -> None:
    assert "install" not in planned(clone, target)


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(clone: Path, changed: str) -> None:
    (clone / changed).touch()
    assert "pip install" in planned(clone, "test")


def test_search_takes_other_arguments(clone: Path) -> None:
    search = ".venv/bin/python -m ser_tune.search"
    assert planned(clone, "search") == f"{search} --experiment sample --training.epochs 10\n"
    assert planned(clone, "search", "ARGS=--data-dir DIR") == f"{search} --data-dir DIR\n"


def test_missing_python_is_one_clear_line_and_leaves_nothing_behind(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    made = make(clone, "test", "PYTHON=python2.7")
    assert made.returncode == 2
    assert made.stderr.startswith("error: python2.7 is absent or older than 3.11; install Python 3.11 or newer")
    assert not (clone / ".venv").exists()


def test_what_an_interrupted_installation_left_is_not_kept(clone: Path) -> None:
    (clone / ".venv" / "installed").unlink()
    (clone / ".venv" / "half-a-package").touch()
    (clone / ".venv" / "unfinished").touch()
    (clone / "pyproject.toml").write_text("not TOML")
    make(clone, "test", f"PYTHON={sys.executable}")
    assert not (clone / ".venv" / "half-a-package").exists()
    assert not (clone / ".venv" / "installed").exists()
    assert (clone / ".venv" / "unfinished").exists()


def test_licence_is_the_text_of_the_apache_software_foundation() -> None:
    # The digest of https://www.apache.org/licenses/LICENSE-2.0.txt, and of Debian's common-licenses/Apache-2.0.
    expected = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == expected
