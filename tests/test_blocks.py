"""Every block of code on a page of the site, or in a docstring, runs in a test, or stands here with a reason.

Examples (``>>>``) are doctests, and code cells run in tests/test_tutorials.py. All other blocks are listed below.
"""

import ast
import contextlib
import importlib.util
import io
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_site import equations, stage

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in stage.pages() if path.endswith(".md"))

# --- other Python: what runs it, a test or an example that a test runs, by the page and the first line
RUN = {
    ("docs/from_norse.md", "import torch"): "tests/peers/test_walks.py",
    ("docs/from_sinabs.md", "import sinabs.layers as sl"): "tests/peers/test_walks.py",
    ("docs/from_snntorch.md", "import snntorch as snn"): "tests/peers/test_walks.py",
    (
        "docs/from_spikingjelly.md",
        "from spikingjelly.activation_based import functional, neuron, surrogate",
    ): "tests/peers/test_walks.py",
    ("docs/howto/export.md", "import nir, norse.torch"): "tests/peers/test_nir.py",
    ("docs/howto/export.md", "import nir"): "tests/peers/test_nir.py",
    ("docs/howto/export.md", "state, outputs = None, []"): "tests/peers/test_nir.py",
    # on several processes
    ("docs/howto/processes.md", "import torch"): "tests/distributed/test_pages.py",
    ("docs/howto/processes.md", "from torch.distributed.fsdp import fully_shard"): "tests/distributed/test_pages.py",
    ("docs/howto/shared_batches.md", "import torch"): "tests/distributed/test_pages.py",
    ("docs/howto/shared_batches.md", "with SpikeMonitor(model) as monitor:"): "tests/distributed/test_pages.py",
    ("docs/howto/shared_batches.md", "parts = [None] * dist.get_world_size()"): "tests/distributed/test_pages.py",
    ("docs/howto/split_neurons.md", "import torch"): "tests/distributed/test_pages.py",
    (
        "docs/howto/split_neurons.md",
        "from torch.distributed.fsdp import fully_shard",
    ): "tests/distributed/test_pages.py",
}
# --- commands, by the page: why no test runs them. What they name is tested all the same, below
COMMANDS = {
    "README.md": "they clone, install, train and test; make release runs the tutorial in an empty environment",
    "benchmarks/README.md": "they take hours",
    "benchmarks/results/sequential-digits.md": "it trains for an hour",
    "docs/howto/export.md": "it installs",
    "docs/howto/processes.md": "they start a script of the reader's",
    "docs/learning.md": "the table takes minutes, and tests/learning holds cells; the other is an equation",
    "docs/learning_costs.md": "it takes a minute, and tests/learning measures the memory again",
    "docs/report.md": "tests/report/test_command.py runs this command with a module of its own",
    "docs/start/install.md": "they clone and install, each on a system of its own",
    "docs/start/ten_minutes.md": "they clone and install",
}
# --- files for clusters, C and commands, by the page: the test that reads them
READ = {"docs/quantize.md": "tests/quantize/test_page.py", "docs/scaling.md": "tests/test_scaling_page.py"}
COMMAND = re.compile(r"([$#] |python |py |pip |make |git |export |torchrun |[A-Z_]+=\S+ )")


class Block(NamedTuple):
    """A block of code on a page.

    Attributes:
        language: what stands behind its fence; "indented" where it has none.
        code: its lines, without what they are indented by.
    """

    language: str
    code: str

    @property
    def first(self) -> str:
        return self.code.lstrip().partition("\n")[0].rstrip()


FENCED = re.compile(
    r"^(?P<by> *)(?P<fence>```+|~~~+)(?P<language>[^\n`]*)\n(?P<code>.*?)^ *(?P=fence) *$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"(?<=\n\n)(?:    [^\n]*\n)+")


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of Markdown: between fences, and indented ones that are commands and no equations."""
    for found in FENCED.finditer(text):
        yield Block(found["language"].strip(), re.sub(f"^{found['by']}", "", found["code"], flags=re.MULTILINE))
    for lines in INDENTED.findall(FENCED.sub("", text)):
        code = re.sub("^    ", "", lines, flags=re.MULTILINE)
        if COMMAND.match(code):
            yield Block("indented", code)


def of(page: str) -> list[Block]:
    """Return the blocks of a page that neither Sphinx nor a notebook takes for its own."""
    return [each for each in blocks((ROOT / page).read_text()) if not each.language.startswith("{")]


def is_collected(path: str) -> bool:
    """Return True if pytest looks for examples in a file."""
    places = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    return any(path == place or path.startswith(f"{place}/") for place in places)


PYTHON = [(page, each) for page in PAGES for each in of(page) if each.language == "python" or ">>> " in each.code]
OTHER = [(page, each) for page in PAGES for each in of(page) if (page, each) not in PYTHON]


def test_every_block_of_python_runs_in_a_test() -> None:
    assert len(PYTHON) > 100
    examples = [(page, each) for page, each in PYTHON if each.code.startswith(">>> ")]
    assert [page for page, _ in examples if not is_collected(page)] == [], "pytest finds no examples there: testpaths"
    assert [each.first for _, each in examples if "+SKIP" in each.code] == []
    others = {(page, each.first) for page, each in PYTHON if not each.code.startswith(">>> ")}
    assert others - {*RUN} == set(), "make it a doctest, or name the test that runs it in RUN"
    assert {*RUN} - others == set(), "no such block any more"


def test_the_tests_that_run_them_exist_and_read_the_page() -> None:
    for (page, _), test in RUN.items():
        text = (ROOT / test).read_text()
        assert test.startswith("examples/") or Path(page).name in text or 'f"from_{library}.md"' in text


def test_code_cells_stand_where_a_test_runs_them() -> None:
    from tests.test_tutorials import NOTEBOOKS

    cells = {ROOT / page for page in PAGES if "```{code-cell}" in (ROOT / page).read_text()}
    assert cells == {*NOTEBOOKS}


def test_every_other_block_is_a_command_whose_page_says_why() -> None:
    assert {page for page, _ in OTHER} == {*COMMANDS, *READ}
    assert all(page.rpartition("/")[2] in (ROOT / test).read_text() for page, test in READ.items())
    for page, each in OTHER:
        if page in READ:
            continue
        assert each.language in ("", "indented", "console", "bash", "sh"), f"{page}: {each.language} is run by nothing"
        assert COMMAND.match(each.code), f"{page}: {each.first} is no command"


def test_blocks_are_found() -> None:
    text = "a\n\n```python\n>>> 1\n1\n```\n\n- b\n\n  ```\n  pip c\n  ```\n\n    make d\n\n    y = x\n\n```{e} f\n```\n"
    assert [*blocks(text)] == [
        *[Block("python", ">>> 1\n1\n"), Block("", "pip c\n"), Block("{e} f", "")],
        Block("indented", "make d\n"),
    ]


# --- what commands name, in blocks and in sentences

NAMED = [(page, (ROOT / page).read_text()) for page in PAGES]


def named(pattern: str) -> dict[str, str]:
    """Return what a pattern finds on all pages, and on which."""
    return {name: page for page, text in NAMED for name in re.findall(pattern, text)}


def test_commands_name_what_there_is() -> None:
    targets = {*re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)}
    goals = named(r"(?:`|\$ |&& )make ([a-z][\w-]+)")
    assert len(goals) > 10
    assert {name: page for name, page in goals.items() if name not in targets} == {}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {each: page for names, page in named(r"pip install \"\.\[([\w,]+)\]").items() for each in names.split(",")}
    assert {name: page for name, page in asked.items() if name not in extras} == {}


@pytest.mark.parametrize("module", sorted(named(r"python -m ((?:spikingtorch|examples|tests|benchmarks)[\w.]*\w)")))
def test_a_module_that_a_page_runs_is_there(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.submodule_search_locations is None or importlib.util.find_spec(f"{module}.__main__") is not None


def test_the_line_that_checks_an_installation_prints_what_the_page_says() -> None:
    text = (ROOT / "docs/start/install.md").read_text()
    (code,) = re.findall(r'^python -c "(.*)"$', text, re.MULTILINE)
    (said,) = re.findall(r"^It prints `(.*?)`", text, re.MULTILINE)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    assert out.getvalue().strip() == said


# --- docstrings


def docstrings() -> Iterator[tuple[str, str]]:
    for path in (ROOT / "spikingtorch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", "")
                yield f"{path.relative_to(ROOT).as_posix()}:{name}".rstrip(":"), ast.get_docstring(node) or ""


# a block up to the next line that is not indented, as docs/_site/equations.py hands it to Sphinx
LITERAL = re.compile(r"^::\n\n((?:(?:    .*)?\n)+)", re.MULTILINE)


def is_python(text: str) -> bool:
    """Return True if a block is Python, or begins like it."""
    try:
        return bool(ast.parse(text).body)
    except SyntaxError:
        return bool(re.match(r"(with|for|def|class|import|from) .*[:\w]\n", text))


def test_code_in_a_docstring_is_an_example() -> None:
    literal = {
        (where, re.sub("^    ", "", code, flags=re.MULTILINE))
        for where, text in docstrings()
        for code in LITERAL.findall("\n".join(equations.typeset(text.splitlines())) + "\n")
    }
    assert len(literal) > 15
    assert [where for where, code in literal if is_python(code)] == [], "write it with >>>, so that it runs"
    assert [where for where, text in docstrings() if "+SKIP" in text] == []
