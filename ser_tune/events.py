"""TensorBoard's event files: open a run anew, read back what it holds, the records of HPARAMS.

HPARAMS takes a run for a session if it holds a start record; sessions of one group are shown as one row,
their metrics averaged.
"""

import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard import SummaryWriter

FLUSH_S = 5  # an open TensorBoard shows an epoch this long after it ended, at most
PATTERN = "events.out.tfevents.*"

TYPES = {
    "string_value": api_pb2.DATA_TYPE_STRING,
    "number_value": api_pb2.DATA_TYPE_FLOAT64,
    "bool_value": api_pb2.DATA_TYPE_BOOL,
}

Points = dict[tuple[str, int], float | None]
"""Scalars by tag and step, as single-precision numbers; None stands for nan, which equals nothing."""


@dataclass(frozen=True)
class Run:
    """What the event file of one run holds; `records` are the HPARAMS records by tag."""

    points: Points = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    records: dict[str, bytes] = field(default_factory=dict)


def open_anew(folder: Path) -> SummaryWriter:
    """A writer into `folder`, emptied first: TensorBoard would join several event files into one run."""
    shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder), flush_secs=FLUSH_S)


def read_run(folder: Path) -> Run:
    """What the run holds, up to where a kill tore it; an empty run if there is none, or several files."""
    files = list(folder.glob(PATTERN))
    if len(files) != 1:
        return Run()
    points: Points = {}
    texts = []
    records = {}
    for event in LegacyEventFileLoader(str(files[0])).Load():
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            if value.HasField("simple_value"):
                points[value.tag, event.step] = _single(value.simple_value)
            elif plugin.plugin_name == metadata.PLUGIN_NAME:
                records[value.tag] = plugin.content
            elif plugin.plugin_name == "text":
                texts.append(value.tensor.string_val[0].decode())
    return Run(points, tuple(texts), records)


def to_points(curves: Mapping[str, Sequence[float]]) -> Points:
    """Curves by tag, one number per epoch, as the points their run will hold; steps count from 1."""
    return {(tag, step): _single(value) for tag, curve in curves.items() for step, value in enumerate(curve, start=1)}


def _single(value: float) -> float | None:
    with np.errstate(over="ignore"):
        return None if math.isnan(value) else float(np.float32(value))


def describe_experiment(hyperparameters: Mapping[str, Collection[Any]], metrics: Mapping[str, str]) -> Summary:
    """The record that tells HPARAMS its columns: hyperparameters with the values they take, tags of metrics, headings.

    TensorBoard ticks the first five columns, those that differ before the others; words it shows and filters by
    only where all of them are listed.
    """
    columns = [_column(name, hyperparameters[name]) for name in sorted(hyperparameters)]
    scores = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=heading) for tag, heading in metrics.items()
    ]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=scores)
    return _record(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))


def _column(name: str, values: Collection[Any]) -> api_pb2.HParamInfo:
    kinds = {_value(value)[0] for value in values}
    column = api_pb2.HParamInfo(name=name, differs=len(values) > 1, type=TYPES[min(kinds, key=list(TYPES).index)])
    if column.type == api_pb2.DATA_TYPE_STRING:
        column.domain_discrete.extend(sorted(str(value) for value in values))
    return column


def is_described(run: Run, experiment: Summary) -> bool:
    """Whether the run holds this very record of its experiment."""
    (expected,) = experiment.value
    return bool(run.records.get(metadata.EXPERIMENT_TAG) == expected.metadata.plugin_data.content)


def session(hyperparameters: Mapping[str, Any], group: str, start_s: float, end_s: float) -> list[Summary]:
    """The two records that make a run a successful session of `group`, the end last; times since 1970 [s]."""
    start = SessionStartInfo(group_name=group, start_time_secs=start_s)
    for name, value in hyperparameters.items():
        setattr(start.hparams[name], *_value(value))
    end = SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=end_s)
    return [
        _record(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        _record(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    ]


def add_records(writer: SummaryWriter, records: Sequence[Summary]) -> None:
    """Write HPARAMS records, for which SummaryWriter has no method that takes a group."""
    events: Any = writer.file_writer
    for record in records:
        events.add_summary(record)


def is_ended(run: Run) -> bool:
    """Whether the run holds the record that ends a session, the last one written."""
    return metadata.SESSION_END_INFO_TAG in run.records


def _record(tag: str, content: HParamsPluginData) -> Summary:
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _value(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):  # before int, which a bool is too
        return "bool_value", value
    return ("number_value", value) if isinstance(value, int | float) else ("string_value", str(value))
