import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from search_runs import run_search

from ser_tune.config import SearchConfig
from ser_tune.sample import speak_corpus

pytestmark = pytest.mark.ray

FLAGS = [
    *("--epochs", "6", "--lr", "0.001", "0.01", "--folds", "3", "--training.batch-size", "16"),
    *("--model.channels", "4", "8", "--model.hidden", "32", "16"),
]


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The benchmark as a module; it sets the number of threads of this process."""
    threads = torch.get_num_threads()
    path = Path(__file__).parents[1] / "benchmarks" / "against_cross_validate.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def search(script: Any, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a search with the benchmark's flags left; on the tests' own Ray, which is there already."""
    work = tmp_path_factory.mktemp("against")
    for corpus in ("RAVDESS", "TESS"):
        speak_corpus(work / "voices", corpus)
    _, flags = script.parse([*FLAGS, "--data-dir", str(work / "voices")])
    places = ["--experiments-dir", str(work), "--experiment", "ours", "--cache-dir", str(work / "cache")]
    run_search(tyro.cli(SearchConfig, args=[*flags, *places, "--compute.cpus-per-trial", "1"]))
    return script.read_search(work / "ours", work / "cache")


@pytest.fixture(scope="module")
def theirs(script: Any, search: Any) -> Any:
    return script.run_cross_validate(search, base_seed=0)


def test_the_grid_scores_and_chooses_as_cross_validate_does(
    script: Any, search: Any, theirs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {lr: curves.shape for lr, curves in search.curves.items()} == {0.001: (3, 6), 0.01: (3, 6)}
    assert len({*np.ravel(list(search.curves.values()))}) > 9  # the trials differ, so that agreement says something
    for lr, curves in search.curves.items():
        np.testing.assert_allclose(theirs[lr], curves, atol=1e-12)
    assert script.choose(theirs) == search.choice
    assert script.compare(search, theirs, max_clips=0)
    assert "Of 36 fold scores, all epochs, 0 differ" in capsys.readouterr().out


def test_the_comparison_sees_seeds_of_another_experiment(script: Any, search: Any) -> None:
    assert not script.compare(search, script.run_cross_validate(search, base_seed=1), max_clips=0)


def test_the_comparison_sees_another_choice_and_one_clip_more(script: Any, search: Any, theirs: Any) -> None:
    lr, epoch = search.choice
    assert not script.compare(replace(search, choice=(lr, epoch + 1)), theirs, max_clips=0)
    other = {lr: curves.copy() for lr, curves in theirs.items()}
    other[0.001][2, 0] -= 1 / (search.fold == 2).sum()
    assert not script.compare(search, other, max_clips=0)
    assert script.compare(search, other, max_clips=1)


@pytest.mark.parametrize("change", [{"optimizer": "sgd"}, {"loss": "published"}, {"time_mask": 5}])
def test_training_that_the_plain_loop_cannot_do_is_refused(script: Any, search: Any, change: dict[str, Any]) -> None:
    config = {**search.config, "training": {**search.config["training"], **change}}
    with pytest.raises(SystemExit, match=f"another {next(iter(change))} than the plain loop"):
        script._check_plain(config, [])
