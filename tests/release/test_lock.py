"""constraints.txt, and the command that prints it."""

import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import lock
from tests.release.project import PROJECT, ROOT

PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]


def required(name: str) -> list[Requirement]:
    """Return what the library, or an extra, asks for."""
    lines = PROJECT["dependencies"] if not name else PROJECT["optional-dependencies"][name]
    found = list(map(Requirement, lines))
    own = [each for each in found if each.name == "spikingtorch"]
    return [each for each in found if each not in own] + [
        need for each in own for extra in sorted(each.extras) for need in required(extra)
    ]


@pytest.mark.parametrize("need", [*required(""), *required("dev"), *required("release")], ids=lambda need: need.name)
def test_a_tested_version_lies_in_the_range_of_pyproject(need: Requirement) -> None:
    name = canonicalize_name(need.name)
    (pin,) = [each for each in PINS if each.name == name]
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert exact.version in need.specifier


def test_a_line_is_a_version_that_every_index_has() -> None:
    """No path of a machine, and no build of a version: an index may have a build for the CPU, or may not."""
    for pin in PINS:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", str(pin))


@pytest.mark.parametrize("name", ["torch", "numpy", "jax"])
def test_ranges_of_what_moves_fast_have_an_upper_end(name: str) -> None:
    (need,) = {str(each): each for each in [*required(""), *required("jax")] if each.name == name}.values()
    assert sorted(each.operator for each in need.specifier) == ["<", ">="]


def test_all_that_a_requirement_brings_is_found() -> None:
    needs = {
        "a": ["B_b[c]>=1", "d; extra == 'more'", "never; python_version < '3'"],
        "B_b": ["e", "f; extra == 'c'", "g; extra == 'other'"],
        "d": ["a"],
        "e": ["a[more]"],
        "f": None,
    }
    assert lock.brought("a", needs.get) == {"b-b", "d", "e", "f"}
    assert lock.brought("f", needs.get) == set()


def test_a_build_of_a_version_is_left_out() -> None:
    text = lock.constraints({"torch", "numpy"}, {"torch": "2.13.0+cpu", "numpy": "2.4.6"}.__getitem__)
    assert text == lock.HEAD + "numpy==2.4.6\ntorch==2.13.0\n"


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    newer = SimpleNamespace(version_info=SimpleNamespace(major=3, minor=99), stderr=sys.stderr)
    monkeypatch.setattr("release.lock.sys", newer)
    assert lock.main() == 2
    assert "make lock needs Python 3.11, the oldest of pyproject.toml, and this is 3.99" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("extra", ["examples", "dev"])
def test_make_installs_the_tested_versions(extra: str) -> None:
    command = ["make", "--dry-run", "--always-make", f".venv/.{extra}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--constraint constraints.txt --editable '.[{extra}]'" in said
