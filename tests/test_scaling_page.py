"""The snippets of docs/scaling.md that no test can run: shells and clusters read them, and the example its options."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import distributed

TEXT = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def manifests() -> list[Any]:
    (block,) = blocks("yaml")
    return list(yaml.safe_load_all(block))


def commands() -> list[list[str]]:
    """Return every command that starts the example, word by word."""
    lines = "".join(blocks("bash")).replace("\\\n", "").splitlines()
    found = [shlex.split(line) for line in lines if "examples.distributed" in line]
    return [*found, manifests()[1]["spec"]["template"]["spec"]["containers"][0]["command"]]


@pytest.mark.parametrize("script", blocks("bash"))
def test_a_shell_can_read_the_scripts(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=20)


def test_the_example_knows_its_options() -> None:
    assert len(commands()) == 5
    for command in commands():
        distributed.parse(command[command.index("examples.distributed") + 1 :])


def test_torchrun_knows_its_options() -> None:
    from torch.distributed.run import get_args_parser

    for command in commands():
        if "torchrun" in command:
            parsed = get_args_parser().parse_args(command[command.index("torchrun") + 1 :])
            assert (parsed.module, parsed.training_script) == (True, "examples.distributed")
            assert parsed.max_restarts == 3


def test_the_job_finds_its_service_and_its_first_machine() -> None:
    service, job = manifests()
    spec = job["spec"]
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert service["spec"] == {"clusterIP": "None", "selector": {"job-name": job["metadata"]["name"]}}
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    command = spec["template"]["spec"]["containers"][0]["command"]
    assert f"--nnodes={spec['completions']}" in command
    assert f"--rdzv-endpoint={job['metadata']['name']}-0.{service['metadata']['name']}:29500" in command
