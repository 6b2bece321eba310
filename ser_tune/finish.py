"""The choice -> final weights, one look at the test split, the bundle; and the outcome in words.

The weights are on the disk, in the bundle, before the test split is opened: after a kill the same weights
look again, and that is the same look.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import ray
import torch
from rich.console import Console

from ser_tune.cache import FeatureCache
from ser_tune.candidates import make_candidate, refit_seed
from ser_tune.config import SearchConfig, resolve
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.export import Bundle, load_bundle, save_bundle
from ser_tune.files import write_json
from ser_tune.metrics import FEW_UNITS, METRIC_NAMES
from ser_tune.model import EmotionNetwork, build_network, weights_sha256
from ser_tune.preparation import Preparation
from ser_tune.progress import progress_bar
from ser_tune.refit import Refit, run_refit
from ser_tune.searcher import choose_resources
from ser_tune.sharing import share_clips
from ser_tune.testing import evaluate, is_of, looks, may_look, why_closed
from ser_tune.tracking import Tracker
from ser_tune.trial import TrialSettings


def final_test(
    config: SearchConfig,
    folder: ExperimentFolder,
    preparation: Preparation,
    precision: str,
    start_ray: Callable[[], None],
    console: Console,
) -> None:
    """Refit, export and test the choice of selection.json, as far as that is not done.

    It is not tested where other weights were, unless config.reopen_test is on.
    """
    choice = read_json(folder.selection)
    exported = _exported(folder, choice)
    if exported and _is_done(folder, *exported, reopen_test=config.reopen_test):
        return
    folder.outdate_report()
    features = resolve(config.base, choice["hyperparameters"]).features
    cache = preparation.other_features(features, config.cache_dir, start_ray=start_ray)
    bundle, network = exported or _refit(config, folder, preparation, cache, precision, choice, start_ray, console)
    weights = weights_sha256(network.state_dict())
    if not may_look(folder, weights, reopen_test=config.reopen_test):
        return
    seen = looks(folder)
    start_ray()
    test = _look(config, preparation, cache, bundle, network) | {
        "candidate": choice["candidate"],
        "epochs": choice["epochs"],
        "weights_sha256": seen if weights in seen else [*seen, weights],
    }
    test["evaluations"] = len(test["weights_sha256"])
    write_json(folder.test, test)
    tracker = Tracker(folder.tensorboard)
    example = torch.zeros(1, network.n_coefficients, network.n_frames)
    tracker.record_final(network, example, test["confusion"], test["emotions"], bundle.score_card["refit"])
    tracker.close()
    tested = {key: value for key, value in test.items() if key not in ("confusion", "emotions")}
    save_bundle(folder.bundle, dataclasses.replace(bundle, score_card=bundle.score_card | {"test": tested}), network)


def _is_done(folder: ExperimentFolder, bundle: Bundle, network: EmotionNetwork, *, reopen_test: bool) -> bool:
    """Whether the bundle is tested, or shall not be."""
    if bundle.score_card["test"] and folder.test.exists():
        return True
    return not may_look(folder, weights_sha256(network.state_dict()), reopen_test=reopen_test)


def _exported(folder: ExperimentFolder, choice: dict[str, Any]) -> tuple[Bundle, EmotionNetwork] | None:
    """The bundle, if it holds the choice's weights."""
    try:
        bundle, network = load_bundle(folder.bundle)
    except InputError:
        return None
    return (bundle, network) if is_of(bundle.score_card, choice) else None


def _refit(
    config: SearchConfig,
    folder: ExperimentFolder,
    preparation: Preparation,
    cache: FeatureCache,
    precision: str,
    choice: dict[str, Any],
    start_ray: Callable[[], None],
    console: Console,
) -> tuple[Bundle, EmotionNetwork]:
    """Train the choice on the whole training split and export it, not yet tested."""
    start_ray()
    resources = choose_resources(config.compute, 1)
    settings = TrialSettings(config.base, preparation.data_fingerprint, resources.cpus, precision)
    candidate = make_candidate(choice["hyperparameters"])
    setting = resolve(config.base, candidate.hyperparameters)
    with progress_bar(console, f"refitting {candidate.label}") as progress:
        refit = run_refit(
            share_clips(preparation.rows("train"), cache, config.data.emotions),
            settings,
            resources,
            candidate,
            choice["epochs"],
            refit_seed(config.seed),
            lambda scores: progress(scores.epoch, choice["epochs"]),
        )
    network = build_network(setting.model, *setting.features.shape, len(config.data.emotions))
    network.load_state_dict(refit.weights)
    bundle = Bundle(
        features=setting.features,
        emotions=config.data.emotions,
        standardisation=refit.standardisation,
        model=setting.model,
        score_card=_score_card(config, preparation, choice, refit),
    )
    save_bundle(folder.bundle, bundle, network)
    return load_bundle(folder.bundle)


def _score_card(config: SearchConfig, preparation: Preparation, choice: dict[str, Any], refit: Refit) -> dict[str, Any]:
    """What a user of the bundle must know of its worth; `test` is null until it was tested."""
    return {
        **{key: value for key, value in choice.items() if key != "network"},
        "data_fingerprint": preparation.data_fingerprint,
        "synthetic": preparation.synthetic,
        "protocol": config.splits.protocol,
        "corpora": preparation.clips["corpus"].value_counts().sort_index().to_dict(),
        "notices": list(preparation.notices),
        "refit": {"train_loss": refit.train_loss, "train_accuracy": refit.train_accuracy},
        "test": None,
    }


def _look(
    config: SearchConfig, preparation: Preparation, cache: FeatureCache, bundle: Bundle, network: EmotionNetwork
) -> dict[str, Any]:
    """Open the test split, on a worker, as the driver shall not hold what may be large."""
    rows = preparation.rows("test")
    test = share_clips(rows, cache, config.data.emotions)
    speakers, corpora = rows["speaker"].tolist(), rows["corpus"].tolist()
    found: dict[str, Any] = ray.get(
        ray.remote(evaluate).remote(
            network, bundle.standardisation, test, speakers, corpora, config.splits.protocol, config.seed
        )
    )
    return found


def outcome(folder: ExperimentFolder) -> str:
    """What the search found, for the terminal: the candidates, the choice, the test score, and where things are."""
    choice, test = read_json(folder.selection), read_json(folder.test)
    label = make_candidate(choice["hyperparameters"]).label

    def scored(metric: str) -> str:
        low, high = test[f"{metric}_interval"]
        return f"{METRIC_NAMES[metric]} {test[metric]:.1%} [{low:.1%}, {high:.1%}]"

    tested = [
        f"Test        {', '.join(map(scored, METRIC_NAMES))}",
        f"            {test['n']} clips, 95% intervals by resampling {test['n_interval_units']} "
        f"{test['interval_unit']}{_caution(test)}; test split looked at {_times(test['evaluations'])}",
    ]
    if not load_bundle(folder.bundle)[0].score_card["test"]:
        tested = [f"Test        {why_closed(folder)}"]
    return "\n".join(
        [
            f"Chosen      {label}, {choice['epochs']} epochs: validation {METRIC_NAMES[choice['metric']]} "
            f"{choice['mean']:.1%}, fold means ± {100 * choice['sd']:.1f} points (candidate {choice['candidate']})",
            f"            {choice['certainty']}",
            *tested,
            f"Report      {folder.report}",
            f"Bundle      {folder.bundle}   try: python -m ser_tune.predict --bundle {folder.bundle} FILE.wav",
            f"TensorBoard tensorboard --logdir {folder.tensorboard}",
        ]
    )


def _caution(test: dict[str, Any]) -> str:
    """Why not to lean on intervals from a handful of speakers: the bootstrap understates their spread."""
    return " (so few that they come out too narrow)" if test["n_interval_units"] < FEW_UNITS else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
