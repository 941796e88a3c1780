"""Run a network on some batches, and write a report as one page: a template, filled with numbers and pictures."""

import os
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikingtorch.plot.canvas import need_matplotlib
from spikingtorch.quantize.certificate import HEAD as COMPARED
from spikingtorch.quantize.errors import RULES
from spikingtorch.quantize.integer import HEAD as NEEDED
from spikingtorch.report import figures
from spikingtorch.report.batches import pieces_of, unchanged
from spikingtorch.report.figures import drawing, inline
from spikingtorch.report.firing import FEW, MANY, named, share, which
from spikingtorch.report.gradients import DIFFERENCES, TWIN, Checked, agreement, check_gradients, has_jax
from spikingtorch.report.history import OF_LAYERS, History, described, read_history
from spikingtorch.report.measure import Integers, Measured, integers_of, measure, spiking_layers
from spikingtorch.report.subjects import LENGTH
from spikingtorch.units import abbreviated, counted, percent
from spikingtorch.watching.network import Network, check_network, on_copy
from spikingtorch.watching.summary import HEAD as COSTS
from spikingtorch.watching.summary import joules

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure


# the report's records cause this warning for a step on the loop, so it does not concern the user
_OURS = "ran on the Python loop"
# layers with pictures of their own
_MOST = 24


def report(
    model: Network,
    loader: Iterable[Any],
    path: str | os.PathLike[str],
    *,
    history: Any = None,
    encoder: Callable[[Any], Any] | None = None,
    title: str | None = None,
    batches: int | None = 4,
) -> Path:
    """Write one HTML page about a network: curves, cost, rates, silent neurons with advice, checked gradients.

    A copy of the network runs in evaluation. The model and all random generators, including those of the loader and the
    encoder, stay unchanged. The page is one file that loads nothing, for a screen of any width, dark or light.

    Args:
        model: a ``SpikingNet``.
        loader: a DataLoader or a list of batches: x or (x, targets). x is an input of the network, (N, T, ...). Padded
            sequences, as from ``spikeio.pad_sequences``, are (x, lengths, targets).
        path: path of the page; an existing file is replaced once the new one is complete.
        history: the training history: a list of dicts, one for each epoch, or a dict of lists. Entries of
            ``SpikeMonitor.metrics()`` become rates over epochs.
        encoder: an encoder before the network, for instance ``PoissonEncoder(8)`` for a loader of images (N, ...).
        title: of the page; by default the class of the network.
        batches: number of batches to run; None for all.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: model is not a SpikingNet, or cannot be copied; loader or history are of another kind.
        ValueError: there is no batch, the network cannot run one, or it has no spiking layer; batches is below 1.
        FileNotFoundError: the folder does not exist.

    >>> import tempfile, torch
    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(torch.nn.Sequential(torch.nn.Linear(3, 4), LIF()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report(model, [torch.rand(2, 5, 3)], f"{folder}/report.html").read_text()[:15]
    '<!DOCTYPE html>'
    """
    check_network("report", model)
    given: Any = model
    where = _checked(path)
    if batches is not None and (isinstance(batches, bool) or not isinstance(batches, int) or batches < 1):
        raise ValueError(f"report: batches={batches!r}, expected a whole number, 1 or more, or None for all")
    try:
        need_matplotlib()
    except ImportError as error:
        raise ImportError("report: needs matplotlib; pip install 'spikingtorch[plot]'") from error
    logged = None if history is None else read_history(history, [*spiking_layers(given)])
    device = next((each.device for each in given.parameters()), torch.empty(0).device)

    def watch(copied: Any) -> tuple[Measured, list[Checked], Integers | None]:
        copied.batch_first = True  # like the pieces that ``pieces_of`` yields
        measured = measure(copied.eval(), pieces_of(loader, batches, encoder, device, model.batch_first))
        x = measured.first.x
        integers = integers_of(copied, x) if measured.explained.whole else None
        return measured, check_gradients(copied, x), integers

    with warnings.catch_warnings(record=True) as caught, unchanged(device, loader, encoder):
        warnings.simplefilter("always")
        measured, checks, integers = on_copy("report", model, watch)
    said = dict.fromkeys(str(each.message) for each in caught if _OURS not in str(each.message))
    with drawing(), warnings.catch_warnings():
        # matplotlib's warning about a picture with little room
        warnings.simplefilter("ignore")
        text = _page(title or measured.kind, measured, logged, checks, integers, [*said])
    _write(where, text)
    return where


def _checked(path: str | os.PathLike[str]) -> Path:
    """Return the path of the page; raise before the long computation."""
    where = Path(path)
    if not where.parent.is_dir():
        raise FileNotFoundError(f"report: path={str(path)!r}, and there is no folder {where.parent}; make it first")
    if where.is_dir():
        raise IsADirectoryError(
            f"report: path={str(path)!r} is a folder, expected a file such as {where / 'report.html'}"
        )
    return where


def _write(path: Path, text: str) -> None:
    """Write a temporary file and move it into place, so that an earlier file stays complete until then."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _page(
    title: str,
    measured: Measured,
    history: History | None,
    checks: Sequence[Checked],
    integers: Integers | None,
    warned: Sequence[str],
) -> str:
    """Return the whole page; ``warned`` are warnings of Python while the network ran."""
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


def _shown(records: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the records of a layer on the CPU, in full precision, and with an axis of neurons."""

    def shown(record: Tensor) -> Tensor:
        return figures.with_neurons(record.detach().cpu().to(torch.promote_types(record.dtype, torch.float32)))

    return {name: shown(record) for name, record in records.items()}
