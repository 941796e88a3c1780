"""Run a network on some batches, and write a report as one page."""

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from spikingtorch.plot.canvas import need_matplotlib
from spikingtorch.report.batches import pieces_of, unchanged
from spikingtorch.report.gradients import Checked, check_gradients
from spikingtorch.report.history import read_history
from spikingtorch.report.measure import Integers, Measured, integers_of, measure, spiking_layers
from spikingtorch.report.page import page
from spikingtorch.report.svg import drawing
from spikingtorch.watching.copies import on_copy
from spikingtorch.watching.network import Network, check_network

# the report's records cause this warning for a step on the loop, so it does not concern the user
_OURS = "ran on the Python loop"


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
        text = page(title or measured.kind, measured, logged, checks, integers, [*said])
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
