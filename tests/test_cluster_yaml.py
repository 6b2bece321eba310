"""cluster.yaml as `ray up` sees it: merged with Ray's defaults, checked by Ray's own code; and what the guide says."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ser_tune.config import SearchConfig

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def merged() -> dict[str, Any]:
    """The configuration after the steps of `ray up` that need no AWS account."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    validate_config(config)
    return config


def start_commands(config: dict[str, Any]) -> list[str]:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def options_of(command: str) -> dict[str, Any]:
    """What Ray's own command line makes of a `ray start`."""
    from ray.scripts.scripts import start

    arguments = shlex.split(command.partition("ray start ")[2])
    parsed: dict[str, Any] = start.make_context("start", arguments).params
    return parsed


def test_rays_own_check_refuses_an_unknown_key() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text()) | {"idle_timeout": 5}
    with pytest.raises(ValidationError, match="idle_timeout"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize(
    "default",
    [
        "0.0.0.0",  # noqa: S104 (looked for, not bound)
        "spot",
        "ray-wheels/latest",
        "'boto3>=1.4.8'",
    ],
)
def test_no_unwanted_default_of_ray_survives_the_merge(merged: dict[str, Any], default: str) -> None:
    from ray.autoscaler._private.providers import _get_default_config

    assert default in json.dumps(_get_default_config({"type": "aws"}))
    assert default not in json.dumps(merged)


def test_every_ray_start_demands_the_token_and_reports_nothing(merged: dict[str, Any]) -> None:
    assert len(start_commands(merged)) == 2
    for command in start_commands(merged):
        before = command.partition("ray start ")[0].split(";")[-1].split()
        assert before[:2] == ["RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"]


def test_dashboard_listens_on_loopback_and_workers_join_the_head(merged: dict[str, Any]) -> None:
    head, worker = map(options_of, start_commands(merged))
    assert head["head"]
    assert head["dashboard_host"] == "127.0.0.1"
    assert worker["address"] == f"$RAY_HEAD_IP:{head['port']}"
    assert not worker["head"]


def test_token_is_copied_and_readable_by_its_owner_alone_before_anything_else_runs(merged: dict[str, Any]) -> None:
    assert merged["file_mounts"].items() >= {"~/.ray/auth_token": "~/.ray/auth_token"}.items()
    for kind in ("head", "worker"):
        assert merged[f"{kind}_setup_commands"][0] == "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token"


def test_every_installation_is_held_to_the_constraints(merged: dict[str, Any]) -> None:
    for kind in ("head", "worker"):
        installs = [command for command in merged[f"{kind}_setup_commands"] if "pip install" in command]
        assert len(installs) == 1
        assert "-c constraints.txt" in installs[0]
    assert "~/ser_tune/constraints.txt" in merged["file_mounts"]


def test_what_is_mounted_lies_in_the_repository_and_suffices_to_build_the_package(merged: dict[str, Any]) -> None:
    sources = [Path(local) for local in merged["file_mounts"].values() if not local.startswith("~")]
    assert all((ROOT / source).exists() for source in sources)
    assert {"ser_tune", "pyproject.toml", "README.md", "LICENSE"} <= set(map(str, sources))


def test_workers_start_from_none_and_only_on_demand(merged: dict[str, Any]) -> None:
    workers = {name: kind for name, kind in merged["available_node_types"].items() if name != merged["head_node_type"]}
    assert {name: kind["min_workers"] for name, kind in workers.items()} == {"cpu_worker": 0, "gpu_worker": 0}
    assert sum(kind["max_workers"] for kind in workers.values()) <= merged["max_workers"]


def test_every_node_admits_only_what_its_own_security_group_does(merged: dict[str, Any]) -> None:
    for kind in merged["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"], "Ray would make a group with port 22 open to the world"


def test_every_command_is_a_sentence_of_bash(merged: dict[str, Any]) -> None:
    for key in ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in merged[key]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def guide_commands(name: str) -> list[list[str]]:
    """The words of each command of docs/cluster.md that begins with `name`, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    words = [shlex.split(line) for line in lines]
    return [line[1:] for line in words if line and line[0].removeprefix(".venv/bin/") == name]


def without_redirection(words: list[str]) -> list[str]:
    return words[: words.index(">")] if ">" in words else words


def test_ray_understands_every_ray_command_of_the_guide() -> None:
    from ray.scripts.scripts import cli

    commands = guide_commands("ray")
    assert {"up", "rsync-up", "dashboard", "job", "rsync-down", "down", "start", "get-auth-token"} <= {
        words[0] for words in commands
    }
    for words in commands:
        command, arguments = cli, without_redirection(words)
        while hasattr(command, "commands"):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        command.make_context("ray", arguments)


def test_search_understands_every_search_of_the_guide() -> None:
    import tyro

    searches = guide_commands("python") + [
        words[words.index("python") + 1 :] for words in guide_commands("ray") if "python" in words
    ]
    assert len(searches) == 2
    for module, name, *flags in searches:
        assert (module, name) == ("-m", "ser_tune.search")
        assert tyro.cli(SearchConfig, args=flags).compute.address == "auto"
