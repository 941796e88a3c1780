"""Parts of the networks that the fuzzer runs: modules as people write them, and some that make a network step.

Spiking layers are of every kind of the library, and of steps that a user could have written.
"""

import copy
import operator
import random
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations as parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import spikingtorch
from spikingtorch import LIF, StepLayer
from spikingtorch import functional as F
from tests.fold.corpus.operations import OPERATIONS
from tests.fold.corpus.operations_layers import LAYERS, MATRICES
from tests.fold.corpus.operations_oracle import noise

Shape = tuple[int, ...]
# the calls of operations, but for those that draw, and matrices, whose gradients ask for more than random numbers
ROWS = {name: row for name, row in (OPERATIONS | LAYERS).items() if not row.draws and name not in MATRICES}

_iadd: Callable[[Any, Any], Any] = operator.iadd
_imul: Callable[[Any, Any], Any] = operator.imul


def _row(block: Any, h: Any, init: Any) -> Any:
    for part in block:
        h = part(h, init) if isinstance(part, Timed | StepLayer) else part(h)
    return h


def _pair(block: Any, h: Tensor, init: Any) -> Any:
    spike, u, large = block[0](h, init)
    return spike + 0.1 * u * large


def _count(block: Any, h: Tensor, init: Any) -> Any:
    block.n += 1
    return h * (1 + 0.1 * (block.n % 3))


def _previous(block: Any, h: Tensor, init: Any) -> Tensor:
    last, block.last = block.last, h.detach().clone()
    return h if last is None or last.shape != h.shape else h + 0.3 * last


def _running(block: Any, h: Any, init: Any) -> Any:
    block.mean.mul_(0.9).add_(0.1 * h.detach().mean() if h.numel() else 0.0)
    return h - block.mean


# what blocks do with their parts: rows of blocks, layers, and weights behind them
TIMED: dict[str, Callable[[Any, Tensor, Any], Any]] = {
    "row": _row,
    "layer of two inputs": lambda block, h, init: block[0](h.abs(), 0.5 * h.clamp(min=0.0), init),
    "layer of three outputs": _pair,
    "h = h + f(h)": lambda block, h, init: h + block[0](h, init),
    "h += f(h)": lambda block, h, init: _iadd(h, block[0](h, init)),
    "f(h) += h": lambda block, h, init: _iadd(block[0](h, init), h),
    "h *= 0.5": lambda block, h, init: block[0](h, init) + _imul(h, 0.5),
    "h = h * f(h)": lambda block, h, init: h * block[0](h, init),
    "cat": lambda block, h, init: block[2](torch.cat([block[0](h, init), block[1](h, init)], 1)),
    "difference": lambda block, h, init: block[0](h, init) - 0.5 * block[1](h, init),
    "checkpoint": lambda block, h, init: checkpoint(lambda h: block[0](h, init), h, use_reentrant=False),
    "shared weights": lambda block, h, init: block[1](block[0](block[1](h), init)),
    "shared parameters": lambda block, h, init: block[1](block[0](block[2](h), init) - 0.3, init=init),
    # these make a network step
    "mixing: size": lambda block, h, init: h * (1 + 1 / (1 + h.shape[0])),
    "mixing: count": _count,
    "mixing: previous": _previous,
    "mixing: running": _running,
    "mixing: init": lambda block, h, init: h if init else 0.9 * h,
    "mixing: value": lambda block, h, init: h if h.sum() > 0 else -h,
    "mixing: python": lambda block, h, init: h * random.random(),
    "mixing: torch": lambda block, h, init: h * torch.rand((), dtype=h.dtype),
    "mixing: noisy": lambda block, h, init: block[0](h, init),
    "mixing: membrane": lambda block, h, init: block[0](h, init) + 0.1 * block[0].v,
    "mixing: twice": lambda block, h, init: block[0](0.7 * block[0](h, init), False),
    "mixing: without init": lambda block, h, init: block[0](h),
    "mixing: always new": lambda block, h, init: block[0](h, True),
    # this folds
    "mixing: training": lambda block, h, init: block[0](h, init) if block.training else h,
    # these fold until an attribute is set
    "mixing: switch": lambda block, h, init: h - h.mean(0) if block.on else h,
    "mixing: strength": lambda block, h, init: h - block.strength * h.mean(0),
}


class Timed(nn.ModuleList):
    """A block that hands init on: what it does, one of TIMED, and its parts."""

    def __init__(self, what: str, *parts: nn.Module) -> None:
        super().__init__(parts)
        self.what, self.n, self.on, self.strength = what, 0, False, 0.0
        self.last: Any = None
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, h: Tensor, init: Any) -> Any:
        return TIMED[self.what](self, h, init)


def _index(h: Tensor) -> Tensor:
    h[:, 0] = 0.5 * h[:, 1]
    return h


PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    # on whatever comes before it
    "in place: mul_": lambda h: h.mul_(0.7),
    "in place: clamp_": lambda h: h.clamp_(-0.6, 0.6),
    "in place: index": _index,
    # what comes before it in another layout, or with numbers that share a place
    "transposed": lambda h: h.transpose(0, -1).contiguous().transpose(0, -1),
    "sliced": lambda h: torch.cat([h, h], -1)[..., : h.shape[-1]],
    "expanded": lambda h: h.mean(1, keepdim=True).expand_as(h),
    "flipped": lambda h: h.flip(-1),
    "contiguous": lambda h: h.contiguous(),
    "view": lambda h: h.reshape(h.size(0), -1),
}


class Plain(nn.Module):
    """A function of samples, one of PLAIN."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, h: Tensor) -> Tensor:
        return PLAIN[self.what](h)


class Called(nn.Module):
    """A call of the table of operations, with samples that are repeated and cut to what it takes."""

    places: Tensor

    def __init__(self, name: str, how: str) -> None:
        super().__init__()
        self.shape, self.code = ROWS[name].shape, ROWS[name].calls(how == "keeping")[""]
        self.register_buffer("places", noise(1, self.shape, 1))

    def forward(self, h: Tensor) -> Tensor:
        # from 0 to 1, as the table has them, and no two the same, so that none is about to flip
        x = torch.sigmoid(fitted(h, self.shape) + self.places)
        return fitted(self.code(x), h.shape[1:]).tanh()


def fitted(h: Tensor, shape: Sequence[int]) -> Tensor:
    """Return as many numbers of each sample as a shape has."""
    size, flat = torch.Size(shape).numel(), h.flatten(1)
    return flat.repeat(1, -(-size // max(flat.shape[1], 1)))[:, :size].view(len(h), *shape)


class Attention(nn.Module):
    """Attention over the places of a sample."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.l = nn.Linear(C, 3 * C, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.l(h.flatten(2).transpose(1, 2)).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(h.shape)


class Offset(nn.Module):
    """Makes no two values the same whatever the input is, so that a maximum is one of them."""

    offset: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("offset", 0.01 * torch.rand(shape))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.offset


def weights(given: Shape, shape: Shape, *, bias: bool = True) -> nn.Module:
    """Return a matrix or a convolution from one shape to another of the same rank, so large that neurons spike."""
    rank = len(shape)
    kinds: tuple[Any, ...] = (nn.Linear, nn.Conv1d, nn.Conv2d)
    options: dict[str, Any] = {} if rank == 1 else {"kernel_size": 3, "padding": "same"}
    layer: nn.Module = kinds[rank - 1](given[0], shape[0], bias=bias, **options)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(2.0)
    return layer


def twins(layer: Any) -> tuple[nn.Module, nn.Module]:
    """Return two layers of one parameter."""
    other = copy.deepcopy(layer)
    for name, value in layer.named_parameters(recurse=False):
        setattr(other, name, value)
    other.recurrent = layer.recurrent
    return layer, other


# --- spiking layers ---------------------------------------------------------------------------------------------------

# a surrogate and a reset rule; few, because each neuron and pair of them is a kernel to compile
STYLES: dict[str, tuple[F.Surrogate, F.Reset]] = {
    "plain": (F.Sigmoid(4.0), F.to_zero),
    "subtracting": (F.Arctan(), F.by_subtraction),
    "leaving": (F.FastSigmoid(3.0), F.none),
    "detached": (F.Gaussian(), F.detached(F.to_zero)),
}
# of the parameters of a layer
FORMS = ("float", "learned", "learned per channel", "buffer")


# a: what recent spikes added to the threshold; left: how many steps a neuron still rests; last: the last input itself
Adaptive = namedtuple("Adaptive", ["v", "a"])
Pausing = namedtuple("Pausing", ["v", "left"])
Fired = namedtuple("Fired", ["v", "fired"])
Last = namedtuple("Last", ["last"])


def adaptive_step(state: Adaptive, x: Tensor, *, decay: Any, surrogate: Any) -> tuple[Adaptive, Tensor]:
    u = decay * state.v + x
    spike = surrogate(u - 0.4 - state.a)
    return Adaptive((1 - spike) * u, decay * state.a + 0.3 * spike), spike


def pausing_step(state: Pausing, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[Pausing, Tensor]:
    u = torch.where(state.left > 0, state.v, 0.8 * state.v + x)
    spike = surrogate(u - threshold)
    left = torch.where(spike.detach() > 0.5, 2, (state.left - 1).clamp(min=0))
    return Pausing((1 - spike) * u, left), spike


def fired_step(state: Fired, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[Fired, Tensor]:
    u = torch.where(state.fired, 0.2 * state.v, 0.8 * state.v + x)
    spike = surrogate(u - threshold)
    return Fired(u - 0.3 * spike, spike.detach() > 0.5), spike


def difference_step(state: Last, x: Tensor, *, share: Any) -> tuple[Last, Tensor]:
    return Last(x), x - share * state.last


def lateral_step(state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[F.LIFState, Tensor]:
    """Advance neurons that inhibit each other, which no kernel does."""
    u = 0.7 * state.v + x - 0.5 * x.mean(-1, keepdim=True)
    spike = surrogate(u - threshold)
    return F.LIFState((1 - spike) * u), spike


def pair_step(state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[F.LIFState, Any]:
    """Advance a neuron that shows its membrane, and whether it is large."""
    u = 0.7 * state.v + x
    spike = surrogate(u - threshold)
    return F.LIFState(u - spike * threshold), (spike, u, u > 0.9)


class Gained:
    """A step with a number of its own, which somebody may change."""

    def __init__(self) -> None:
        self.gain = 0.9

    def __call__(self, state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[F.LIFState, Tensor]:
        u = 0.6 * state.v + self.gain * x
        spike = surrogate(u - threshold)
        return F.LIFState(u * (1 - spike)), spike


class Own(StepLayer):
    """A step of a user's, whose counters and flags have dtypes of their own."""

    def rest_state(self, x: Tensor) -> Any:
        rest = super().rest_state(x)
        if isinstance(rest, Pausing):
            return rest._replace(left=rest.left.long())
        return rest._replace(fired=rest.fired.bool()) if isinstance(rest, Fired) else rest


class Learning(LIF):
    """A neuron that learns a number."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.learned = nn.Parameter(torch.tensor(0.3))


class Raised(Learning):
    """A neuron that learns where it rests."""

    def rest_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(self.learned.expand_as(x))


class Parametric(Learning):
    """A neuron that learns its leak through a sigmoid."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"decay": torch.sigmoid(self.learned)}


class Noisy(LIF):
    """A neuron whose threshold is drawn at random whenever its parameters are asked for."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"threshold": 0.4 + 0.2 * torch.rand((), dtype=torch.float64)}


class Slope(nn.Module):
    """A surrogate that learns its slope, and is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(3.0))

    def forward(self, u: Tensor) -> Tensor:
        smooth = torch.sigmoid(self.beta * u)
        return (u >= 0).to(u) + smooth - smooth.detach()


# of values around a centre, and of what every layer takes, what one that fires takes, and what one that resets takes
MAKERS: dict[str, Callable[..., StepLayer]] = {
    "LIF": lambda v, every, fires, resets: LIF(v(4.0), v(0.37), **resets),
    "IF": lambda v, every, fires, resets: spikingtorch.IF(v(0.37), **resets),
    "CoarseLIF": lambda v, every, fires, resets: spikingtorch.CoarseLIF(v(4.0), v(0.37), **fires),
    "LI": lambda v, every, fires, resets: spikingtorch.LI(v(4.0), **every),
    "SpikingDecay": lambda v, every, fires, resets: spikingtorch.SpikingDecay(v(1.7), v(0.37), **resets),
    "McPitts": lambda v, every, fires, resets: spikingtorch.McPitts(v(0.37), **fires),
    "BioLIF": lambda v, every, fires, resets: spikingtorch.BioLIF(0.5, v(0.2), **resets),
    "CubaLIF": lambda v, every, fires, resets: spikingtorch.CubaLIF(v(2.0), v(4.0), v(0.37), **resets),
    "ALIF": lambda v, every, fires, resets: spikingtorch.ALIF(v(4.0), v(0.37), v(16.0), v(0.5), **resets),
    "AdEx": lambda v, every, fires, resets: spikingtorch.AdEx(v(3.0), v(0.5), **resets),
    "Resting": lambda v, every, fires, resets: LIF(v(2.0), v(0.37), dt=0.5, refractory=1.0, **resets),
    "Delay": lambda v, every, fires, resets: spikingtorch.Delay(v(1.25), 4, **every),
    "Adaptive": lambda v, every, fires, resets: Own(adaptive_step, Adaptive, decay=v(0.8), **fires),
    "Pausing": lambda v, every, fires, resets: Own(pausing_step, Pausing, threshold=v(0.37), **fires),
    "Fired": lambda v, every, fires, resets: Own(fired_step, Fired, threshold=v(0.37), **fires),
    "Last": lambda v, every, fires, resets: Own(difference_step, Last, share=v(0.5), **every),
    "Raised": lambda v, every, fires, resets: Raised(v(4.0), v(0.37), **resets),
    "Parametric": lambda v, every, fires, resets: Parametric(v(4.0), v(0.37), **resets),
    "Sloped": lambda v, every, fires, resets: Own(adaptive_step, Adaptive, decay=0.8, surrogate=Slope(), **every),
    "Lateral": lambda v, every, fires, resets: Own(lateral_step, F.LIFState, threshold=v(0.37), **fires),
    "Pair": lambda v, every, fires, resets: Own(pair_step, F.LIFState, threshold=v(0.37), **fires),
    "Gained": lambda v, every, fires, resets: Own(Gained(), F.LIFState, threshold=v(0.37), **fires),
    "Noisy": lambda v, every, fires, resets: Noisy(v(4.0), v(0.37), **resets),
}
# a noisy one is no kind to draw: it must make its network step, or draw as often as the steps do
KINDS = tuple(kind for kind in MAKERS if kind != "Noisy")


def layer(kind: str, style: str, form: str, recurrent: str, shape: tuple[int, ...]) -> StepLayer:
    """Return a layer for samples of a shape: one of MAKERS, STYLES and FORMS, and its recurrent weights."""
    surrogate, reset = STYLES[style]
    every = {"recurrent": None if kind == "Pair" else _weights(recurrent, shape)}
    fires = every | {"surrogate": surrogate}
    made = MAKERS[kind](partial(_value, form, shape), every, fires, fires | {"reset": reset})
    if isinstance(made, spikingtorch.BioLIF):
        made.track_act = form != "float"
    return made


def _value(form: str, shape: tuple[int, ...], centre: float) -> Any:
    if form == "float":
        return centre
    channels = torch.linspace(0.8, 1.3, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    value = centre * (torch.tensor(1.0) if form == "learned" else channels)
    return value if form == "buffer" else nn.Parameter(value)


def _weights(kind: str, shape: tuple[int, ...]) -> Any:
    C = shape[0]
    if kind == "none":
        return None
    if kind == "per channel":
        return torch.linspace(-0.6, 0.4, C).reshape(C, *(1,) * (len(shape) - 1))
    if len(shape) == 1:
        return nn.Linear(C, C, bias=False)
    return (nn.Conv1d if len(shape) == 2 else nn.Conv2d)(C, C, 3, padding="same", bias=False)


class Margins(TorchDispatchMode):
    """Notes how near to the threshold a membrane of a reference came, which runs step by step."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.least = 1.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._opname == "ge" and args[0].numel():
            self.least = min(self.least, float((args[0] - args[1]).abs().min()))
        return func(*args, **(kwargs or {}))
