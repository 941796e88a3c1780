"""Check the code on pages and in docstrings: it runs somewhere, and the commands name what there is (``make lint``).

Examples (``>>>``) are doctests, and Sphinx runs the cells of notebooks. Any other block stands below with its page.
"""

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equations
import stage
import yaml

ROOT = Path(__file__).parents[2]
PAGES = {path: (ROOT / path).read_text() for path in sorted(stage.pages()) if path.endswith(".md")}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCALING = "docs/scaling.md"
# pages with Python that is no example, or with files for others: the test that reads and runs them
RUN = {f"docs/from_{each}.md": "tests/peers/test_walks.py" for each in ("norse", "sinabs", "snntorch", "spikingjelly")}
RUN |= {f"docs/howto/{each}.md": "tests/distributed/test_pages.py" for each in ("processes", "shared_batches")}
RUN |= {
    "docs/howto/split_neurons.md": "tests/distributed/test_pages.py",
    "docs/howto/export.md": "tests/peers/test_nir.py",
    "docs/deploy.md": "tests/fold/test_composition.py",
}
RUN |= {
    "docs/data.md": "tests/data/test_page.py",
    "docs/reproduce.md": "tests/test_papers.py",
    "docs/quantize.md": "tests/quantize/test_command.py",
    SCALING: "docs/_site/blocks.py",
}
# pages with commands: why nothing runs them. What they name is looked up all the same
COMMANDS = {
    "README.md": "they clone, install, train and test; make release runs the tutorial in an empty environment",
    "benchmarks/README.md": "they take hours",
    "benchmarks/results/sequential-digits.md": "it trains for an hour",
    "docs/howto/export.md": "it installs",
    "docs/deploy.md": "it installs, and tests/interop/onnx/test_command.py runs the command with a module of its own",
    "docs/howto/processes.md": "they start a script of the reader's",
    "docs/learning.md": "the table takes minutes, and tests/learning holds cells; the other is an equation",
    "docs/learning_costs.md": "it takes a minute, and tests/learning measures the memory again",
    "docs/papers.md": "they train for minutes to hours; tests/test_papers.py runs each table on made data",
    "docs/quantize.md": "it is for the compiler of a chip",
    "docs/report.md": "tests/report/test_command.py runs this command with a module of its own",
    "docs/verification.md": "they take minutes, and tests/verification runs cells of the table",
    "docs/start/install.md": "they clone and install, each on a system of its own",
    "docs/start/ten_minutes.md": "they clone and install",
}
SHELLS = ("", "indented", "console", "bash", "sh")
COMMAND = re.compile(r"([$#] |python |py |pip |make |git |export |torchrun |[A-Z_]+=\S+ )")
FENCED = re.compile(
    r"^(?P<by> *)(?P<fence>```+|~~~+)(?P<language>[^\n`]*)\n(?P<code>.*?)^ *(?P=fence) *$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"(?<=\n\n)(?:    [^\n]*\n)+")
# a block of a docstring up to the next line that is not indented, as equations.py hands it to Sphinx
LITERAL = re.compile(r"^::\n\n((?:(?:    .*)?\n)+)", re.MULTILINE)


class Block(NamedTuple):
    """A block of code on a page.

    Attributes:
        language: what stands behind its fence; "indented" where it has none.
        code: its lines, without what they are indented by.
    """

    language: str
    code: str


def blocks(text: str) -> Iterator[Block]:
    r"""Yield the blocks of Markdown: between fences, and indented ones that are commands and no equations.

    >>> [each.language for each in blocks("```python\nx\n```\n\n- a\n\n  ```\n  y\n  ```\n\n    make d\n\n    y = x\n")]
    ['python', '', 'indented']
    """
    for found in FENCED.finditer(text):
        yield Block(found["language"].strip(), re.sub(f"^{found['by']}", "", found["code"], flags=re.MULTILINE))
    for lines in INDENTED.findall(FENCED.sub("", text)):
        code = re.sub("^    ", "", lines, flags=re.MULTILINE)
        if COMMAND.match(code):
            yield Block("indented", code)


def blocks_that_nothing_runs() -> Iterator[str]:
    """Yield the blocks of pages that no test and no build runs."""
    places = PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"]
    used: set[str] = set()
    for page, text in PAGES.items():
        # those of Sphinx and of notebooks begin with a brace
        for language, code in (each for each in blocks(text) if not each.language.startswith("{")):
            if code.startswith(">>> "):
                if "+SKIP" in code or not any(page == place or page.startswith(f"{place}/") for place in places):
                    yield f"{page}: an example is skipped, or stands where pytest looks for none"
            elif page in RUN or (page in COMMANDS and language in SHELLS and COMMAND.match(code)):
                used.add(page)
            else:
                yield f"{page}: make an example of this block, or name what runs it in docs/_site/blocks.py:\n{code}"
    yield from (f"docs/_site/blocks.py: {page} has no such block" for page in {*RUN, *COMMANDS} - used)
    for page, test in RUN.items():
        text, library = (ROOT / test).read_text(), Path(page).stem.removeprefix("from_")
        if Path(page).name not in text and f'"{library}"' not in text:
            yield f"docs/_site/blocks.py: {test} does not read {page}"


def code_in_docstrings() -> Iterator[str]:
    """Yield the docstrings with Python that does not run."""
    for path in (ROOT / "spikingtorch").rglob("*.py"):
        for node in _defined(ast.parse(path.read_text())):
            text = ast.get_docstring(node) or ""
            code = LITERAL.findall("\n".join(equations.typeset(text.splitlines())) + "\n")
            if "+SKIP" in text or any(is_python(re.sub("^    ", "", each, flags=re.MULTILINE)) for each in code):
                yield f"{path.relative_to(ROOT)}: write the code of {getattr(node, 'name', 'the module')} with >>>"


def _defined(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    """Yield a module, its classes and its functions."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        yield node
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.stmt | ast.excepthandler):
            yield from _defined(each)


def is_python(text: str) -> bool:
    """Return True if a block is Python, or begins like it."""
    try:
        return bool(ast.parse(text).body)
    except SyntaxError:
        return bool(re.match(r"(with|for|def|class|import|from) .*[:\w]\n", text))


def named(pattern: str) -> dict[str, str]:
    """Return what a pattern finds on all pages, and on which."""
    return {name: page for page, text in PAGES.items() for name in re.findall(pattern, text)}


def commands_that_name_nothing() -> Iterator[str]:
    """Yield the targets of make, the extras and the modules that pages name and that do not exist."""
    targets = {*re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)}
    for goal, page in named(r"(?:`|\$ |&& )make ([a-z][\w-]+)").items():
        if goal not in targets:
            yield f"{page}: there is no make {goal}"
    for names, page in named(r"pip install \"\.\[([\w,]+)\]").items():
        if missing := {*names.split(",")} - {*PYPROJECT["project"]["optional-dependencies"]}:
            yield f"{page}: there are no extras {missing}"
    for module, page in named(r"python -m ((?:spikingtorch|examples|tests|benchmarks)[\w.]*\w)").items():
        spec = importlib.util.find_spec(module)
        if spec is None or (spec.submodule_search_locations and not importlib.util.find_spec(f"{module}.__main__")):
            yield f"{page}: python -m {module} runs nothing"


def snippets_for_clusters() -> Iterator[str]:
    """Yield what a shell, the example, torchrun and Kubernetes would not take of the page about many machines."""
    from torch.distributed.run import get_args_parser

    from examples import distributed

    found = list(blocks(PAGES[SCALING]))
    shells = [code for language, code in found if language == "bash"]
    (manifests,) = (list(yaml.safe_load_all(code)) for language, code in found if language == "yaml")
    for script in shells:
        said: Any = subprocess.run(["bash", "-n"], input=script, text=True, check=False, capture_output=True)
        if said.returncode:
            yield f"{SCALING}: bash cannot read a script: {said.stderr}"
    service, job = manifests
    pods, name = job["spec"]["template"]["spec"], job["metadata"]["name"]
    command = pods["containers"][0]["command"]
    lines = "".join(shells).replace("\\\n", "").splitlines()
    for words in [*(shlex.split(line) for line in lines if "examples.distributed" in line), command]:
        distributed.parse(words[words.index("examples.distributed") + 1 :])
        if "torchrun" in words:
            parsed = get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
            if (parsed.module, parsed.training_script, parsed.max_restarts) != (True, "examples.distributed", 3):
                yield f"{SCALING}: torchrun reads {' '.join(words)} differently"
    selects = service["spec"] == {"clusterIP": "None", "selector": {"job-name": name}}
    needed = {f"--nnodes={job['spec']['completions']}", f"--rdzv-endpoint={name}-0.{pods['subdomain']}:29500"}
    if not selects or pods["subdomain"] != service["metadata"]["name"] or not needed <= {*command}:
        yield f"{SCALING}: the job does not find its service and its first machine"


CHECKS = (blocks_that_nothing_runs, code_in_docstrings, commands_that_name_nothing, snippets_for_clusters)
