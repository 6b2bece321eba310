"""What an experiment found, and where that of a disturbed one differs from that of an undisturbed one."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tune.experiment import ExperimentFolder
from ser_tune.files import whole_lines
from ser_tune.shards import read_manifest, read_shard

Facts = dict[str, Any]


def facts_of(folder: ExperimentFolder, cache: Path) -> Facts:
    """Everything that must not depend on when, where and how often a search was disturbed."""
    facts: Facts = {}
    for line in whole_lines(folder.trials):
        trial = {name: value for name, value in json.loads(line).items() if name not in ("seconds", "node")}
        key = "trial {candidate} fold {fold} repeat {repeat}".format(**trial)
        facts[f"{key}, a second time" if key in facts else key] = trial
    for path in (folder.candidates, folder.selection, folder.test):
        facts[path.name] = path.read_text()
    facts["identity"] = json.loads(folder.config.read_text())["identity"]
    facts["evaluations of the test split"] = json.loads(facts["test.json"])["evaluations"]
    for path in (folder.bundle / "model.safetensors", folder.bundle / "bundle.json"):
        facts[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in (folder.manifest, folder.excluded):
        facts[path.name] = pd.read_parquet(path).to_csv()
    return facts | features_of(cache)


def features_of(cache: Path) -> Facts:
    """Hashes of the features that whole, listed shards hold, by recording; RunError where a shard is not whole."""
    facts: Facts = {}
    for listed in sorted(cache.glob("*/manifest.json")):
        for shard in read_manifest(listed.parent):
            table = read_shard(listed.parent, shard, ["path", "sha256", "error", "features"])
            column = table["features"].combine_chunks()
            values, ends = column.flatten().to_numpy(), column.offsets.to_numpy()
            for row, begin, end in zip(table.drop(["features"]).to_pylist(), ends, ends[1:], strict=False):
                content = hashlib.sha256(values[begin:end].tobytes()).hexdigest()
                facts[f"features {listed.parent.name} {row['path']}"] = row["sha256"], row["error"], content
    return facts


def decisions_of(folder: ExperimentFolder) -> Facts:
    """The decisions of a race, in order."""
    return {"decisions.jsonl": folder.decisions.read_text()}


def differences(expected: Facts, found: Facts) -> list[str]:
    """The names of the facts that differ."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
