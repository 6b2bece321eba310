"""The features that a candidate asks for -> its data in the object store; each setting is extracted once.

Extraction goes through the cache, beside running trials: those that wait for it are passed over meanwhile.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import ray

from ser_tune.cache import FeatureCache
from ser_tune.candidates import Candidate
from ser_tune.config import FeatureConfig, SearchConfig, resolve
from ser_tune.preparation import Preparation
from ser_tune.sharing import share_clips

HELD = 4  # data sets kept for trials to come; those of running trials stay anyway


class Staging:
    """A context manager while trials run; `say` hears of every extraction, in words."""

    def __init__(self, config: SearchConfig, preparation: Preparation, say: Callable[[str], None]):
        self._config = config
        self._preparation = preparation
        self._say = say
        self._extractor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="extraction")
        self._caches: dict[FeatureConfig, Future[FeatureCache]] = {}
        self._data: dict[FeatureConfig, ray.ObjectRef] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._extractor.shutdown(wait=False, cancel_futures=True)

    def ready(self, candidate: Candidate) -> bool:
        """Whether the candidate's features are there; if not, they will be. Raises what extraction raised."""
        features = self._features(candidate)
        if features == self._config.features:
            return True
        if features not in self._caches:
            self._caches[features] = self._extractor.submit(self._extract, candidate, features)
        future = self._caches[features]
        return future.done() and bool(future.result())

    def data(self, candidate: Candidate) -> ray.ObjectRef:
        """LabelledClips of the training split with the features of a candidate that is ready."""
        features = self._features(candidate)
        if features not in self._data:
            cache = self._caches[features].result() if features in self._caches else self._preparation.cache
            self._data[features] = share_clips(self._preparation.rows("train"), cache, self._config.data.emotions)
        self._data[features] = self._data.pop(features)  # the last used is the last to go
        while len(self._data) > HELD:
            del self._data[next(iter(self._data))]
        return self._data[features]

    def _features(self, candidate: Candidate) -> FeatureConfig:
        return resolve(self._config.base, candidate.hyperparameters).features

    def _extract(self, candidate: Candidate, features: FeatureConfig) -> FeatureCache:
        def report(done: int, total: int) -> None:
            self._say(f"extracting the features of {candidate.label}: {done} of {total} recordings")

        cache = self._preparation.other_features(features, self._config.cache_dir, progress=report, beside_trials=True)
        self._say("")
        return cache
