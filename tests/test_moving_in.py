"""The pages for users of other libraries name what there is."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NAMES = "# What takes the place of each name"
PAGES = sorted(page for page in DOCS.glob("from_*.md") if "\n| " in page.read_text().partition(NAMES)[2])
# what of ours stands in a module, as the pages write it
MODULES = {"convert", "functional", "init", "interop", "like", "losses", "metrics", "plot", "report", "spikeio"}
MODULES |= {"testing", "utils"}
NAME = re.compile(r"`((?:[A-Za-z]\w*\.)*[A-Za-z]\w*)(?:\([^`]*\))?`")


def rows(page: Path) -> list[str]:
    """Return the rows of a page's tables of names."""
    return [line for line in page.read_text().partition(NAMES)[2].splitlines() if line.startswith("| ")]


def here(page: Path) -> list[str]:
    """Return what the last columns of a page's tables name."""
    return [name for row in rows(page) for name in NAME.findall(row.rsplit(" | ", 1)[1])]


def test_there_is_a_page_for_each_library() -> None:
    assert [page.stem for page in PAGES] == ["from_norse", "from_sinabs", "from_snntorch", "from_spikingjelly_names"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_takes_the_place_of_theirs_exists(page: Path) -> None:
    names = here(page)
    assert len(names) > 20
    package = importlib.import_module("spikingtorch")
    wrong = []
    for name in names:
        root, *path = name.split(".")
        if root in MODULES:
            found: object = importlib.import_module(f"spikingtorch.{root}")
            for step in path:
                module = f"{getattr(found, '__name__', '')}.{step}"
                if not hasattr(found, step) and step == "nir":
                    pytest.importorskip(module)
                found = getattr(found, step, None)
            wrong += [name] if found is None else []
        elif not path and root[0].isupper() and root != "SpikingNet":
            wrong += [] if hasattr(package, root) else [name]
    assert not wrong, wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_not_here_or_what_is(page: Path) -> None:
    for line in rows(page):
        if not line.startswith("| `snntorch"):
            assert line.count(" | ") == 1, line
            assert line.rsplit(" | ", 1)[1].strip(" |"), line
