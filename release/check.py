"""Check that what describes the project agrees with pyproject.toml: ``python -m release.check`` (``make lint``).

CITATION.cff, the recipe for conda, the Dockerfile, constraints.txt, the workflows of GitHub, CHANGELOG.md, and the
wheel, which has one package.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import notes

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# what conda calls a package of another name on PyPI
CONDA = {"torch": "pytorch"}
# what moves fast: its range has an upper end
FAST = ("torch", "numpy", "jax")


def citation() -> Iterator[str]:
    """Yield what CITATION.cff says and pyproject.toml does not."""
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    for key in ("version", "license", "keywords"):
        if said[key] != PROJECT[key]:
            yield f"CITATION.cff: {key} is {said[key]}, and pyproject.toml says {PROJECT[key]}"
    if missing := {"cff-version", "message", "title", "authors"} - {*said}:
        yield f"CITATION.cff lacks {missing}"
    stated = re.findall(r'^__version__ = "(.*)"$', (ROOT / "spikingtorch/__init__.py").read_text(), re.MULTILINE)
    if stated != [PROJECT["version"]]:
        yield f"spikingtorch.__version__ is {stated}, and pyproject.toml says {PROJECT['version']}"
    try:
        notes.notes((ROOT / "CHANGELOG.md").read_text(), PROJECT["version"])
    except ValueError as error:
        yield str(error)


def recipe() -> Iterator[str]:
    """Yield what the recipe for conda says, as conda-build reads it, and pyproject.toml does not."""
    said = yaml.safe_load(jinja2.Template((ROOT / "recipe" / "meta.yaml").read_text()).render(PYTHON="python"))
    ranges = [re.fullmatch(r"([a-z0-9]+)(.*)", each) for each in PROJECT["dependencies"]]
    needs = {f"{CONDA.get(each[1], each[1])} {each[2]}" for each in ranges if each}
    pairs = {
        "the package": (said["package"], {"name": PROJECT["name"], "version": PROJECT["version"]}),
        "run": ({*said["requirements"]["run"]}, {f"python {PROJECT['requires-python']}", *needs}),
        "the license": (said["about"]["license"], PROJECT["license"]),
        "the summary": (said["about"]["summary"], PROJECT["description"]),
    }
    yield from (
        f"recipe/meta.yaml: {what} is {one}, not {other}" for what, (one, other) in pairs.items() if one != other
    )
    built_by = {each.replace(">=", " >=") for each in PYPROJECT["build-system"]["requires"]}
    if not built_by <= {*said["requirements"]["host"]}:
        yield f"recipe/meta.yaml: host lacks {built_by}"


def container() -> Iterator[str]:
    """Yield what the Dockerfile takes that is not there, or not tested."""
    text = (ROOT / "Dockerfile").read_text()
    (python,) = re.findall(r"^FROM python:([0-9.]+)-slim$", text, re.MULTILINE)
    if f"Programming Language :: Python :: {python}" not in PROJECT["classifiers"]:
        yield f"Dockerfile: Python {python} is not among the classifiers of pyproject.toml"
    if not {"dev", "examples"} <= {*re.findall(r"\.venv/\.([a-z]+)", text)} <= {*EXTRAS}:
        yield "Dockerfile: it is to make .venv/.dev and .venv/.examples, and no extra that there is not"
    if not {".git", ".venv*"} <= {*(ROOT / ".dockerignore").read_text().splitlines()}:
        yield ".dockerignore lacks .git or .venv*"


def required(name: str) -> list[Requirement]:
    """Return what the library, or an extra, asks for, with what its other extras ask for."""
    found = list(map(Requirement, EXTRAS[name] if name else PROJECT["dependencies"]))
    own = [extra for each in found if each.name == "spikingtorch" for extra in sorted(each.extras)]
    return [each for each in found if each.name != "spikingtorch"] + [need for extra in own for need in required(extra)]


def constraints() -> Iterator[str]:
    """Yield pins that lie outside of their range, or that not every index has; and ranges without an upper end."""
    for file, extras in (("constraints.txt", ("", "dev", "release")), ("docs/constraints.txt", ("docs",))):
        files = {file, "constraints.txt"}
        lines = [line for each in files for line in (ROOT / each).read_text().splitlines() if line and line[0] != "#"]
        # no path of a machine, and no build of a version: an index may have a build for the CPU, or may not
        yield from (
            f"{file}: {line} is no exact version"
            for line in lines
            if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line)
        )
        pins = dict(line.split("==") for line in lines)
        for need in (need for extra in extras for need in required(extra)):
            pin = pins.get(canonicalize_name(need.name))
            if pin is None or pin not in need.specifier:
                yield f"{file}: {need.name} is {pin}, and pyproject.toml asks for {need}"
    for need in [*required(""), *required("jax")]:
        if need.name in FAST and sorted(each.operator for each in need.specifier) != ["<", ">="]:
            yield f"pyproject.toml: the range {need} is to have a lower and an upper end"


def workflows() -> Iterator[str]:
    """Yield jobs without a machine, a limit or steps, names of nothing, and versions that the night leaves out."""
    makefile = (ROOT / "Makefile").read_text()
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        text = path.read_text()
        for name, job in yaml.safe_load(text)["jobs"].items():
            steps = all(("run" in step) != ("uses" in step) for step in job["steps"])
            if job["timeout-minutes"] > 120 or not job["runs-on"] or not steps:
                yield f"{path.name}: {name} needs a machine, a limit of at most 120 minutes, and steps"
        goals = [each for each in re.findall(r"\bmake ([a-z-]+)", text) if f"\n{each}:" not in makefile]
        extras = {each for names in re.findall(r'"\.\[([a-z,]+)\]"', text) for each in names.split(",")} - {*EXTRAS}
        yield from (f"{path.name}: there is no make target and no extra {each}" for each in [*goals, *extras])
    night = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    matrix = night["jobs"]["versions"]["strategy"]["matrix"]
    (torch,) = [need for need in required("") if need.name == "torch"]
    if matrix["torch"] != [*torch.specifier.filter(f"2.{minor}" for minor in range(99))]:
        yield f"nightly.yml tries torch {matrix['torch']}, and the range is {torch.specifier}"
    pythons = re.findall(r":: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    if not {*pythons} <= {*matrix["python"]} or f">={matrix['python'][0]}" != PROJECT["requires-python"]:
        yield f"nightly.yml tries Python {matrix['python']}, and pyproject.toml names {pythons}"


def packages() -> Iterator[str]:
    """Yield what the wheel has too much or lacks, and modules that the linter does not see."""
    if (ROOT / "functional").resolve() != ROOT / "spikingtorch" / "functional":
        yield "functional is to be a link to spikingtorch/functional"
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT / "spikingtorch", tree / "spikingtorch", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("tests", "examples"):  # packages that it is to leave out
            (tree / name).mkdir()
            (tree / name / "__init__.py").touch()
        for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
            shutil.copy(ROOT / name, tree)
        (tree / "functional").symlink_to("spikingtorch/functional")
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(tree)]
        subprocess.run(command, check=True, capture_output=True)
        (wheel,) = Path(folder).glob("*.whl")
        inside = zipfile.ZipFile(wheel).namelist()
    if len(tops := {name.split("/")[0] for name in inside}) != 2 or "spikingtorch" not in tops:
        yield f"the wheel has {tops}, and is to have the package alone"
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "spikingtorch").rglob("*") if path.is_file()}
    if missing := {name for name in files if not name.endswith(".pyc")} - {*inside}:
        yield f"the wheel lacks {sorted(missing)}: name them in package-data of pyproject.toml"
    # a pattern meant for the link at the top easily leaves out the package of that name too
    seen = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    linted = {Path(path).relative_to(ROOT).as_posix() for path in seen.stdout.splitlines()}
    if unseen := {name for name in files if name.endswith(".py")} - linted:
        yield f"ruff does not see {sorted(unseen)}"


CHECKS = (citation, recipe, container, constraints, workflows, packages)


def main() -> int:
    """Print what does not agree, and return the exit code."""
    found = [each for check in CHECKS for each in check()]
    print("\n".join(found) or "what describes the project agrees with pyproject.toml")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
