"""The numbers that an experiment trains in: float32, or what its devices are clearly faster with; chosen once.

Which is faster is measured where the trials will run: bfloat16 doubles the speed of one processor and slows its
neighbour, though both have instructions for it. config.json keeps the choice, so that a resume repeats it.
"""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import ray
import torch

from ser_tune.config import ComputeConfig, Emotion, Setting, require
from ser_tune.dataset import LabelledClips, Standardisation
from ser_tune.searcher import TrialResources
from ser_tune.training import load_inputs, start, train_epochs
from ser_tune.trial import device_here

CLEARLY = 1.1  # times as fast as float32: less is worth no bits
_STEPS = 2
_ROUNDS = 4  # the first warms up
_LARGEST_BATCH = 64  # larger ones would take long, and tell no more


def choose_precision(
    compute: ComputeConfig,
    setting: Setting,
    emotions: tuple[Emotion, ...],
    resources: Callable[[], TrialResources],
) -> tuple[str, str]:
    """Return the precision that setting.training asks for, and why, in words; `resources` starts the cluster.

    "auto" is measured: in this process, where the trials will have nothing else than this machine's processors, or
    else on a worker. InputError for tf32 without a GPU.
    """
    wanted = setting.training.precision
    if wanted in ("float32", "bfloat16"):
        return wanted, "as asked"
    if wanted == "auto" and compute.address is None and not torch.cuda.is_available():
        n_threads = min(compute.cpus_per_trial or 1, os.cpu_count() or 1)  # more are refused by `resources`
        with ThreadPoolExecutor(1) as beside:  # Ray takes more than a second to start, most of it waiting
            measured = beside.submit(measure, setting, emotions, n_threads)
            resources()
        speeds = measured.result()
    else:
        given = resources()
        expected = "auto, float32 or bfloat16: no GPU here"
        require(wanted == "auto" or given.gpus > 0, "training.precision", wanted, expected)
        if wanted == "tf32":
            return wanted, "as asked"
        task = ray.remote(num_cpus=given.cpus, num_gpus=given.gpus)(measure)
        speeds = ray.get(task.remote(setting, emotions, given.cpus))
    return fastest(speeds), f"clips per second: {', '.join(f'{name} {speed:.0f}' for name, speed in speeds.items())}"


def fastest(speeds: Mapping[str, float]) -> str:
    """The precision of the highest speed, float32 unless another is clearly faster."""
    best = max(speeds, key=lambda name: speeds[name])
    return best if speeds[best] > CLEARLY * speeds["float32"] else "float32"


def measure(setting: Setting, emotions: tuple[Emotion, ...], n_threads: int) -> dict[str, float]:
    """Clips that this process's device trains on in a second, by precision; the best of a few rounds."""
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    training = replace(setting.training, batch_size=min(setting.training.batch_size, _LARGEST_BATCH))
    n_clips, (n_coefficients, n_frames) = _STEPS * training.batch_size, setting.features.shape
    features = np.random.default_rng(0).normal(size=(n_clips, n_coefficients, n_frames)).astype(np.float32)
    everything = np.arange(n_clips)
    clips = LabelledClips(features, everything % len(emotions), 0 * everything, everything, emotions)
    inputs = load_inputs(clips, device_here())
    standard = Standardisation(np.zeros(n_coefficients, np.float32), np.ones(n_coefficients, np.float32))
    epochs = {}
    for precision in _available(inputs.device):
        learner = start(clips, inputs, standard, setting.model, training, 0, precision)
        epochs[precision] = train_epochs(learner, clips, None, _ROUNDS)
    times: dict[str, list[float]] = {precision: [] for precision in epochs}
    for _ in range(_ROUNDS):  # in turn, so that what else the machine does meets all of them
        for precision, rounds in epochs.items():
            started = time.perf_counter()
            next(rounds)
            times[precision].append(time.perf_counter() - started)
    torch.set_num_threads(n_threads_before)
    return {precision: n_clips / min(found[1:]) for precision, found in times.items()}


def _available(device: torch.device) -> list[str]:
    if device.type == "cpu":
        return ["float32", "bfloat16"]
    return ["float32", "tf32", "bfloat16"] if torch.cuda.is_bf16_supported(including_emulation=False) else ["float32"]
