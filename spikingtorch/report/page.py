"""The page: its template, filled with what was measured and with pictures."""

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikingtorch.quantize.certificate import HEAD as COMPARED
from spikingtorch.quantize.errors import RULES
from spikingtorch.quantize.report import HEAD as NEEDED
from spikingtorch.report import figures
from spikingtorch.report.firing import FEW, MANY, named, share, which
from spikingtorch.report.gradients import DIFFERENCES, TWIN, Checked, agreement, has_jax
from spikingtorch.report.history import OF_LAYERS, History, described
from spikingtorch.report.measure import Integers, Measured
from spikingtorch.report.subjects import LENGTH
from spikingtorch.report.svg import inline
from spikingtorch.units import abbreviated, counted, percent, quantity
from spikingtorch.watching.table import HEAD as COSTS

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# layers with pictures of their own
_MOST = 24


def page(
    title: str,
    measured: Measured,
    history: History | None,
    checks: Sequence[Checked],
    integers: Integers | None,
    warned: Sequence[str],
) -> str:
    """Return the whole page.

    Args:
        title: of the page.
        measured: the measurements of the network.
        history: the training history; None if nothing was logged.
        checks: checks of the gradients of its steps.
        integers: the network as integers, or their refusal; None without whole numbers.
        warned: warnings of Python while the network ran.
    """
    # imported with the first report, because the rest of the library does not need it
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from spikingtorch import __version__

    templates = Environment(
        loader=PackageLoader("spikingtorch.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    numbers, words = (abbreviated, counted, joules, percent, share, unbroken), (agreement, described, named, which)
    templates.filters |= {each.__name__: each for each in (*numbers, *words, figures.membranes)}
    templates.globals |= {"figures": figures, "has_jax": has_jax, "picture": picture, "RULES": RULES, "MOST": _MOST}
    templates.globals |= {"FEW": FEW, "MANY": MANY, "LENGTH": LENGTH, "TWIN": TWIN, "DIFFERENCES": DIFFERENCES}
    templates.globals |= {"COMPARED": COMPARED, "NEEDED": NEEDED, "COSTS": COSTS, "OF_LAYERS": OF_LAYERS}
    pictured = [layer for layer in measured.firing if layer.name in measured.pictured]
    text = templates.get_template("page.html").render(
        title=title,
        made=datetime.now(UTC),
        versions={"spikingtorch": __version__, "torch": torch.__version__, "Python": platform.python_version()},
        measured=measured,
        pictured=pictured,
        records={layer.name: _shown(measured.pictured[layer.name]) for layer in pictured},
        history=history,
        checks=checks,
        integers=integers,
        warned=warned,
    )
    return text.strip() + "\n"


def picture(key: str, alt: str, draw: "Callable[..., Figure]", *given: Any) -> "Markup":
    """Return a picture, or why it cannot be drawn, for instance because of an infinite membrane."""
    from markupsafe import Markup

    try:
        return inline(draw(*given), key, alt)
    except ValueError as error:
        return Markup('<p class="soft">This picture cannot be drawn: <code>{}</code></p>').format(error)


def unbroken(text: str) -> str:
    r"""Return a number and its unit so that they stay on one line.

    >>> unbroken("45 nm") == "45\N{NO-BREAK SPACE}nm"
    True
    """
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def joules(nanojoules: float) -> str:
    """Return an energy, with the prefix that fits.

    >>> joules(4340.0).split()
    ['4.34', 'µJ']
    """
    return unbroken(quantity(1e-9 * nanojoules, "J"))


def _shown(records: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the records of a layer on the CPU, in full precision, and with an axis of neurons."""

    def shown(record: Tensor) -> Tensor:
        return figures.with_neurons(record.detach().cpu().to(torch.promote_types(record.dtype, torch.float32)))

    return {name: shown(record) for name, record in records.items()}
