"""The workflows of GitHub: they can be read, and the nightly one tries every version that is promised."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.release.project import PROJECT, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(name: str) -> dict[str, Any]:
    """Return the jobs of a workflow."""
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"]
    return found


MATRIX = jobs("nightly")["versions"]["strategy"]["matrix"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_has_a_machine_a_limit_and_steps(path: Path) -> None:
    for job in jobs(path.stem).values():
        assert job["timeout-minutes"] <= 120
        assert job["runs-on"]
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_of_make_and_every_extra_exists(path: Path) -> None:
    text = path.read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for extras in re.findall(r'"\.\[([a-z,]+)\]"', text):
        assert {*extras.split(",")} <= {*PROJECT["optional-dependencies"]}


def test_the_night_tries_all_of_the_range_of_torch_and_no_other() -> None:
    (torch,) = [need for need in map(Requirement, PROJECT["dependencies"]) if need.name == "torch"]
    assert [*torch.specifier.filter(f"2.{minor}" for minor in range(99))] == MATRIX["torch"]


def test_the_night_tries_every_python_that_is_named() -> None:
    lines = " ".join(PROJECT["classifiers"])
    assert {*re.findall(r":: (3\.\d+)", lines)} <= {*MATRIX["python"]}
    assert MATRIX["python"][0] == PROJECT["requires-python"].removeprefix(">=")


def test_the_night_tries_what_the_readme_says_that_is_tested() -> None:
    said = (ROOT / "README.md").read_text().rpartition("Tested with")[2]
    assert {*re.findall(r"\b(3\.1\d)\b", said)} <= {*MATRIX["python"]}
    assert {*re.findall(r"torch (2\.\d+)", said)} <= {*MATRIX["torch"]}


def test_the_newest_python_runs_on_other_systems() -> None:
    matrix = jobs("nightly")["systems"]["strategy"]["matrix"]
    assert {"macos-latest", "windows-latest"} == {*matrix["system"]}
    assert matrix["python"] == MATRIX["python"][-1:]
