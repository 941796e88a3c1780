"""summary: the layers of a network with their sizes, rates, and the operations and energy that one sample takes."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch.functional import dense, per_channel
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.network import Network, check_network
from spikingtorch.watching.recording import record

# energy of an operation on 32-bit floating-point numbers in a 45 nm process, in pJ: an addition, and a multiplication
# and an addition. M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014,
# doi:10.1109/ISSCC.2014.6757323
ADDITION, MULTIPLICATION = 0.9, 3.7
NOT_COUNTED = (
    "Not counted: neurons, biases, normalisations, pooling by maximum, attention, memory traffic; products other than "
    "linear layers and convolutions."
)


class Row(NamedTuple):
    """One layer.

    Attributes:
        name: in the network.
        kind: its class.
        shape: of its output for one sample and step.
        parameters: how many numbers it learns or keeps as weights.
        rate: share of neurons and steps in which a spiking layer's output is not zero; None for another one.
        macs: multiplications with an addition of all inputs, a sample and all steps; those of an ANN of this shape.
        synops: additions of a weight for inputs that are not zero, a sample and all steps, in the mean of the batch.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    rate: float | None
    macs: float
    synops: float


class Summary(NamedTuple):
    """What ``summary`` returns.

    Attributes:
        rows: the layers in the order of their definition.
        steps: T.
        addition: energy of one, in pJ.
        mac: energy of a multiplication and an addition, in pJ.
    """

    rows: tuple[Row, ...]
    steps: int
    addition: float
    mac: float

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def synops(self) -> float:
        """Additions for inputs that are not zero, of a sample."""
        return sum(row.synops for row in self.rows)

    @property
    def macs(self) -> float:
        """Products of all inputs, of a sample, over all steps."""
        return sum(row.macs for row in self.rows)

    @property
    def energy(self) -> float:
        """Energy of the additions of a sample, in nJ."""
        return 1e-3 * self.addition * self.synops

    @property
    def energy_of_ann(self) -> float:
        """Energy of one pass of an ANN of the same shape, in nJ: products of all inputs, for one step."""
        return 1e-3 * self.mac * self.macs / self.steps

    def __str__(self) -> str:
        head = ("layer", "class", "output", "parameters", "rate", "MACs", "SynOps", "energy (nJ)")
        body = [
            (
                row.name,
                row.kind,
                "x".join(map(str, row.shape)),
                f"{row.parameters:,}",
                "" if row.rate is None else f"{row.rate:.1%}",
                abbreviated(row.macs),
                abbreviated(row.synops),
                abbreviated(1e-3 * self.addition * row.synops),
            )
            for row in self.rows
        ]
        last = ("total", "", "", f"{self.parameters:,}", "", *map(abbreviated, (self.macs, self.synops, self.energy)))
        widths = [max(map(len, column)) for column in zip(head, *body, last, strict=True)]
        sides = [str.ljust] * 3 + [str.rjust] * 5
        lines = [
            "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
            for row in (head, *body, last)
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        note = (
            f"For one sample and its {self.steps} steps, at {self.addition:g} pJ an addition (45 nm). An ANN of this "
            f"shape: {abbreviated(self.macs / self.steps)} MACs, {abbreviated(self.energy_of_ann)} nJ at "
            f"{self.mac:g} pJ each."
        )
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", note, NOT_COUNTED])


def summary(model: Network, x: Tensor, *, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run a network once and say what it consists of, how much it fires, and what that takes.

    A spike makes each neuron behind it add one weight: that is a synaptic operation (SynOp). They are counted exactly,
    of linear layers, convolutions (a spike at the border reaches fewer neurons), average pooling and recurrent weights,
    for all inputs that are not zero, graded ones as well. The energy is what arithmetic alone would take on hardware
    that skips zeros; nothing is measured.

    Args:
        model: the network. Its state afterwards is that after the call; it is run as it is, in training or not.
        x: inputs, (N, T, ...); numbers are means over the samples.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ; by default 3.7 pJ and ``addition``.

    Returns:
        A table to be printed; its rows and totals are attributes.

    Raises:
        TypeError: model is no SpikingNet.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> found = summary(model, torch.ones(2, 5, 3))
    >>> found.macs, found.synops
    (60.0, 60.0)
    """
    check_network("summary", model)
    counting = Counting()
    with torch.no_grad():
        with model.watched(counting):
            recording = record(model, x, "spikes")
        N, T = x.shape[:2]
        rows = list(_rows(model, counting, recording, N))
    return Summary(tuple(rows), T, addition, addition + MULTIPLICATION if mac is None else mac)


def _rows(model: Network, counting: "Counting", recording: Mapping[str, Mapping[str, Tensor]], N: int) -> Iterator[Row]:
    for name, module in model.net.named_modules():
        own = sum(weight.numel() for weight in module.parameters(recurse=False))
        counts = [counting.found.pop(id(each), None) for each in module.parameters(recurse=False)]
        found = [each for each in counts if each is not None]
        if name in recording:
            spikes = recording[name]["spikes"]
            macs, synops = _recurrent(module, spikes)
            own += sum(weight.numel() for weight in module.parameters()) - own
            rate = float((spikes != 0).double().mean())
            yield Row(name, type(module).__name__, tuple(spikes.shape[2:]), own, rate, macs / N, synops / N)
        elif found:
            macs, synops = (sum(getattr(each, kind) for each in found) for kind in ("macs", "synops"))
            yield Row(name or "(network)", type(module).__name__, found[-1].shape, own, None, macs / N, synops / N)
        elif own and not _within_layer(model, name):
            yield Row(name or "(network)", type(module).__name__, (), own, None, 0.0, 0.0)
    if counting.pooled.macs:
        pooled = counting.pooled
        yield Row("(average pooling)", "", pooled.shape, 0, None, pooled.macs / N, pooled.synops / N)


def _within_layer(model: Network, name: str) -> bool:
    """Say whether a module is a part of a spiking layer, its recurrent weights for instance."""
    parts = name.split(".")
    above = [".".join(parts[:k]) for k in range(len(parts))]
    return any(isinstance(model.net.get_submodule(path), StepLayer) for path in above)


class Count(NamedTuple):
    """Operations of a layer over all samples and steps, and the shape of its output for one."""

    macs: float
    synops: float
    shape: tuple[int, ...]


class Counting(NetworkMode):
    """Counts the operations of linear layers, convolutions and average pooling.

    Attributes:
        found: by the identity of the weights.
        pooled: those of average pooling, which has none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, Count] = {}
        self.pooled = Count(0.0, 0.0, ())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what was called, and count."""
        out = func(*args, **(kwargs or {}))
        counted = _COUNTED.get(func)
        if counted is not None:
            weight, count = counted(out, *args, **(kwargs or {}))
            before = self.pooled if weight is None else self.found.get(id(weight), Count(0.0, 0.0, ()))
            total = Count(before.macs + count.macs, before.synops + count.synops, count.shape)
            if weight is None:
                self.pooled = total
            else:
                self.found[id(weight)] = total
        return out


def _linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Count]:  # noqa: ARG001
    outputs = weight.shape[0]
    return weight, Count(float(input.numel() * outputs), float(input.count_nonzero() * outputs), tuple(out.shape[1:]))


def _convolution(
    out: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,  # noqa: ARG001
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Count]:
    axes = weight.ndim - 2
    batched = input if input.ndim == weight.ndim else input.unsqueeze(0)
    fanout = _reach(batched, weight.shape[2:], (stride, padding, dilation), axes) * (weight.shape[0] // groups)
    there = (batched != 0).to(fanout.dtype).sum((0, 1))
    whole = fanout.sum() * batched.shape[0] * batched.shape[1]
    return weight, Count(float(whole), float((there * fanout).sum()), tuple(out.shape[1:]))


def _reach(images: Tensor, kernel: Any, options: tuple[Any, Any, Any], axes: int) -> Tensor:
    """Return how many places of the output each place of the input reaches, (*size)."""
    stride, padding, dilation = options
    size = images.shape[2:]
    x = torch.zeros(1, 1, *size, dtype=torch.float64, requires_grad=True)
    run: Any = (nnf.conv1d, nnf.conv2d, nnf.conv3d)[axes - 1]
    with torch.enable_grad():
        out = run(x, torch.ones(1, 1, *kernel, dtype=torch.float64), None, stride, padding, dilation)
        (found,) = torch.autograd.grad(out.sum(), x)
    return found[0, 0].detach().round()


def _pooling(axes: int) -> Any:
    def count(
        out: Tensor,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        *_: Any,
        **__: Any,
    ) -> tuple[None, Count]:
        kernel = (kernel_size,) * axes if isinstance(kernel_size, int) else tuple(kernel_size)
        fanout = _reach(input, kernel, (kernel if stride is None else stride, padding, 1), axes)
        there = (input != 0).to(fanout.dtype).sum((0, 1))
        whole = fanout.sum() * input.shape[0] * input.shape[1]
        return None, Count(float(whole), float((there * fanout).sum()), tuple(out.shape[1:]))

    return count


_COUNTED: dict[Any, Any] = {
    nnf.linear: _linear,
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolution),
    **{function: _pooling(axes) for axes, function in enumerate((nnf.avg_pool1d, nnf.avg_pool2d, nnf.avg_pool3d), 1)},
}


def _recurrent(layer: nn.Module, spikes: Tensor) -> tuple[float, float]:
    """Return the operations of the recurrent weights of a layer: each spike but those of the last step comes back."""
    if not isinstance(layer, StepLayer) or layer.synapse is None:
        return 0.0, 0.0
    before = spikes[:, :-1]
    if layer.synapse is dense:
        size = spikes.shape[-1]
        return float(spikes[:, :-1].numel() * size), float(before.count_nonzero() * size)
    if layer.synapse is per_channel:
        return float(before.numel()), float(before.count_nonzero())
    back: Any = layer.recurrent
    _, count = _convolution(before, before.flatten(0, 1), back.weight, padding="same", groups=back.groups)
    return count.macs, count.synops


def abbreviated(number: float) -> str:
    """Return a number of operations for people."""
    for unit in ("", "K", "M", "G", "T"):
        if abs(number) < 1000 or unit == "T":
            return f"{number:.3g}{unit}"
        number /= 1000
    raise AssertionError
