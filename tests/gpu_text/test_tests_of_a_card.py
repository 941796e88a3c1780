"""The tests for a card refuse to run without one; on the CPU most of them run, which shows that they are right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
NO_CARD = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card: make test-gpu")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@NO_CARD
def test_they_refuse_to_run_without_a_card() -> None:
    done = run("tests/gpu")
    assert done.returncode == 2
    assert "make test-gpu needs a GPU, and torch finds none" in done.stdout + done.stderr


def test_they_run_in_the_interpreter() -> None:
    """The values that they look at are those of the tests here; transforms and networks are not."""
    files = [f"tests/gpu/test_{name}.py" for name in ("transforms", "networks")]
    done = run(*files, SPIKINGTORCH_GPU_TESTS="interpreter")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_they_run_on_the_cpu() -> None:
    done = run("tests/gpu/test_values.py", "-k", "not test_every", SPIKINGTORCH_GPU_TESTS="cpu")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
