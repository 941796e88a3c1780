"""Adaptive neurons, recurrent ones and a readout with batch norm over time, from the equations of their paper.

    w[t] = beta w[t-1] + a u[t-1] + b s[t-1]
    u[t] = alpha (u[t-1] - s[t-1]) + (1 - alpha) (I[t] - w[t])
    s[t] = u[t] > 1

I is the batch norm, over batch and time, of W x[t], and in a recurrent layer V s[t-1] comes on top of it, V without a
diagonal. A LIF neuron has no w. The readout is the sum over time of the softmax of leaky integrators. The constants
alpha, beta, a and b are learned, one value for each neuron, between bounds. Sequences start at zero.

A. Bittar, P. N. Garner, "A surrogate gradient spiking baseline for speech command recognition", Frontiers in
Neuroscience 16, 2022, doi:10.3389/fnins.2022.865897.
"""

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikingtorch import SpikingNet, StepLayer
from spikingtorch.functional import FromDerivative, Strict
from tests.peers.compared import compare

T, N, INPUTS, HIDDEN, CLASSES = 40, 5, 12, 16, 4
BOUNDS = {"alpha": (math.exp(-1 / 5), math.exp(-1 / 25)), "beta": (math.exp(-1 / 30), math.exp(-1 / 120))}
BOUNDS |= {"a": (-1.0, 1.0), "b": (0.0, 2.0)}
LAYERS = {"LIF": ("alpha",), "adLIF": ("alpha", "beta", "a", "b")}
pytestmark = pytest.mark.usefixtures("in_float64")


def drawn(name: str, neurons: int) -> Tensor:
    """Return a constant for each neuron; a few are out of bounds."""
    low, high = BOUNDS[name]
    return low + (high - low) * (1.2 * torch.rand(neurons) - 0.1)


def within(name: str, constant: Any) -> Any:
    return torch.clamp(constant, *BOUNDS[name])


class Boxcar(torch.autograd.Function):
    """A spike above zero, whose derivative is one within half of the threshold."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 0.0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        found: Tensor = gradients[0] * ((u > -0.5) & (u <= 0.5))
        return found


class Layer(nn.Module):
    """A layer of the paper over time, (T, N, C)."""

    def __init__(self, inputs: int, neurons: int, kind: str, fed_back: bool = False) -> None:
        super().__init__()
        self.W, self.norm = nn.Linear(inputs, neurons, bias=False), nn.BatchNorm1d(neurons, momentum=0.05)
        self.constants = nn.ParameterDict({name: drawn(name, neurons) for name in LAYERS[kind]})
        self.V = nn.Linear(neurons, neurons, bias=False) if fed_back else None

    def current(self, x: Tensor) -> Tensor:
        current: Tensor = self.norm(self.W(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        return current

    def forward(self, x: Tensor) -> Tensor:
        constants = {name: within(name, each) for name, each in self.constants.items()}
        alpha, adapts = constants["alpha"], len(constants) > 1
        current = self.current(x)
        u, w, s = (torch.zeros_like(current[0]) for _ in range(3))
        back = None if self.V is None else self.V.weight - torch.diag(torch.diag(self.V.weight))
        spikes = []
        for I in current:  # noqa: E741
            if adapts:
                w = constants["beta"] * w + constants["a"] * u + constants["b"] * s
            fed = I if back is None else I + s @ back.T
            u = alpha * (u - s) + (1.0 - alpha) * (fed - w)
            s = Boxcar.apply(u - 1.0)  # type: ignore[no-untyped-call]
            spikes.append(s)
        return torch.stack(spikes)


class Readout(Layer):
    """Leaky integrators, and the softmax of each step, of which the sum over time is the answer."""

    def forward(self, x: Tensor) -> Tensor:
        alpha = within("alpha", self.constants["alpha"])
        u, shares = torch.zeros(()), []
        for I in self.current(x):  # noqa: E741
            u = alpha * u + (1.0 - alpha) * I
            shares.append(torch.softmax(u, 1))
        return torch.stack(shares)


class State(NamedTuple):
    """Membrane, adaptation and spike."""

    u: Tensor
    w: Tensor
    s: Tensor


class Membrane(NamedTuple):
    """Membrane alone."""

    u: Tensor


SPIKE = Strict(FromDerivative(lambda u: (u.abs() < 0.5).to(u.dtype)))


def adlif_step(state: State, x: Tensor, *, alpha: Any, beta: Any, a: Any, b: Any) -> tuple[State, Tensor]:
    """Advance neurons with adaptation."""
    decay = within("alpha", alpha)
    w = within("beta", beta) * state.w + within("a", a) * state.u + within("b", b) * state.s
    u = decay * (state.u - state.s) + (1.0 - decay) * (x - w)
    s = SPIKE(u - 1.0)
    return State(u, w, s), s


def lif_step(state: State, x: Tensor, *, alpha: Any) -> tuple[State, Tensor]:
    """Advance neurons without adaptation."""
    decay = within("alpha", alpha)
    u = decay * (state.u - state.s) + (1.0 - decay) * x
    s = SPIKE(u - 1.0)
    return State(u, state.w, s), s


def integrate(state: Membrane, x: Tensor, *, alpha: Any) -> tuple[Membrane, Tensor]:
    """Advance leaky integrators."""
    decay = within("alpha", alpha)
    u = decay * state.u + (1.0 - decay) * x
    return Membrane(u), u


class NoDiagonal(nn.Module):
    """Recurrent weights from each neuron to the others alone."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight - torch.diag(torch.diag(weight))


class LayerHere(nn.Module):
    """A layer of ours, with batch norm in front of a step that is given."""

    def __init__(self, inputs: int, neurons: int, kind: str, step: Any, state: Any, fed_back: bool = False) -> None:
        super().__init__()
        self.W, self.norm = nn.Linear(inputs, neurons, bias=False), nn.BatchNorm1d(neurons, momentum=0.05)
        back: Any = None
        if fed_back:
            back = nn.Linear(neurons, neurons, bias=False)
            parametrize.register_parametrization(back, "weight", NoDiagonal())
        constants: Any = {name: drawn(name, neurons) for name in LAYERS[kind]}
        self.neurons = StepLayer(step, state, learnable=True, recurrent=back, **constants)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.neurons(self.norm(self.W(x)), init)
        return out


class Here(nn.Module):
    """The same in one step."""

    def __init__(self, kind: str, fed_back: bool) -> None:
        super().__init__()
        step: Any = adlif_step if kind == "adLIF" else lif_step
        self.first = LayerHere(INPUTS, HIDDEN, kind, step, State, fed_back)
        self.second = LayerHere(HIDDEN, HIDDEN, kind, step, State, fed_back)
        self.readout = LayerHere(HIDDEN, CLASSES, "LIF", integrate, Membrane)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return torch.softmax(self.readout(self.second(self.first(x, init), init), init), 1)


class There(nn.Module):
    """The whole network, all steps of a layer before those of the next."""

    def __init__(self, kind: str, fed_back: bool) -> None:
        super().__init__()
        self.first = Layer(INPUTS, HIDDEN, kind, fed_back)
        self.second = Layer(HIDDEN, HIDDEN, kind, fed_back)
        self.readout = Readout(HIDDEN, CLASSES, "LIF")

    def forward(self, x: Tensor) -> Tensor:
        shares: Tensor = self.readout(self.second(self.first(x)))
        return shares


@pytest.mark.parametrize("fed_back", [False, True], ids=["", "recurrent"])
@pytest.mark.parametrize("kind", LAYERS)
def test_networks_for_speech_commands(kind: str, fed_back: bool) -> None:
    theirs = There(kind, fed_back)
    with torch.no_grad():
        for name in ("first", "second"):
            theirs.get_parameter(f"{name}.norm.bias").fill_(1.0)  # so that the neurons fire
    ours = SpikingNet(Here(kind, fed_back), batch_first=False, statistics="sequence")
    back = "neurons.recurrent.parametrizations.weight.original"
    names = {key: key.replace("constants.", "neurons.").replace("V.weight", back) for key in theirs.state_dict()}
    compare(theirs, ours, torch.randn(T, N, INPUTS), names)
