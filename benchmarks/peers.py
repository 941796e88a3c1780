"""Other libraries' LIF neurons, each in the fastest form that its documentation shows for a CPU.

All of them compute u[t] = DECAY v[t-1] + x[t], spike at u = 1 and set v to zero; README.md says where they differ.
Every import of a library stands inside its function: a worker loads only the one that it times.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.case import Size
from benchmarks.inputs import BETA, DECAY, TAU, THRESHOLD, draw
from benchmarks.subject import Subject, from_torch


class Peer(NamedTuple):
    """A library's neuron, and what it says it computes.

    Args:
        run: from inputs to spikes.
        primitive: the function whose derivative its surrogate is.
        time: its axis of time.
        gain: factor that it puts on its input; the input is divided by it beforehand.
        detached: no gradient flows through its reset.
    """

    run: Callable[[Tensor], Tensor]
    primitive: Callable[[Tensor], Tensor]
    time: int = 0
    gain: float = 1.0
    detached: bool = False


def logistic(u: Tensor) -> Tensor:
    """Return the primitive that eager, spikingjelly and ours share."""
    return torch.sigmoid(BETA * u)


class _Spike(torch.autograd.Function):
    """The surrogate as most people write it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        phi = torch.sigmoid(BETA * u)
        return cotangents[0] * (BETA * phi * (1.0 - phi))


def eager() -> Peer:
    """Return a plain loop over time in eager torch, without any library."""

    def run(xs: Tensor) -> Tensor:
        v = torch.zeros_like(xs[0])
        spikes = []
        for x in xs.unbind(0):
            u = DECAY * v + x
            spike: Tensor = _Spike.apply(u - THRESHOLD)  # type: ignore[no-untyped-call]
            v = (1.0 - spike) * u
            spikes.append(spike)
        return torch.stack(spikes)

    return Peer(run, logistic)


def spikingjelly() -> Peer:
    """Return ``LIFNode`` in multi-step mode, which runs a registered operator with a backward pass of its own."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    # without decay of the input: v - v / tau + x
    node = neuron.LIFNode(
        tau=1.0 / (1.0 - DECAY),
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=0.0,
        surrogate_function=surrogate.Sigmoid(alpha=BETA),
        detach_reset=False,
        step_mode="m",
    )

    def run(xs: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(xs)
        return spikes

    return Peer(run, logistic)


def snntorch() -> Peer:
    """Return ``Leaky`` that holds its own state, in a loop; 15 % faster than with the state handed through."""
    import snntorch as snn
    from snntorch import surrogate

    # not surrogate.sigmoid, which is slower, and NaN where exp overflows
    neuron = snn.Leaky(
        beta=DECAY,
        threshold=THRESHOLD,
        spike_grad=surrogate.fast_sigmoid(slope=BETA),
        reset_mechanism="zero",
        init_hidden=True,
    )

    def run(xs: Tensor) -> Tensor:
        neuron.reset_mem()
        return torch.stack([neuron(x) for x in xs.unbind(0)])

    return Peer(run, primitive=lambda u: u / (1.0 + BETA * u.abs()), detached=True)


def _norse_cell() -> Any:
    from norse.torch import LIFBoxCell, LIFBoxParameters

    # dv = dt tau_mem_inv (x - v), and dt is 1 ms
    return LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor((1.0 - DECAY) / 1e-3)))


def _super(u: Tensor) -> Tensor:
    # the derivative is 1 / (1 + |u|)^2: norse 1.1 ignores the slope
    return u / (1.0 + u.abs())


def norse() -> Peer:
    """Return ``LIFBoxCell`` in a loop over ``unbind``, which avoids the cost of ``Lift``'s indexing."""
    cell = _norse_cell()

    def run(xs: Tensor) -> Tensor:
        state = None
        spikes = []
        for x in xs.unbind(0):
            spike, state = cell(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return Peer(run, _super, gain=1.0 - DECAY)


def norse_lift() -> Peer:
    """Return ``Lift(LIFBoxCell)``, its multi-step form; its backward pass costs O(T^2)."""
    from norse.torch import Lift

    lifted = Lift(_norse_cell())
    return Peer(lambda xs: lifted(xs)[0], _super, gain=1.0 - DECAY)


def sinabs() -> Peer:
    """Return ``LIF``, batch first, with one spike a step and reset to zero; its backward pass costs O(T^2)."""
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIF

    layer = LIF(tau_mem=TAU, spike_fn=SingleSpike, reset_fn=MembraneReset(), norm_input=False)
    # nobody else computes the gradient of a time constant here
    layer.requires_grad_(False)

    def run(xs: Tensor) -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(xs)
        return spikes

    return Peer(run, _two_sided_exponential, time=1, detached=True)


def _two_sided_exponential(u: Tensor) -> Tensor:
    # the derivative is exp(-|u| / width) / width with width 1/2, at zero as well, where u.sign() would have none
    side = torch.where(u >= 0, 1.0, -1.0)
    return side * (1.0 - torch.exp(-2.0 * side * u))


PEERS: dict[str, Callable[[], Peer]] = {
    "eager loop": eager,
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "norse": norse,
    "norse, Lift": norse_lift,
    "sinabs": sinabs,
}


def neuron(name: str, size: Size) -> Subject:
    """Return the LIF neuron of a peer."""
    peer = PEERS[name]()
    xs, cotangent = draw(size)
    return from_torch(peer.run, xs, cotangent, time=peer.time, scale=1.0 / peer.gain)


def as_documented(name: str, size: Size) -> Subject:
    """Return a plain loop that computes what a peer documents, to check the peer against."""
    peer = PEERS[name]()
    xs, cotangent = draw(size)

    def run(inputs: Tensor) -> Tensor:
        v = torch.zeros_like(inputs[0])
        spikes = []
        for x in inputs.unbind(0):
            u = DECAY * v + peer.gain * x
            phi = peer.primitive(u - THRESHOLD)
            spike = (u >= THRESHOLD).to(u.dtype) + (phi - phi.detach())
            v = (1.0 - (spike.detach() if peer.detached else spike)) * u
            spikes.append(spike)
        return torch.stack(spikes)

    return from_torch(run, xs, cotangent, scale=1.0 / peer.gain)
