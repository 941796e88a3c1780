"""The documentation site, as far as it can be held without Sphinx: its names, its links, its equations, its order."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import spikingtorch

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def part(name: str) -> Any:
    """Return a module of the site, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


names, stage, equations, check, citation = map(part, ("names", "stage", "equations", "check", "citation"))


# --- the reference: every public name


FOR_JAX = ("spikingtorch.jax", "spikingtorch.functional.jax_reference")


@pytest.mark.parametrize("module", names.MODULES)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    if module.startswith("spikingtorch.interop.nir"):
        pytest.importorskip("nir")
    if module in FOR_JAX:
        pytest.importorskip("jax")
    shown = names.documented()
    loaded = importlib.import_module(module)
    # a layer is shown once, though spikingtorch and spikingtorch.layers both have it
    # one of these modules has its names from the other, but for a class that is torch's as well
    places = (*FOR_JAX, "spikingtorch.functional") if module in FOR_JAX else (module,)
    ids = {id(names.found(name)) for name in shown if name.startswith(places) or name.count(".") == 1}
    missing = [name for name, value in names.public(loaded).items() if id(value) not in ids]
    assert not missing, f"add them to a block {{api}} {module} of a page in docs/api: {', '.join(missing)}"


# what the library alone imports, and users do not
OWN = ("spikingtorch.layers.neurons", "spikingtorch.verification.", "spikingtorch.interop.nir.reference")


def test_every_module_with_public_names_is_known() -> None:
    """A module that users are shown: by ``dir(spikingtorch)``, or because it says by ``__all__`` what it shows."""
    files = (ROOT / "spikingtorch").rglob("*.py")
    saying = {path for path in files if re.search(r"^__all__ =", path.read_text(), re.MULTILINE)}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in saying}
    values = {name: getattr(spikingtorch, name) for name in dir(spikingtorch)}
    modules |= {value.__name__ for value in values.values() if isinstance(value, ModuleType)}
    modules -= {"spikingtorch.like"}  # whose modules are known
    assert {module for module in modules if not module.startswith(OWN)} - {*names.MODULES} == set()


def test_every_name_in_the_reference_is_there() -> None:
    for name in names.documented():
        if "interop" not in name and (importlib.util.find_spec("jax") or not name.startswith(FOR_JAX)):
            names.found(name)


def test_every_name_is_shown_once() -> None:
    blocks = [block for page in names.PAGES.glob("*.md") for block in names.BLOCK.finditer(page.read_text())]
    listed = [f"{block['module']}.{name}" for block in blocks for name in block["names"].split()]
    assert sorted(listed) == sorted({*listed})
    assert len(listed) > 400


def test_every_page_of_the_reference_is_in_its_contents() -> None:
    contents = (DOCS / "api" / "index.md").read_text()
    for page in names.PAGES.glob("*.md"):
        assert page.stem == "index" or f"\n{page.stem}\n" in contents


# --- its order


def test_every_page_stands_in_the_contents_of_one_other() -> None:
    places = {place.removesuffix(".md") for place in stage.pages().values() if place.endswith(".md")}
    listed: list[str] = []
    for page in DOCS.rglob("*.md"):
        folder = page.parent.relative_to(DOCS).as_posix()
        prefix = "" if folder == "." else f"{folder}/"
        if "_build" in page.parts:
            continue
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            entries = [re.sub(r".*<(.*)>", r"\1", line) for line in block.splitlines() if line and line[0] != ":"]
            found = {
                place
                for entry in entries
                for place in places
                if re.fullmatch(re.escape(prefix + entry).replace(r"\*", "[^/]*"), place)
            }
            listed += found
    assert sorted({*listed}) == sorted(places - {"index"})
    assert len(listed) == len({*listed})


# --- where pages are moved, their links follow


PLACES = {"README.md": "readme.md", "docs/nir.md": "nir.md", "bench/results/lif.md": "bench/lif.md"}


@pytest.mark.parametrize(
    ("path", "text", "there"),
    [
        ("docs/nir.md", "[a](../README.md#install)", "[a](readme.md#install)"),
        ("docs/nir.md", "[a](../bench/results/lif.md)", "[a](bench/lif.md)"),
        ("README.md", "![a b](docs/nir.md)", "![a b](nir.md)"),
        ("bench/results/lif.md", "[a](../../docs/nir.md#time)", "[a](../nir.md#time)"),
        ("docs/nir.md", "see [a](#time), [b](https://x.org/README.md)", "see [a](#time), [b](https://x.org/README.md)"),
        ("docs/nir.md", "in [examples](../examples) there", "in examples there"),
        ("docs/nir.md", "```\n[a](../README.md)\n```\n", "```\n[a](../README.md)\n```\n"),
        ("docs/nir.md", "[a](none.md)", "[a](none.md)"),
    ],
)
def test_links_follow_a_page_that_is_moved(path: str, text: str, there: str) -> None:
    assert stage.moved(text, path, PLACES) == there


def test_a_link_to_a_file_of_the_repository_reaches_it() -> None:
    text = stage.moved("[a](../Makefile)", "docs/nir.md", PLACES)
    target = re.search(r"\(path:(.*)\)", text)
    assert target is not None
    assert (stage.SOURCE / target[1]).resolve() == ROOT / "Makefile"


# --- equations


@pytest.mark.parametrize(
    ("line", "tex"),
    [
        ("u[t] = decay v[t-1] + gain x[t]", r"u[t] = \text{decay}\ v[t-1] + \text{gain}\ x[t]"),
        ("u = decay_rise r", r"u = \text{decay_rise}\ r"),  # TeX of MathJax takes the sign as it is there
        ("a = exp(-1 / tau_syn)", r"a = \exp(-1 / \tau_{\text{syn}})"),
        ("y = 1 / (1 + beta |u|)^2", r"y = 1 / (1 + \beta\,\lvert u\rvert )^2"),
        ("y = exp(-u^2 / sqrt(2 pi))", r"y = \exp(-u^2 / \sqrt{2\,\pi})"),
        ("z[n] = sum over t < T[n] of s[n, t]", r"z[n] = \sum_{t < T[n]} s[n, t]"),
        ("s[t] = H(u[t])              H(0) = 1", r"s[t] = H(u[t])\qquad H(0) = 1"),
        ("k before the first <= 100 %", r"k\ \text{before}\ \text{the}\ \text{first} \le  100 \%"),
    ],
)
def test_a_line_is_typeset(line: str, tex: str) -> None:
    assert equations.tex(line) == tex


def test_equations_of_a_docstring_get_rows_of_their_own_and_code_stays_code() -> None:
    lines = ["Fire.", "", "    u = v + x,  s = H(u)", "", "Args:", "    x: a", "", "    y = 2"]
    assert equations.typeset(lines) == [
        *["Fire.", "", ".. math::", "", r"    \begin{aligned}", r"    u &= v + x, \\", r"    s &= H(u) \\"],
        *[r"    \end{aligned}", "", *lines[4:]],
    ]
    code = ["Watch.", "", "    with SpikeMonitor(model) as monitor:", "        out = model(x)", "", "Then."]
    assert equations.typeset(code) == [*code[:2], "::", "", *code[2:5], "", code[5]]


# --- the check of what was built


def test_broken_links_are_found(tmp_path: Path) -> None:
    pages = {
        "index.html": '<h1 id="top"></h1><a href="a/b.html#x">1</a><a href="a/b.html#y">2</a><img src="no.png">',
        "a/b.html": '<p id="x"></p><a href="../index.html">1</a><a href="#z">2</a><script src="https://x.org/x.js">',
    }
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(check.broken(tmp_path)) == [
        "a/b.html: #z has no such anchor",
        "a/b.html: https://x.org/x.js is loaded from elsewhere",
        "index.html: a/b.html#y has no such anchor",
        "index.html: no.png has no file",
    ]


# --- what it is built with


def test_what_the_site_is_built_with_is_pinned_within_its_range() -> None:
    lines = (DOCS / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for need in map(Requirement, project["optional-dependencies"]["docs"]):
        if need.name != "spikingtorch":
            assert need.specifier.contains(pinned[canonicalize_name(need.name)])


# --- how to cite


def test_the_entry_says_what_the_citation_says() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entry = citation.bibtex(ROOT / "CITATION.cff")
    assert f"version = {{{cff['version']}}}" in entry
    assert cff["title"] in entry
    assert cff["authors"][0]["name"] in entry


def test_the_site_needs_no_module_of_sphinx_here() -> None:
    assert "sphinx" not in sys.modules
