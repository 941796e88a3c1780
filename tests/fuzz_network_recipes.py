"""Random networks for the fuzzer, as data that can be printed and built again.

Left out is what the trial of a network is known not to see: statistics that its first batch sets up, attributes of odd
types, numbers that count up to a threshold, mixing that hides behind a condition, closures that are used up.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import spikingtorch
from tests import fuzz_network_blocks as blocks
from tests.fuzz_network_blocks import Shape
from tests.fuzz_network_layers import Neuron, layer_of
from tests.fuzz_network_mixing import MIXES, Mixing

SAMPLES: dict[str, Shape] = {"vector": (5,), "sequence": (4, 6), "image": (3, 4, 4)}
# the type of the last init that a network was handed
HANDED: list[str] = [""]


class Block(NamedTuple):
    """A part of a network.

    Attributes:
        kind: one of PLAIN, TIMED or RESHAPES.
        option: which of its sort.
        neuron: the spiking layer in it.
        parts: what it runs, lists of blocks.
    """

    kind: str
    option: str = ""
    neuron: Neuron | None = None
    parts: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        given = {name: value for name, value in self._asdict().items() if value}
        return f"Block({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def inside(self) -> "Iterator[Block]":
        """Yield this block and those in it."""
        yield self
        for part in self.parts:
            for block in part:
                yield from block.inside()


class Network(NamedTuple):
    """A network: what it takes, one of SAMPLES, and its blocks in order."""

    form: str
    blocks: tuple[Block, ...]

    @property
    def mixes(self) -> bool:
        """Whether a block mixes samples or steps on purpose."""
        return any(block.kind == "mixing" for top in self.blocks for block in top.inside())

    @property
    def steady(self) -> bool:
        """Whether a second call computes what the first did."""
        options = [block.option for top in self.blocks for block in top.inside()]
        return not self.mixes and "spectral norm" not in options


class Net(nn.Module):
    """Blocks in a row."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        shape = self.takes = SAMPLES[network.form]
        self.parts = nn.ModuleList()
        for block in network.blocks:
            self.parts.append(module_of(block, shape))
            shape = shape_after(block, shape)
        self.gives = shape

    def forward(self, x: Tensor, init: Any) -> Tensor:
        HANDED[0] = type(init).__name__
        return blocks.run(self.parts, x, init)


PLAIN: dict[str, tuple[str, ...]] = {
    "weights": ("", "no bias", "lazy", "weight norm", "spectral norm"),
    "activation": ("ReLU", "Tanh", "GELU", "ReLU in place", "Hardtanh in place"),
    "in place": ("mul_", "clamp_", "index"),
    "layout": ("transposed", "sliced", "expanded", "flipped"),
    "norm": ("LayerNorm", "GroupNorm", "BatchNorm"),
    "dropout": ("0.0", "0.3"),
    "attention": ("",),
    "scripted": ("",),
}
TIMED: dict[str, tuple[type[blocks.Timed], tuple[str, ...]]] = {
    "residual": (blocks.Residual, ("h = h + f(h)", "h += f(h)", "f(h) += h", "h *= 0.5", "h = h * f(h)")),
    "branches": (blocks.Branches, ("cat", "difference")),
    "checkpoint": (blocks.Checkpointed, ("",)),
    "sharing": (blocks.Sharing, ("weights", "parameters")),
    "mixing": (Mixing, tuple(MIXES)),
}
RESHAPES = ("flatten", "view", "max pool", "average pool", "stride")
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "Tanh": nn.Tanh,
    "GELU": nn.GELU,
    "ReLU in place": lambda: nn.ReLU(inplace=True),
    "Hardtanh in place": lambda: nn.Hardtanh(0.0, 0.8, inplace=True),
}


def module_of(block: Block, shape: Shape) -> nn.Module:
    """Return a block for samples of a shape."""
    kind, option = block.kind, block.option
    layer = None if block.neuron is None else layer_of(block.neuron, shape)
    if kind == "spiking" and block.neuron is not None and layer is not None:
        wrapper = {"BioLIF": blocks.Excited, "Pair": blocks.Both}.get(block.neuron.kind)
        return layer if wrapper is None else wrapper(option, shape, layer, ())
    if kind in TIMED:
        parts = [nn.ModuleList(module_of(each, shape) for each in part) for part in block.parts]
        return TIMED[kind][0](option, shape, layer, parts)
    if kind in RESHAPES:
        return _changing(kind, shape)
    if kind == "sequential":
        return nn.Sequential(*[module_of(each, shape) for each in block.parts[0]])
    if kind == "norm":
        return _norm(option, shape)
    if kind == "scripted":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            scripted: nn.Module = torch.jit.script(blocks.Squashing())
            return scripted
    plain: dict[str, Callable[[], nn.Module]] = {
        "weights": lambda: _weights(option, shape),
        "activation": lambda: ACTIVATIONS[option](),
        "in place": lambda: blocks.InPlace(option),
        "layout": lambda: blocks.Layout(option),
        "dropout": lambda: nn.Dropout(float(option)),
        "attention": lambda: blocks.Attention(shape[0]),
    }
    return plain[kind]()


def _weights(option: str, shape: Shape) -> nn.Module:
    if option == "lazy" and len(shape) == 1:
        return nn.LazyLinear(shape[0])
    layer = blocks.weights(shape, shape, bias=option != "no bias")
    if option == "weight norm":
        parametrizations.weight_norm(layer)
    elif option == "spectral norm":
        parametrizations.spectral_norm(layer)
    return layer


def _norm(option: str, shape: Shape) -> nn.Module:
    if option == "LayerNorm":
        return nn.LayerNorm(list(shape))
    if option == "GroupNorm":
        return blocks.GroupNorm(1, shape[0])
    return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])


def _changing(kind: str, shape: Shape) -> nn.Module:
    axes = len(shape) - 1
    if kind in ("flatten", "view"):
        size = torch.Size(shape).numel()
        return nn.Sequential(nn.Flatten() if kind == "flatten" else blocks.View(), blocks.weights((size,), (5,)))
    if kind == "max pool":
        return blocks.Largest(shape)
    if kind == "average pool":
        return (nn.AvgPool1d, nn.AvgPool2d)[axes - 1](2)
    return (nn.Conv1d, nn.Conv2d)[axes - 1](shape[0], shape[0], 2, stride=2)


def shape_after(block: Block, shape: Shape) -> Shape:
    """Return the shape of what a block makes of samples of a shape."""
    if block.kind not in RESHAPES:
        return shape
    return (5,) if block.kind in ("flatten", "view") else (shape[0], *(size // 2 for size in shape[1:]))


def build(network: Network, seed: int, training: bool = False) -> spikingtorch.SpikingNet:
    """Return a network over time, in float64."""
    torch.manual_seed(seed)
    net = Net(network).double()
    return spikingtorch.SpikingNet(train(net) if training else net.eval(), net.gives)


def train(net: nn.Module) -> nn.Module:
    """Set a network to training, but for dropout that draws, since its masks depend on the mode."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            module.eval()
    return net
