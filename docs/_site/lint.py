"""Check what pages promise, as far as Sphinx does not: ``python docs/_site/lint.py`` (``make lint``).

Pages and sentences are short, notebooks have their form, every public name and every page has its one place, and the
code on them runs somewhere (``blocks``). The examples of these scripts, and of those of a release, run as well.
"""

import doctest
import importlib
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

import blocks  # noqa: E402
import check  # noqa: E402
import equations  # noqa: E402
import names  # noqa: E402
import stage  # noqa: E402
import yaml  # noqa: E402

import spikingtorch  # noqa: E402
from release import lock, notes  # noqa: E402

DOCS = ROOT / "docs"
# docs/verification_table.md is written by a command, and the others are lists
FREE = {"docs/verification_table.md", "CHANGELOG.md", "CONTRIBUTING.md"}
MOST_WORDS, MOST_IN_HOWTO, MOST_IN_SENTENCE, MOST_LINES_OF_README = 1500, 450, 35, 200
FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^```\{code-cell\}.*?^```$", re.MULTILINE | re.DOTALL)
TREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# what the library alone imports, and users do not; and like, whose modules are known
OWN = ("spikingtorch.layers.neurons", "spikingtorch.verification.", "spikingtorch.interop.nir.reference")
# what takes the place of other libraries' names, in the last columns of these tables
PLACES = "# What takes the place of each name"
NAME = re.compile(r"`((?:[A-Za-z]\w*\.)*[A-Za-z]\w*)(?:\([^`]*\))?`")
# what has no sentences: front matter, code, comments, tables, titles, examples and equations
NO_SENTENCES = re.compile(
    r"\A---\n.*?\n---$|^ *(```+|~~~+).*?^ *\1 *$|<!--.*?-->|^ *\|.*?$|^#.*?$"
    r"|^>>> .*?(?=\n\n|\Z)|(?<=\n\n)    .*?(?=\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
CODE = re.compile(r"``.*?``|`.*?`", re.DOTALL)
LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
# where a paragraph, an item of a list or the entry of an argument begins
START = re.compile(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.) )|\n(?= *[\w*, ]+: )")
END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!et al)(?<! [A-Z])[.!?][)\"*]*\s+(?=[A-Z\"(*x])")


def words(text: str) -> int:
    """Return the number of words, without signs that stand by themselves."""
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def sentences(text: str) -> Iterator[str]:
    r"""Yield the sentences of Markdown or of a docstring; code counts as one word.

    >>> page = "# A. B\n\nSpikes of `LIF(tau=8.0)` are [zeros. And ones](a.md#b). T. Bu has it, e.g. here! Is it?"
    >>> [*sentences(page + "\n\n| a. B |\n\n- An item. Another\n- A third\n\n>>> print('not. This')")]
    ['Spikes of x are zeros', 'And ones', 'T. Bu has it, e.g. here', 'Is it?', '- An item', 'Another', '- A third']
    >>> [*sentences("Energy::\n\n    E = m. c\n\nArgs:\n    x: of neurons. All.\n    y: others.")]
    ['Energy::', 'Args:', 'x: of neurons', 'All.', 'y: others.']
    """
    plain = LINK.sub(r"\1", CODE.sub("x", NO_SENTENCES.sub("\n", text)))
    for part in START.split(plain):
        yield from filter(None, END.split(" ".join(part.split())))


def long_pages() -> Iterator[str]:
    """Yield pages and sentences that are too long; code counts, but for the cells of notebooks."""
    for page, text in blocks.PAGES.items():
        if page.startswith("benchmarks/") or page.startswith("spikingtorch/") or page in FREE:
            continue
        most = MOST_IN_HOWTO if page.startswith("docs/howto/") else MOST_WORDS
        if words(CELL.sub("", text)) > most:
            yield f"{page} has more than {most} words: divide it, so that each part answers one question"
        long = [each for each in sentences(text) if words(each) > MOST_IN_SENTENCE]
        yield from (f"{page}: divide this sentence: {each}" for each in long)
    if blocks.PAGES["README.md"].count("\n") > MOST_LINES_OF_README:
        yield f"README.md has more than {MOST_LINES_OF_README} lines"


def notebooks() -> Iterator[str]:
    """Yield notebooks that Sphinx would not run, and tutorials without their last sections."""
    for page, text in blocks.PAGES.items():
        front = FRONT_MATTER.match(text)
        said = yaml.safe_load(front[1]) if front else {}
        if CELL.search(text) and said.get("jupytext", {}).get("text_representation", {}).get("format_name") != "myst":
            yield f"{page} has cells of code and not the front matter of jupytext, so that Sphinx does not run them"
        if page.startswith(("docs/tutorials/", "docs/start/")):
            prose = re.sub(r"^```.*?^```$", "", FRONT_MATTER.sub("", text), flags=re.MULTILINE | re.DOTALL)
            titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
            last = ["Exercises"] * ("tutorials" in page) + ["Where to go next"]
            if titles[-len(last) :] != last:
                yield f"{page} does not end with {' and '.join(last)}"


def reference() -> Iterator[str]:
    """Yield public names that the reference lacks, shows twice, or shows without a docstring."""
    shown = names.documented()
    twice = [place for place, count in Counter(place[:2] for place in names.LISTED).items() if count > 1]
    yield from (f"docs/api shows {name} of {module} twice" for module, name in twice)
    for module in names.MODULES:
        loaded = importlib.import_module(module)
        # a layer is shown once, though spikingtorch and spikingtorch.layers both have it
        # one of these modules has its names from the other, but for a class that is torch's as well
        places = (*names.FOR_JAX, "spikingtorch.functional") if module in names.FOR_JAX else (module,)
        ids = {id(names.found(name)) for name in shown if name.startswith(places) or name.count(".") == 1}
        for name, value in names.public(loaded).items():
            if id(value) not in ids:
                yield f"{module}.{name} is in no block {{api}} {module} of a page in docs/api"
            text = inspect.getdoc(value) or ""
            if (inspect.isclass(value) or inspect.isfunction(value)) and (not text or text.startswith(f"{name}(")):
                yield f"{module}.{name} has no docstring of its own"
    saying = [path for path in (ROOT / "spikingtorch").rglob("*.py") if "\n__all__ =" in path.read_text()]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in saying}
    values = [getattr(spikingtorch, name) for name in dir(spikingtorch)]
    modules |= {value.__name__ for value in values if isinstance(value, ModuleType)}
    modules.add("spikingtorch.interop.nir.dialects")  # which has no __all__
    missing = {each for each in modules if not each.startswith(OWN)} - {*names.MODULES, "spikingtorch.like"}
    yield from (f"no page of docs/api has a block of {module}, which users see" for module in missing)


def contents() -> Iterator[str]:
    """Yield pages that stand in the contents of none, or of several others."""
    places = {place.removesuffix(".md") for place in stage.pages().values() if place.endswith(".md")}
    listed: Counter[str] = Counter(["index"])
    for page in (path for path in DOCS.rglob("*.md") if "_build" not in path.parts):
        folder = page.parent.relative_to(DOCS)
        for block in TREE.findall(page.read_text()):
            lines = [re.sub(r".*<(.*)>", r"\1", line) for line in block.splitlines() if line and line[0] != ":"]
            entries = [re.escape((folder / line).as_posix()).replace(r"\*", "[^/]*") for line in lines]
            listed.update(place for place in places if any(re.fullmatch(entry, place) for entry in entries))
    yield from (f"{place} stands {listed[place]} times in the contents" for place in places if listed[place] != 1)


def names_that_take_the_place() -> Iterator[str]:
    """Yield the names that pages about other libraries give, and that do not exist; and rows without an answer."""
    for page in sorted(DOCS.glob("from_*.md")):
        for row in page.read_text().partition(PLACES)[2].splitlines():
            if not row.startswith("| ") or row.startswith("| `snntorch"):
                continue
            before, _, ours = row.rpartition(" | ")
            if " | " in before or not ours.strip(" |"):
                yield f"{page.name}: a row is to have two columns: {row}"
            for name in NAME.findall(ours):
                if not exists(name):
                    yield f"{page.name}: spikingtorch has no {name}"


def exists(name: str) -> bool:
    """Return True if a name of the library, as pages write it, stands for something; other names are left alone."""
    root, *path = name.split(".")
    if f"spikingtorch.{root}" not in names.MODULES and root != "like":
        return bool(path) or not root[0].isupper() or hasattr(spikingtorch, root)
    found: object = importlib.import_module(f"spikingtorch.{root}")
    for step in path:
        module = f"{getattr(found, '__name__', '')}.{step}"
        found = importlib.import_module(module) if module in names.MODULES else getattr(found, step, None)
    return found is not None


def examples() -> Iterator[str]:
    """Yield the scripts of the site, and of a release, whose examples fail."""
    for script in (blocks, check, equations, stage, lock, notes, sys.modules[__name__]):
        result = doctest.testmod(script)
        if result.failed or not result.attempted:
            yield f"{script.__file__}: {result.failed} of {result.attempted} examples fail"


CHECKS = (long_pages, notebooks, reference, contents, names_that_take_the_place, examples, *blocks.CHECKS)


def main() -> int:
    """Print what is wrong, and return the exit code."""
    found = [each for check in CHECKS for each in check()]
    print("\n".join(found) or f"{len(blocks.PAGES)} pages keep what they promise")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
