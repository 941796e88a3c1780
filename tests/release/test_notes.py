"""The notes of a release, from CHANGELOG.md."""

import pytest

from release.notes import main, notes
from tests.release.project import PROJECT

CHANGELOG = """# Changelog

## Unreleased

- later

## 1.1.0

### Added

- one

## 1.1.0rc1

- two
"""


def test_notes_are_the_section_of_a_version() -> None:
    assert notes(CHANGELOG, "1.1.0") == "### Added\n\n- one\n"
    assert notes(CHANGELOG, "1.1.0rc1") == "- two\n"


@pytest.mark.parametrize("version", ["1.1", "1.1.0rc2", "1x1.0"])
def test_a_version_without_a_section_is_no_release(version: str) -> None:
    with pytest.raises(ValueError, match=f"says nothing of {version}: write a section '## {version}' before"):
        notes(CHANGELOG, version)


def test_a_section_without_a_line_is_no_release() -> None:
    with pytest.raises(ValueError, match="says nothing of 2"):
        notes("## 2\n\n## 1\n- a\n", "2")


def test_the_release_of_pyproject_has_notes(capsys: pytest.CaptureFixture[str]) -> None:
    version = PROJECT["version"]
    assert main() == 0
    assert capsys.readouterr().out.startswith(f"# spikingtorch {version}\n\n### Added\n")
