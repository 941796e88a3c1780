"""The API reference: the directive ``{api}``, and what is added to a docstring."""

# pyright: reportMissingModuleSource=false
# docutils is in the environment of the site alone

import inspect
import re
from pathlib import Path
from typing import Any, ClassVar

import equations
import names
import pictures
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from spikingtorch.layers import neurons

PICTURES = "_pictures"
BACKREFERENCES = "_backreferences"
PICTURE = """\
.. image:: /{folder}/{stem}-{shade}.svg
   :class: only-{shade}
   :alt: What {name} does with an input over time: membrane and spikes above, the input below
"""


class Api(SphinxDirective):  # type: ignore[misc]
    """A table of names with their first sentences, and an entry for each with its whole docstring."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Return the nodes of a table, and those that autodoc makes of the names."""
        (module,) = self.arguments
        things = {name: names.found(f"{module}.{name}") for line in self.content for name in line.split()}
        table = [".. list-table::", "   :widths: 34 66", "   :class: names", ""]
        entries = []
        for name, thing in things.items():
            (summary,) = plain([first_line(thing)])
            table += [f"   * - :py:obj:`~{module}.{name}`", f"     - {summary}"]
            entries += [f".. auto{kind_of(thing)}:: {module}.{name}", ""]
        # docstrings are reStructuredText, and the page is Markdown
        return list(self.parse_text_to_nodes("\n".join(["```{eval-rst}", *table, "", *entries, "```"])))


def first_line(thing: Any) -> str:
    """Return the first line of the docstring of a thing, or the thing itself where its type has it."""
    text = inspect.getdoc(thing) if kind_of(thing) != "data" else None
    return text.splitlines()[0] if text else f"``{ELSEWHERE.sub('', repr(thing))}``"


def kind_of(thing: Any) -> str:
    """Return which directive of autodoc shows a thing."""
    if inspect.isclass(thing):
        return "exception" if issubclass(thing, BaseException) else "class"
    return "function" if inspect.isroutine(thing) else "data"


def complete(app: Sphinx, what: str, name: str, obj: Any, _: Any, lines: list[str]) -> None:
    """Typeset the equations of a docstring, and add the picture of a neuron and the examples that use the thing."""
    if not inspect.isclass(obj) and what in ("class", "data") and obj.__doc__ == type(obj).__doc__:
        lines[:] = []  # of a number or an alias, whose type has a docstring, and not it
    lines[:] = equations.typeset(plain(lines))
    if what in ("property", "attribute", "data") and lines:
        lines[0] = lines[0].replace(":", COLON)
    module, _, short = name.rpartition(".")
    if what in ("class", "function") and (stem := app.drawn.get(short)) and module in ("spikingtorch", F):
        pictured = [PICTURE.format(folder=PICTURES, stem=stem, shade=shade, name=short) for shade in ("light", "dark")]
        lines[:] = before_sections(lines, "\n".join(pictured).splitlines())
    listed = Path(app.srcdir, BACKREFERENCES, f"{name}.examples")
    if listed.is_file() and listed.stat().st_size:
        lines += ["", ".. rubric:: Gallery", "", f".. minigallery:: {name}", ""]


F = "spikingtorch.functional"
# signs that reStructuredText reads and our prose means: the star of a shape, (*N,), and the bars of a number, |u|
SIGNS = re.compile(r"\*(?=[\w,*])|\|")
# modules in the repr of an alias
ELSEWHERE = re.compile(r"~|\b(typing|collections\.abc|spikingtorch(\.\w+)+)\.(?=\w)")
# in the place of a colon, while napoleon would take what is before it for a type
COLON = "\ue000"


def plain(lines: list[str]) -> list[str]:
    """Return lines whose stars and bars stand for themselves, but for equations and code, where they do anyway."""
    found, in_code, in_section = [], False, False
    for line in lines:
        in_section = in_section or equations.SECTION.match(line) is not None
        in_code = line.lstrip().startswith(">>>") or (in_code and bool(line.strip()))
        if (in_section and not in_code) or not line.startswith("    "):
            words = line.split("``")
            words[::2] = [SIGNS.sub(r"\\\g<0>", word) for word in words[::2]]
            line = "``".join(words)
        found.append(line)
    return found


def restore(_app: Sphinx, _what: str, _name: str, _obj: Any, _: Any, lines: list[str]) -> None:
    """Put back the colons, once napoleon has been there."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def before_sections(lines: list[str], added: list[str]) -> list[str]:
    """Return lines with others before the first section, such as Args."""
    at = next((index for index, line in enumerate(lines) if equations.SECTION.match(line)), len(lines))
    return [*lines[:at], "", *added, "", *lines[at:]]


# what a layer overrides to be one, and what StepLayer tells of
OVERRIDDEN = {"param_map", "step_params", "rest_state", "whole_step", "initial_state"}
# what other rooms of the library call, and users do not
INNER = {"extra_repr", "described", "at_rest", "watched", "alone", "side_effect", "without_effects"}
_OF_MONITOR = ("begin", "here", "leave", "mark", "rewind", "end", "counts_of", "counted", "note")
INNER |= {f"SpikeMonitor.{name}" for name in _OF_MONITOR}


def skip(_app: Sphinx, _what: str, name: str, obj: Any, skips: bool, _options: Any) -> bool | None:
    """Leave out what is no one's to call, and the fields of a NamedTuple, which its docstring tells of."""
    full = getattr(obj, "__qualname__", "")
    inner = {name, full} & INNER or (name in OVERRIDDEN and not full.startswith("StepLayer."))
    field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if skips or inner or field else None


class Default:
    """A default, as it is written; no NamedTuple, which Sphinx shows as a tuple."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def write_defaults() -> None:
    """Give constructors of layers signatures that Sphinx can show: in their source, it would find no options."""
    for kind in {getattr(neurons, name) for name in neurons.__all__}:
        constructor: Any = kind.__init__
        if hasattr(constructor, "__wrapped__"):
            signature = inspect.signature(constructor)
            constructor.__signature__ = signature.replace(parameters=list(map(written, signature.parameters.values())))
            del constructor.__wrapped__


def written(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter whose default is shown as it is written."""
    given = parameter.default
    if given is parameter.empty:
        return parameter
    return parameter.replace(default=Default(given.__name__ if inspect.isfunction(given) else repr(given)))


def draw(app: Sphinx) -> None:
    """Draw all neurons."""
    app.drawn = pictures.draw(Path(app.srcdir, PICTURES))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive, and have docstrings completed."""
    app.add_directive("api", Api)
    write_defaults()
    app.connect("builder-inited", draw)
    # before napoleon reads the sections
    app.connect("autodoc-process-docstring", complete, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
