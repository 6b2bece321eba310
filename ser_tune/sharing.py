"""Rows of the manifest and the cache of their features -> LabelledClips, here or in Ray's object store.

There a node holds them once for all its trials. RunError where a shard is damaged.
"""

import pandas as pd
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ser_tune.cache import FeatureCache
from ser_tune.config import Emotion
from ser_tune.dataset import LabelledClips, label_clips
from ser_tune.errors import RunError

LARGE_BYTES = 2**28  # from here on a worker loads them, which takes a second or two more, and the driver stays small


def load_clips(clips: pd.DataFrame, cache: FeatureCache, emotions: tuple[Emotion, ...]) -> LabelledClips:
    """Rows of the manifest with their features."""
    return label_clips(clips, cache.load(clips["sha256"].tolist()), emotions)


def share_clips(clips: pd.DataFrame, cache: FeatureCache, emotions: tuple[Emotion, ...]) -> ray.ObjectRef:
    """Return a reference to what load_clips makes, on this node; the driver never holds it where it is large."""
    if cache.n_bytes_of(len(clips)) < LARGE_BYTES:
        return ray.put(load_clips(clips, cache, emotions))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    task = ray.remote(num_cpus=0, num_returns=2, scheduling_strategy=here)(_load)
    columns = clips[["sha256", "emotion", "fold"]]
    failure, data = task.remote(columns, cache.only(columns["sha256"].tolist()), emotions)
    if reason := ray.get(failure):
        raise RunError(reason)
    return data


def _load(clips: pd.DataFrame, cache: FeatureCache, emotions: tuple[Emotion, ...]) -> tuple[str, LabelledClips | None]:
    """Why the clips could not be loaded, or nothing; and the clips."""
    try:
        return "", load_clips(clips, cache, emotions)
    except RunError as error:
        return str(error), None
