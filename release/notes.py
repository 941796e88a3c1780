"""Print the notes of the release that pyproject.toml names: its section of CHANGELOG.md (``make release``)."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(changelog: str, version: str) -> str:
    r"""Return the section of a version, without its heading.

    Raises:
        ValueError: there is none, or nothing in it.

    >>> notes("# Changelog\n\n## 1.1.0\n\n### Added\n\n- one\n\n## 1.1.0rc1\n\n- two\n", "1.1.0")
    '### Added\n\n- one\n'
    >>> notes("## 1.1.0rc1\n\n- two\n", "1.1.0")
    Traceback (most recent call last):
    ValueError: CHANGELOG.md says nothing of 1.1.0: write a section '## 1.1.0' before you release it
    """
    found = re.search(rf"^## {re.escape(version)}$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ValueError(
            f"CHANGELOG.md says nothing of {version}: write a section '## {version}' before you release it"
        )
    return found[1].strip() + "\n"


def main() -> int:
    """Print the notes, and return the exit code."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    try:
        text = notes((ROOT / "CHANGELOG.md").read_text(), version)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"# spikingtorch {version}\n\n{text}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
