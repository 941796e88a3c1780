"""Gather the pages of the site in one folder, docs/_build/source: ``python docs/_site/stage.py``.

Sphinx takes all of its pages from one folder, and writes galleries and pictures beside them. The pages of this
repository stand in several, where their readers on GitHub look for them. So they are copied, and their links follow.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "_build" / "source"
# what stands outside of docs/, and where it is on the site
OUTSIDE = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CITATION.cff": "CITATION.cff",
    "benchmarks/README.md": "benchmarks/index.md",
    "spikingtorch/functional/README.md": "core.md",
    "spikingtorch/functional/fused/README.md": "fused.md",
}
# a link or a picture: its text, the path of its target, and the anchor there
LINK = re.compile(r"\[([^\[\]]*)\]\((?![a-z]+:|#)([^()\s#]+)(#[^()\s]*)?\)")
FENCE = re.compile(r"^( *)(```+|~~~+)")


def pages(root: Path = ROOT) -> dict[str, str]:
    """Return where each file of the repository that is a part of the site is on it, both as posix paths."""
    inside = (path.relative_to(root / "docs") for path in (root / "docs").rglob("*") if path.is_file())
    # folders that begin with _ hold no pages, and constraints.txt is none
    pages = (path.as_posix() for path in inside if not path.parts[0].startswith("_") and path.suffix != ".txt")
    found = {f"docs/{path}": path for path in pages}
    results = sorted((root / "benchmarks" / "results").glob("*.md"))
    found |= {f"benchmarks/results/{path.name}": f"benchmarks/{path.name}" for path in results}
    return found | {path: place for path, place in OUTSIDE.items() if (root / path).is_file()}


def moved(text: str, path: str, places: dict[str, str], root: Path = ROOT) -> str:
    r"""Return the text of a page, with links for where it is on the site.

    A link to a page goes to that page, one to another file of the repository to the file, which Sphinx then offers for
    download, and one to a folder becomes plain text.

    Args:
        text: Markdown.
        path: of the page in the repository.
        places: the pages of the site, as ``pages`` returns them.
        root: the repository.

    >>> places = {"README.md": "readme.md", "docs/nir.md": "nir.md", "bench/lif.md": "results/lif.md"}
    >>> moved("[a](../README.md#install), [b](../bench/lif.md), [c](#t)", "docs/nir.md", places)
    '[a](readme.md#install), [b](results/lif.md), [c](#t)'
    >>> moved("![a b](../docs/nir.md) [c](https://x.org/README.md)", "bench/lif.md", places)
    '![a b](../nir.md) [c](https://x.org/README.md)'
    >>> moved("[a](../examples) [b](none.md) [c](../Makefile)", "docs/nir.md", places)
    'a [b](none.md) [c](path:../../../Makefile)'
    >>> moved("```\n[a](../README.md)\n```\n", "docs/nir.md", places)
    '```\n[a](../README.md)\n```\n'
    """
    here = posixpath.dirname(places[path])

    def follow(match: re.Match[str]) -> str:
        shown, target, anchor = match[1], match[2], match[3] or ""
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if (root / there).is_dir():
            return shown
        if there in places:
            return f"[{shown}]({posixpath.relpath(places[there], here or '.')}{anchor})"
        if (root / there).is_file():
            return f"[{shown}](path:{Path(os.path.relpath(root / there, SOURCE / here)).as_posix()})"
        return match[0]

    return "".join(part if code else LINK.sub(follow, part) for code, part in parts(text))


def parts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a page in turn, and whether each is a block of code."""
    fence, part = "", ""
    for line in text.splitlines(keepends=True):
        found = FENCE.match(line)
        if not fence and found:
            yield False, part
            fence, part = found[2], line
        elif fence and found and found[2].startswith(fence) and not line.strip().strip("`~"):
            yield True, part + line
            fence, part = "", ""
        else:
            part += line
    yield bool(fence), part


def stage() -> None:
    """Write what has changed, and remove what is no page any more."""
    places = pages()
    for path, place in places.items():
        data = (ROOT / path).read_bytes()
        if path.endswith(".md"):
            data = moved(data.decode(), path, places).encode()
        write(SOURCE / place, data)
    for file in SOURCE.rglob("*.md"):
        if file.relative_to(SOURCE).as_posix() not in places.values() and "gallery" not in file.parts:
            file.unlink()


def write(path: Path, data: bytes) -> None:
    """Write a file unless it has that content already: Sphinx reads again whatever is newer than before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)


if __name__ == "__main__":
    stage()
