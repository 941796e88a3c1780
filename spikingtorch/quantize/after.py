"""Rounded weights after training, without any more of it, and what rounding has changed in a network."""

import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.quantize.grid import RoundedInput
from spikingtorch.quantize.norms import fold_norms
from spikingtorch.quantize.qat import prepare_qat, rounded_weights
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.validation import check_floating
from spikingtorch.watching.monitor import SpikeMonitor

Data: TypeAlias = Tensor | Iterable[Any]
Judge: TypeAlias = Literal["weights", "outputs"]


class LayerChange(NamedTuple):
    """The change of a layer with weights by rounding.

    Attributes:
        bits: of its weights.
        exponents: the smallest and the largest k of its scales 2^k.
        error: sqrt(sum (W - w)^2 / sum w^2).
    """

    bits: int
    exponents: tuple[int, int]
    error: float


class Changes(NamedTuple):
    """The changes of a network by rounding; printed, it is a table.

    Attributes:
        layers: of each layer with rounded weights, by path.
        rates: of each spiking layer, by path: spikes per neuron and step before and after.
        output: sqrt(sum (y' - y)^2 / sum y^2), over the outputs summed over time.
    """

    layers: dict[str, LayerChange]
    rates: dict[str, tuple[float, float]]
    output: float

    @property
    def silent(self) -> list[str]:
        """The layers that fired before, and do not after."""
        return [path for path, (before, after) in self.rates.items() if before > 0.0 and after == 0.0]

    def __str__(self) -> str:
        rows = []
        for path, (bits, (least, most), error) in self.layers.items():
            scales = f"scale 2^{least}" if least == most else f"scales 2^{least} to 2^{most}"
            rows.append(f"  {path:20} {bits} bits  {scales}  error {error:.1%}")
        rows += [
            f"  {path:20} fires at {before:.4f} before, {after:.4f} after"
            for path, (before, after) in self.rates.items()
        ]
        return "\n".join(["Changes by rounding", *rows, f"  outputs differ by {self.output:.1%}"])


def quantize(
    model: SpikingNet,
    data: Data,
    weight_bits: int = 8,
    per_channel: bool = False,
    inputs: int | RoundedInput | None = None,
    by: Judge = "weights",
) -> SpikingNet:
    """Return a copy of a trained network with rounded weights, without training.

    Batch norms become part of the weights, as by ``fold_norms``. Each weight gets the scale of the least squared error;
    with ``by="outputs"``, each layer, one after the other, gets the scale at most twice as large or half as large with
    which the outputs on the data, summed over time, differ least from those of the model.

    The result is prepared as by ``prepare_qat(..., scale="learned")``, so it can be trained on, and in evaluation. It
    warns if a layer that fired falls silent on the data; ``changes(model, result, data)`` shows errors and rates.

    Args:
        model: the trained network.
        data: inputs (N, T, ...), or batches of them or of tuples that begin with them. Some hundred samples will do.
        weight_bits: as in ``prepare_qat``.
        per_channel: as there.
        inputs: as there.
        by: what scales are judged by, "weights" or "outputs".

    Raises:
        TypeError: model is not a SpikingNet, or the data are not floating.
        ValueError: by is not valid, there are no data; or as in ``prepare_qat`` and ``fold_norms``.

    >>> from torch import nn
    >>> from spikingtorch import LIF
    >>> _ = torch.manual_seed(0)
    >>> model = SpikingNet(nn.Sequential(nn.Linear(20, 30), LIF(threshold=0.2), nn.Linear(30, 5), LIF(threshold=0.2)))
    >>> x = (torch.rand(16, 10, 20) < 0.3).float()
    >>> print(changes(model, quantize(model, x, 4), x))
    Changes by rounding
      0                    4 bits  scale 2^-5  error 7.1%
      2                    4 bits  scale 2^-5  error 8.7%
      1                    fires at 0.1781 before, 0.1862 after
      3                    fires at 0.1812 before, 0.2025 after
      outputs differ by 26.0%
    """
    _check_network("quantize", model)
    if by not in ("weights", "outputs"):
        raise ValueError(f"quantize: by={by!r}, expected 'weights' or 'outputs'")
    batches = batches_of("quantize", data)
    plain = copied(model).eval()
    fold_norms(plain)
    found = prepare_qat(copy.deepcopy(plain), weight_bits, per_channel, inputs, "learned")
    if by == "outputs":
        _judge(found, [_sums(plain, x) for x in batches], batches)
    if silent := _changes(plain, found, batches).silent:
        paths = ", ".join(map(repr, silent))
        warnings.warn(
            f"quantize: layer {paths} fired on the data, and is silent with weights of {weight_bits} bits. Use more "
            "bits or per_channel=True, or train on with rounded weights: prepare_qat(model, ...)",
            UserWarning,
            stacklevel=level_of_user(),
        )
    return found


def changes(model: SpikingNet, rounded: SpikingNet, data: Data) -> Changes:
    """Return how rounding has changed a network: errors of weights, rates of layers, and the outputs on data.

    Args:
        model: the network before.
        rounded: a network with rounded weights, of ``quantize`` or ``prepare_qat``.
        data: as in ``quantize``.

    Raises:
        TypeError: a model is not a SpikingNet, or the data are not floating.
        ValueError: there are no data, or no rounded weights.
    """
    for each in (model, rounded):
        _check_network("changes", each)
    if not rounded_weights(rounded):
        raise ValueError("changes: the second network has no rounded weights; quantize(model, data) returns one")
    return _changes(model, rounded, batches_of("changes", data))


def batches_of(owner: str, data: Data) -> list[Tensor]:
    """Return the inputs in data.

    Raises:
        TypeError: they are not floating tensors.
        ValueError: there are none.
    """
    if not isinstance(data, Iterable) or isinstance(data, str | Mapping):
        raise TypeError(f"{owner}: data is a {type(data).__name__}, expected a tensor or batches, such as a DataLoader")
    found: list[Tensor] = []
    for batch in [data] if isinstance(data, Tensor) else data:
        x: Any = batch[0] if isinstance(batch, tuple | list) and batch else batch
        check_floating(owner, "a batch of data", x)
        found += [x] if x.numel() else []
    if not found:
        raise ValueError(f"{owner}: there are no data; pass inputs as in training. An iterator gives them once")
    return found


def _check_network(owner: str, model: object) -> None:
    if not isinstance(model, SpikingNet):
        raise TypeError(f"{owner}: model is a {type(model).__name__}, expected a SpikingNet: SpikingNet(net)")


@torch.no_grad()
def _sums(model: SpikingNet, x: Tensor) -> Tensor:
    """Return the outputs of a network summed over time, of all leaves, (N, K)."""
    axis = 1 if model.batch_first else 0
    leaves = [leaf.sum(axis).flatten(1) for leaf in leaves_of(model(x)) if isinstance(leaf, Tensor)]
    return torch.cat(leaves, 1)


def _judge(found: SpikingNet, expected: list[Tensor], batches: list[Tensor]) -> None:
    """Move the scale of each weight by a factor of two where that brings the outputs nearer."""

    def error() -> float:
        pairs = zip(batches, expected, strict=True)
        return sum([float((_sums(found, x) - y).square().sum()) for x, y in pairs])

    least = error()
    roundings: list[Any] = [weight.rounding for weight in rounded_weights(found)]
    for log2 in {id(each.log2_scale): each.log2_scale for each in roundings}.values():
        start, best = log2.detach().clone(), 0.0
        for step in (1.0, -1.0):
            with torch.no_grad():
                log2.copy_(start + step)
            if (other := error()) < least:
                least, best = other, step
        with torch.no_grad():
            log2.copy_(start + best)


@torch.no_grad()
def _changes(model: SpikingNet, rounded: SpikingNet, batches: list[Tensor]) -> Changes:
    layers = {}
    for weight in rounded_weights(rounded):
        w, s = weight.original, weight.rounding.scale(weight.original)
        error = float((weight.rounding(w) - w).norm() / w.norm().clamp_min(1e-30))
        k = torch.log2(s).round().int()
        layers[weight.path.removeprefix("net.") or "net"] = LayerChange(
            weight.rounding.bits, (int(k.min()), int(k.max())), error
        )
    before, after = [_rates(each, batches) for each in (model, rounded)]
    difference, size = 0.0, 0.0
    for y, z in zip(before[1], after[1], strict=True):
        difference, size = difference + float((z - y).square().sum()), size + float(y.square().sum())
    rates = {path: (rate, after[0].get(path, 0.0)) for path, rate in before[0].items()}
    return Changes(layers, rates, (difference / max(size, 1e-30)) ** 0.5)


def _rates(model: SpikingNet, batches: list[Tensor]) -> tuple[dict[str, float], list[Tensor]]:
    """Return the rates of the spiking layers, and the outputs summed over time, in evaluation."""
    quiet = copied(model).eval()
    with SpikeMonitor(quiet) as monitor:
        outputs = [_sums(quiet, x) for x in batches]
    metrics = monitor.metrics()
    return {name.removesuffix("/rate"): rate for name, rate in metrics.items() if name.endswith("/rate")}, outputs
