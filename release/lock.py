"""Print constraints.txt: the versions of all packages that the environment of the tests has (``make lock``).

They are those of the oldest Python that the library supports, because every newer Python can install them as well.
"""

import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = "spikingtorch[dev,release]"
HEAD = """\
# The versions that `make test` passed with, of all packages that the extras dev and release bring. `make train`,
# `make test` and CI install by this file, `pip install .` by the ranges of pyproject.toml. `make lock` renews it.
"""


def brought(root: str, requires: Callable[[str], Sequence[str] | None] = requires) -> set[str]:
    """Return the names of all packages that a requirement brings with it, itself left out.

    Args:
        root: a requirement, such as ``spikingtorch[dev]``.
        requires: a function that returns the requirements of a package by its name.

    >>> needs = {"a": ["B_b[c]>=1", "d; extra == 'more'", "x; python_version < '3'"], "d": ["a"], "e": ["a[more]"]}
    >>> needs |= {"B_b": ["e", "f; extra == 'c'", "g; extra == 'other'"]}
    >>> sorted(brought("a", needs.get))
    ['b-b', 'd', 'e', 'f']
    """
    todo = [Requirement(root)]
    seen: set[tuple[str, str]] = set()
    while todo:
        wanted = todo.pop()
        for extra in ("", *wanted.extras):
            key = canonicalize_name(wanted.name), extra
            if key not in seen:
                seen.add(key)
                needs = map(Requirement, requires(wanted.name) or ())
                todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen} - {canonicalize_name(Requirement(root).name)}


def constraints(names: set[str], version: Callable[[str], str] = version) -> str:
    """Return the text of the file: a line for each package, without the build of a version, such as ``+cpu``.

    An index need not have that build, and pip takes it for the version itself where it does.

    >>> print(constraints({"torch", "numpy"}, {"torch": "2.13.0+cpu", "numpy": "2.4.6"}.__getitem__).removeprefix(HEAD))
    numpy==2.4.6
    torch==2.13.0
    <BLANKLINE>
    """
    return HEAD + "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in sorted(names))


def main() -> int:
    """Print the file, and return the exit code."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    oldest = min(each.version for each in SpecifierSet(asked))
    if here != oldest:
        print(
            f"make lock needs Python {oldest}, the oldest of pyproject.toml, and this is {here}: versions for it may "
            f"not exist for {oldest}. Name another one: make clean, make PYTHON=python{oldest} lock",
            file=sys.stderr,
        )
        return 2
    print(constraints(brought(LOCKED)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
