"""Clips per second of a trial of ours beside a plain eager float32 loop, one thread each.

    python benchmarks/training_speed.py

All train the published network with Adam in batches of 32 on the same made-up features [39, 94]. They take turns, each
in a process of its own, whose figure is the median of its epochs after the first; ratios are those of a turn.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from plain import make_network
from torch import nn

from ser_tune.config import EMOTIONS, Setting
from ser_tune.dataset import LabelledClips, fit_standardisation
from ser_tune.training import load_inputs, start, train_epochs

SETTING = Setting()
N_CLIPS = 256
PLAIN = "plain eager loop, float32"
LOOPS = (PLAIN, "float32", "bfloat16")


def make_clips() -> LabelledClips:
    """Features of noise; how fast a network learns does not depend on what."""
    random = np.random.default_rng(0)
    features = random.normal(size=(N_CLIPS, *SETTING.features.shape)).astype(np.float32)
    everything = np.arange(N_CLIPS)
    return LabelledClips(features, everything % len(EMOTIONS), 0 * everything, everything, EMOTIONS)


def train_plainly(clips: LabelledClips) -> Iterator[None]:
    """One epoch a step: what one writes, without anything of ours."""
    model = SETTING.model
    network = make_network(*SETTING.features.shape, model.channels, model.hidden, model.dropout, len(EMOTIONS))
    optimiser = torch.optim.Adam(network.parameters(), lr=SETTING.training.lr)
    inputs, labels = torch.from_numpy(clips.features)[:, None], torch.from_numpy(clips.labels)
    while True:
        network.train()
        for rows in torch.split(torch.randperm(len(labels)), SETTING.training.batch_size):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        yield


def train_ours(clips: LabelledClips, precision: str) -> Iterator[object]:
    """One epoch a step: what a trial runs."""
    standard, inputs = fit_standardisation(clips), load_inputs(clips, "cpu")
    learner = start(clips, inputs, standard, SETTING.model, SETTING.training, 0, precision)
    return train_epochs(learner, clips, None, 10**6)


def time_loop(name: str, n_epochs: int) -> None:
    """Print the median of the clips per second of some epochs after the first."""
    clips, times = make_clips(), []
    torch.set_num_threads(1)
    loop = train_plainly(clips) if name == PLAIN else train_ours(clips, name)
    for _ in range(1 + n_epochs):
        started = time.perf_counter()
        next(loop)
        times.append(time.perf_counter() - started)
    print(N_CLIPS / statistics.median(times[1:]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (%(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of a process after the first (%(default)s)")
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        time_loop(args.loop, args.epochs)
        return
    speeds: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    for _ in range(args.rounds):
        for loop, found in speeds.items():
            command = [sys.executable, __file__, "--loop", loop, "--epochs", str(args.epochs)]
            found.append(float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))  # noqa: S603
    print("| loop | clips per second, median | lowest and highest | ratio |\n|---|---|---|---|")
    for loop, found in speeds.items():
        ratio = statistics.median(ours / plain for ours, plain in zip(found, speeds[PLAIN], strict=True))
        name = loop if loop == PLAIN else f"ser_tune, {loop}"
        print(f"| {name} | {statistics.median(found):.0f} | {min(found):.0f}, {max(found):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
