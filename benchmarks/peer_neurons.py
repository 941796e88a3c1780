"""Other libraries' neurons, one step at a time, and what they say they compute.

All of them compute u[t] = decay v[t-1] + x[t], spike at u = 1 and set v to zero; README.md says where they differ. With
a decay of one they are integrate-and-fire neurons, for which some of the libraries have a class of their own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.inputs import BETA, THRESHOLD


class Peer(NamedTuple):
    """A library's neuron, or a network of it, and what it says it computes.

    Args:
        run: from inputs to spikes.
        primitive: the function whose derivative its surrogate is.
        time: its axis of time.
        gain: factor that a neuron puts on its input; the input, or the weights, are divided by it beforehand.
        detached: no gradient flows through its reset.
        weight: its recurrent weights, which have a gradient; None for a neuron whose spikes do not come back.
    """

    run: Callable[[Tensor], Tensor]
    primitive: Callable[[Tensor], Tensor]
    time: int = 0
    gain: float = 1.0
    detached: bool = False
    weight: Tensor | None = None


def logistic(u: Tensor) -> Tensor:
    """Return the primitive that eager, spikingjelly and ours share."""
    return torch.sigmoid(BETA * u)


class Spike(torch.autograd.Function):
    """The surrogate as most people write it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        """Return H(u)."""
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        """Return the cotangent times the derivative of the logistic function."""
        (u,) = ctx.saved_tensors
        phi = torch.sigmoid(BETA * u)
        return cotangents[0] * (BETA * phi * (1.0 - phi))


def spikingjelly_node(decay: float, step_mode: str = "m") -> Any:
    """Return the node of SpikingJelly, multi-step, or single-step with "s"."""
    from spikingjelly.activation_based import neuron, surrogate

    options: dict[str, Any] = {
        "v_threshold": THRESHOLD,
        "v_reset": 0.0,
        "surrogate_function": surrogate.Sigmoid(alpha=BETA),
        "detach_reset": False,
        "step_mode": step_mode,
    }
    if decay == 1.0:
        return neuron.IFNode(**options)
    # without decay of the input: v - v / tau + x
    return neuron.LIFNode(tau=1.0 / (1.0 - decay), decay_input=False, **options)


def snntorch_neuron(decay: float) -> Any:
    """Return the neuron of snnTorch, which holds its own state."""
    import snntorch as snn
    from snntorch import surrogate

    return snn.Leaky(
        beta=decay,
        threshold=THRESHOLD,
        # not surrogate.sigmoid, which is slower, and NaN where exp overflows
        spike_grad=surrogate.fast_sigmoid(slope=BETA),
        reset_mechanism="zero",
        init_hidden=True,
    )


def snntorch_peer(run: Callable[[Tensor], Tensor]) -> Peer:
    """Return what computes with the neuron of snnTorch."""
    return Peer(run, primitive=lambda u: u / (1.0 + BETA * u.abs()), detached=True)


def norse_cell(decay: float) -> tuple[Any, Any]:
    """Return the cell of Norse, and the state that it starts from, None for the one that it makes itself."""
    import norse.torch as norse

    if decay == 1.0:
        from norse.torch.functional.iaf import IAFFeedForwardState

        # left to itself, the cell makes a gradient for its resting potential, and so for all cells of the process
        return norse.IAFCell(), IAFFeedForwardState(v=torch.zeros(()))
    # dv = dt tau_mem_inv (x - v), and dt is 1 ms
    return norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor((1.0 - decay) / 1e-3))), None


def norse_peer(run: Callable[[Tensor], Tensor], decay: float) -> Peer:
    """Return what computes with the cell of Norse."""
    # the derivative of the primitive is 1 / (1 + |u|)^2: norse 1.1 ignores the slope
    return Peer(run, lambda u: u / (1.0 + u.abs()), gain=1.0 if decay == 1.0 else 1.0 - decay)


def sinabs_peer(run: Callable[[Tensor], Tensor]) -> Peer:
    """Return what computes with the neuron of Sinabs."""
    return Peer(run, _two_sided_exponential, time=1, detached=True)


def _two_sided_exponential(u: Tensor) -> Tensor:
    # the derivative is exp(-|u| / width) / width with width 1/2, at zero as well, where u.sign() would have none
    side = torch.where(u >= 0, 1.0, -1.0)
    return side * (1.0 - torch.exp(-2.0 * side * u))
