"""Pages that are notebooks: their cells run in order, without Jupyter, and their form is checked."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("[0-9]*.md"))
PAGES = sorted((DOCS / "start").glob("*.md")) + TUTORIALS
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]

FENCE = re.compile(r"^```\{code-cell\} ipython3\n((?::[^\n]*\n)*)(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.MULTILINE | re.DOTALL)
MOST_WORDS = 1500


class Cell(NamedTuple):
    """A code cell.

    Attributes:
        line: lines of the page above its code.
        tags: the options of the cell, as they stand in the page.
        source: its code.
    """

    line: int
    tags: str
    source: str


def cells_of(text: str) -> list[Cell]:
    """Return the code cells of a page."""
    return [Cell(text[: cell.start(2)].count("\n"), cell[1], cell[2]) for cell in FENCE.finditer(text)]


def compiled(page: Path, cell: Cell) -> Any:
    """Compile a cell; a traceback names its line in the page."""
    return compile("\n" * cell.line + cell.source, str(page), "exec", dont_inherit=True)


def prose_of(text: str) -> str:
    """Return a page without its front matter and without any fenced block."""
    return re.sub(r"^```.*?^```$", "", FRONT_MATTER.sub("", text), flags=re.MULTILINE | re.DOTALL)


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", prose_of(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


NOTEBOOKS = [page for page in PAGES if cells_of(page.read_text(encoding="utf-8"))]


def test_there_are_pages() -> None:
    assert [page.name[:2] for page in TUTORIALS] == [f"{number:02}" for number in range(1, 9)]
    assert {"start/install.md", "start/ten_minutes.md", "start/spiking_networks.md"} <= set(NAMES)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_each_cell_compiles(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    cells = cells_of(text)
    assert len(cells) == text.count("{code-cell}"), "a cell whose fence is not ```{code-cell} ipython3"
    for cell in cells:
        compiled(page, cell)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_has_the_form_of_a_notebook(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    front = FRONT_MATTER.match(text)
    if cells_of(text):
        assert front, "a page with code cells needs the front matter of jupytext"
        said = yaml.safe_load(front[1])
        assert said["jupytext"]["text_representation"]["format_name"] == "myst"
        assert said["kernelspec"]["name"] == "python3"
    titles = re.findall(r"^(#+) (.+)$", prose_of(text), re.MULTILINE)
    assert [level for level, _ in titles].count("#") == 1
    assert titles[0][0] == "#"
    assert titles[-1][1] == "Where to go next"
    if page in TUTORIALS:
        assert titles[-2][1] == "Exercises"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_is_short(page: Path) -> None:
    assert len(prose_of(page.read_text(encoding="utf-8")).split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(prose_of(text)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


@pytest.mark.long
# torch's own, of tensors that matplotlib draws
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    with torch.random.fork_rng(), matplotlib.rc_context():
        for cell in cells_of(page.read_text(encoding="utf-8")):
            exec(compiled(page, cell), names)
            plt.close("all")  # as a notebook does, once it has shown them
