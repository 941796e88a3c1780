"""List the longest sentences of pages and docstrings: ``python docs/_site/sentences.py [--most 100] [FILE ...]``.

A sentence ends with a full stop, a question mark or an exclamation mark. Code counts as one word. Tables, blocks of
code, examples and equations are left out.
"""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCKS = re.compile(
    r"\A---\n.*?\n---$|^ *(```+|~~~+).*?^ *\1 *$|<!--.*?-->|^ *\|.*?$|^#.*?$"
    r"|^>>> .*?(?=\n\n|\Z)|(?<=\n\n)    .*?(?=\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
CODE = re.compile(r"``.*?``|`.*?`", re.DOTALL)
LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
# where a paragraph, an item of a list or the entry of an argument begins
START = re.compile(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.) )|\n(?= *[\w*, ]+: )")
END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!et al)(?<! [A-Z])[.!?][)\"*]*\s+(?=[A-Z\"(*x])")


def sentences(text: str) -> Iterator[str]:
    r"""Yield the sentences of Markdown or of a docstring.

    >>> page = "# A. B\n\nSpikes of `LIF(tau=8.0)` are [zeros. And ones](a.md#b). T. Bu has it, e.g. here! Is it?"
    >>> [*sentences(page + "\n\n| a. B |\n\n- An item. Another\n- A third\n\n>>> print('not. This')")]
    ['Spikes of x are zeros', 'And ones', 'T. Bu has it, e.g. here', 'Is it?', '- An item', 'Another', '- A third']
    >>> [*sentences("Energy::\n\n    E = m. c\n\nArgs:\n    x: of neurons. All.\n    y: others.")]
    ['Energy::', 'Args:', 'x: of neurons', 'All.', 'y: others.']
    """
    plain = LINK.sub(r"\1", CODE.sub("x", BLOCKS.sub("\n", text)))
    for part in START.split(plain):
        yield from filter(None, END.split(" ".join(part.split())))


def texts(path: Path) -> Iterator[str]:
    """Yield the page in a file of Markdown, or the docstrings of a module."""
    if path.suffix == ".md":
        yield path.read_text()
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def main() -> None:
    """Print the number of words, the file and the sentence, the longest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--most", type=int, default=100)
    given = parser.parse_args()
    pages = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
    files = given.files or [*pages, *sorted((ROOT / "spikingtorch").rglob("*.py"))]
    found = [(len(each.split()), path, each) for path in files for text in texts(path) for each in sentences(text)]
    for words, path, each in sorted(found, key=lambda row: -row[0])[: given.most]:
        print(words, path.resolve().relative_to(ROOT), each, sep="  ")


if __name__ == "__main__":
    main()
