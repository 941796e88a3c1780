"""What holds of every page of the documentation: its length, and that of its sentences."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
WRITTEN = {"verification.md"}  # by a command, tables above all


def tool() -> Any:
    """Return the script that lists sentences, which stands in no package."""
    spec = importlib.util.spec_from_file_location("site_sentences", ROOT / "docs" / "_site" / "sentences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(text: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in text.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_short_and_so_are_its_sentences(page: Path) -> None:
    if page.name in WRITTEN:
        pytest.skip("a command writes it")
    # two screens, code included; a notebook has more code than text
    most = 450 if page.parent.name == "howto" else 1500
    text = page.read_text()
    assert words(text) <= most, "divide the page, so that each part answers one question"
    long = [each for each in tool().sentences(text) if words(each) > 35]
    assert not long, f"divide these sentences: {long}"


def test_readme_has_at_most_200_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_sentences_end_where_they_should() -> None:
    text = """# Title. No sentence

Spikes of `LIF(tau=8.0)` are [zeros. And ones](a.md#b). T. Bu has it, e.g. here! Is it so?

| a. B | c |

- An item. Another one
- A third

>>> print("not. This")
1

Energy::

    E = m. c

Args:
    x: of the neurons. All of them.
    y: others.
"""
    assert [each.rstrip(".?") for each in tool().sentences(text)] == [
        "Spikes of x are zeros",
        "And ones",
        "T. Bu has it, e.g. here",
        "Is it so",
        "- An item",
        "Another one",
        "- A third",
        "Energy::",
        "Args:",
        "x: of the neurons",
        "All of them",
        "y: others",
    ]
