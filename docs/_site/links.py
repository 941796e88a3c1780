"""Links to the API reference: from names in the text of all pages, and from annotations that name private modules."""

# pyright: reportMissingModuleSource=false
# docutils is in the environment of the site alone

import re
import sys
from typing import Any

import names
from docutils import nodes
from docutils.nodes import Element
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

NAME = re.compile(r"^(?:(?P<path>[\w.]+)\.)?(?P<name>\w+)(?P<call>\(.*\))?$", re.DOTALL)
# short names of modules in code
PATHS = {"st": "spikingtorch", "F": "spikingtorch.functional", "J": "spikingtorch.jax"}
PATHS |= {module.removeprefix("spikingtorch."): module for module in names.MODULES}
PATHS |= {module: module for module in names.MODULES}
OTHERS = (*names.FOR_JAX, "spikingtorch.like", "spikingtorch.interop.nir.dialects")


class Names:
    """What the API reference shows, by full names, by short ones, and by where it is defined."""

    def __init__(self) -> None:
        self.full = names.documented()
        ours = sorted((name for name in self.full if not name.startswith(OTHERS)), key=lambda name: name.count("."))
        self.short: dict[str, str] = {}
        self.defined: dict[str, str] = {}
        for name in ours:
            self.short.setdefault(name.rpartition(".")[2], name)
        for name in (*ours, *self.full):
            thing = names.found(name)
            place = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
            if place.startswith("spikingtorch."):  # an alias is defined where its type is
                self.defined.setdefault(place, name)

    def meant(self, text: str) -> str | None:
        """Return the full name that a piece of code in a text stands for: ``LIF``, ``F.scan``, ``record(model, x)``."""
        found = NAME.match(text)
        if found is None:
            return None
        path, name = found["path"], found["name"]
        if path:
            full = f"{PATHS.get(path, path)}.{name}"
            return full if full in self.full else None
        # "none" and "dense" are words as well
        says = found["call"] or name == "scan" or not name.islower() or "_" in name
        return self.short.get(name) if says else None


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Make links of the names of the library that stand in a page as code."""
    for literal in list(doctree.findall(nodes.literal)):
        parent: Any = literal.parent
        inside = (nodes.reference, nodes.title, addnodes.pending_xref, addnodes.desc_signature, nodes.term)
        while parent is not None and not isinstance(parent, inside):
            parent = parent.parent
        full = None if parent is not None else app.known_names.meant(literal.astext())
        if full is not None:
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=full, refexplicit=True, refdoc=app.env.docname
            )
            literal.replace_self(link)
            link += literal


def find_public(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: Element) -> Any:
    """Resolve a reference to where a thing is defined by its public name; a private one becomes plain text."""
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    name = app.known_names.defined.get(target) or app.known_names.short.get(target)
    if name is None:
        return content if exists(target) else None
    return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


def exists(target: str) -> bool:
    """Say whether a full name of the library stands for something, such as a type variable."""
    module, _, name = target.rpartition(".")
    return module.startswith("spikingtorch.") and module in sys.modules and hasattr(sys.modules[module], name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Look for names in every page."""
    app.known_names = Names()
    app.connect("doctree-read", link_names)
    app.connect("missing-reference", find_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
