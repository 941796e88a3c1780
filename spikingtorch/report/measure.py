"""Run a network on a loader: spikes of each neuron, operations, records of a few samples, and its integers."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.fold.report import Report
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.metrics import rate_accuracy
from spikingtorch.quantize import Certificate, IntegerError, certify, to_integer
from spikingtorch.quantize.integer import Report as IntegerReport
from spikingtorch.report.batches import Piece
from spikingtorch.report.firing import Firing
from spikingtorch.units import counted
from spikingtorch.watching.recording import Recording, record
from spikingtorch.watching.summary import Summary, merged, summary_of_run

# samples in pictures, and bytes of records at a time
PICTURED, _BYTES = 16, 2**28


class Measured(NamedTuple):
    """The measurements of a network."""

    kind: str  # class of the network
    layers: dict[str, Firing]  # its layers by name, in the order of their definition
    table: Summary
    explained: Report  # the explanation of how the network runs
    samples: int
    batches: int
    lengths: tuple[int, int]  # the smallest and the largest number of steps of a sample
    # share of the samples whose class has the largest sum of outputs; None if there are no classes
    accuracy: float | None
    first: Piece  # the samples in pictures
    pictured: dict[str, Mapping[str, Tensor]]  # their records, by layer
    out: Any  # the outputs of the network for them

    @property
    def firing(self) -> list[Firing]:
        """The layers whose outputs are spikes."""
        return [layer for layer in self.layers.values() if layer.fires]

    @property
    def rates(self) -> Tensor:
        """The firing rates of the neurons of all these layers."""
        return torch.cat([layer.rates.flatten() for layer in self.firing])

    @property
    def seen(self) -> str:
        """The samples and steps that the numbers of the page are based on."""
        fewest, most = self.lengths
        steps = f"{most:,} steps" if fewest == most else f"{fewest:,} to {most:,} steps"
        return f"{counted(self.samples, 'sample')} of {counted(self.batches, 'batch', 'batches')}, {steps} each"


class Integers(NamedTuple):
    """A network with whole numbers as integers, or why it has none, or why they have no C and no table."""

    refused: IntegerError | None = None
    certificate: Certificate | None = None
    table: IntegerReport | None = None
    without_c: ValueError | None = None


@torch.no_grad()
def measure(model: Any, pieces: Iterable[Piece]) -> Measured:
    """Run a network, which is a copy in evaluation, on all samples.

    Raises:
        ValueError: the network has no spiking layer, cannot run a piece, or a layer changes its number of neurons.
    """
    spiking, layers = spiking_layers(model), dict[str, Firing]()
    if not spiking:
        raise ValueError(f"report: {type(model.net).__name__} has no spiking layer, such as LIF, to report on")
    tables: list[tuple[Summary, int]] = []
    hits: list[Tensor] = []
    shown: list[tuple[Piece, Recording]] = []
    spans: list[tuple[int, int]] = []
    explained: Report | None = None
    for piece in pieces:
        with _failures_of(piece):
            for part, recording in _recorded(model, piece, "spikes"):
                for path, records in recording.items():
                    known = layers.get(name := path or "net") or Firing.of(name, spiking[name])
                    layers[name] = known.plus(records["spikes"])
                # before the summary, because it would list the summary's own convolutions
                explained = explained or model.explain()
                tables.append((summary_of_run(model, part.x.clone()), len(part.x)))
                hits += _hits(recording.out, part.targets)
            if not shown:
                shown.append(_pictured(model, piece))
        spans.append((piece.x.shape[1], piece.batch))
    first, pictured = shown[0]
    assert explained is not None
    return Measured(
        kind=type(model.net).__name__,
        layers={name: layers[name] for name in spiking if name in layers},
        table=merged(tables),
        explained=explained,
        samples=sum(count for _, count in tables),
        batches=len({batch for _, batch in spans}),
        lengths=(min(T for T, _ in spans), max(T for T, _ in spans)),
        accuracy=float(torch.cat(hits).mean()) if hits else None,
        first=first,
        pictured={name or "net": records for name, records in pictured.items()},
        out=pictured.out,
    )


def integers_of(model: Any, x: Tensor) -> Integers:
    """Return a network as integers, compared on some samples x, (N, T, ...), or the refusal."""
    try:
        integer = to_integer(model, x)
        certificate = certify(model, integer, x)
    except IntegerError as refused:
        return Integers(refused)
    try:
        return Integers(certificate=certificate, table=integer.report())
    except ValueError as without_c:
        return Integers(certificate=certificate, without_c=without_c)


def spiking_layers(model: Any) -> dict[str, StepLayer]:
    """Return the layers that run a step over time, by name; the network itself is "net"."""
    modules = model.net.named_modules()
    return {path or "net": module for path, module in modules if isinstance(module, StepLayer)}


@contextmanager
def _failures_of(piece: Piece) -> Iterator[None]:
    """Return an error that names the batch on which the network has failed."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"report: the network fails on batch {piece.batch} of the loader: {error}. Its input x has shape "
            f"{tuple(piece.x.shape)}, taken as (N, T, ...). If your data must be encoded first, pass encoder="
        ) from error


def _recorded(model: Any, piece: Piece, *names: str) -> Iterator[tuple[Piece, Recording]]:
    """Yield the samples of a piece and their records, in parts whose records are small."""
    start, size = 0, len(piece.x)
    while start < len(piece.x):
        part = piece.samples(start, start + size)
        try:
            recording = record(model, part.x.clone(), names, limit=_BYTES if size > 1 else sys.maxsize)
        except MemoryError:
            size = max(1, size // 2)
            continue
        yield part, recording
        start += size


def _pictured(model: Any, piece: Piece) -> tuple[Piece, Recording]:
    """Return the first samples, with all data of their pictures."""
    few = piece.samples(0, PICTURED)
    for names in (("spikes", "v", "threshold"), ("spikes", "v")):
        with suppress(ValueError):  # no layer has a threshold, or none a membrane
            return next(_recorded(model, few, *names))
    return next(_recorded(model, few, "spikes"))


def _hits(out: Any, targets: Tensor | None) -> list[Tensor]:
    """Return, for each sample, whether its class has the largest sum over time, if there are classes."""
    classes = classes_of(out, targets)
    if classes is None or out.ndim != 3 or out.shape[2] < 2:
        return []
    return [rate_accuracy(out, classes.to(out.device).long(), reduction="none").cpu()]


def classes_of(out: Any, targets: Tensor | None) -> Tensor | None:
    """Return the targets if they are classes that have an output of the network each; None otherwise."""
    if targets is None or targets.ndim != 1 or not isinstance(out, Tensor) or out.ndim < 3:
        return None
    whole = targets.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    return targets if whole and 0 <= int(targets.min()) <= int(targets.max()) < out.shape[2:].numel() else None
