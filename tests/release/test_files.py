"""CITATION.cff, the recipe for conda and the Dockerfile state what pyproject.toml states."""

import re
from typing import Any

import jinja2
import yaml

from tests.release.project import PROJECT, PYPROJECT, ROOT

# what conda calls a package of another name on PyPI
CONDA = {"torch": "pytorch"}


def recipe() -> Any:
    """Return the recipe as conda-build reads it."""
    return yaml.safe_load(jinja2.Template((ROOT / "recipe" / "meta.yaml").read_text()).render(PYTHON="python"))


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert {"cff-version", "message", "title", "authors"} <= {*citation}


def test_the_recipe_installs_this_version_with_its_ranges() -> None:
    given = recipe()
    assert (given["package"]["name"], given["package"]["version"]) == (PROJECT["name"], PROJECT["version"])
    ranges = [re.fullmatch(r"([a-z]+)(.*)", each) for each in PROJECT["dependencies"]]
    needs = {f"{CONDA.get(each[1], each[1])} {each[2]}" for each in ranges if each}
    assert {*given["requirements"]["run"]} == {f"python {PROJECT['requires-python']}", *needs}
    assert given["about"]["license"] == PROJECT["license"]
    assert given["about"]["summary"] == PROJECT["description"]


def test_the_recipe_builds_as_pyproject_says() -> None:
    built_by = PYPROJECT["build-system"]["requires"]
    assert {each.replace(">=", " >=") for each in built_by} <= {*recipe()["requirements"]["host"]}


def test_the_container_has_a_python_that_is_tested_and_extras_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text()
    (python,) = re.findall(r"^FROM python:([0-9.]+)-slim$", text, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    extras = re.findall(r"\.venv/\.([a-z]+)", text)
    assert {"dev", "examples"} <= {*extras} <= {*PROJECT["optional-dependencies"]}


def test_the_container_leaves_out_every_environment() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv*"} <= {*ignored}
