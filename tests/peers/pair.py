"""Pair: a neuron of another library and the layer of ours that is to equal it; and networks with the same weights."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from spikingtorch import SpikingNet, StepLayer
from spikingtorch.functional.surrogate import Arctan


class Theirs(NamedTuple):
    """A neuron of another library.

    Attributes:
        run: from inputs (T, N, ...) to outputs (T, N, ...), and the final state by the fields of ours.
        parameters: tensors that are trained, by the attributes of ours, "recurrent.weight" for instance.
        module: the neuron, if it has a state dict that ours loads.
    """

    run: Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
    parameters: Mapping[str, Tensor] = {}
    module: nn.Module | None = None


class Pair(NamedTuple):
    """Two neurons that are to be equal, both made in the default dtype.

    Attributes:
        name: of the neuron and its options, with the library first.
        ours: makes the layer.
        theirs: makes the neuron of the other library.
        mean: of the inputs, which are normal.
        deviation: their standard deviation.
        spikes: whether the output is one of spikes.
        shape: of one sample at one step.
        exact: whether all sums are in their order, so that membranes are identical as well.
    """

    name: str
    ours: Callable[[], StepLayer]
    theirs: Callable[[], Theirs]
    mean: float = 0.3
    deviation: float = 0.6
    spikes: bool = True
    shape: tuple[int, ...] = (8,)
    exact: bool = True


def value(number: float, learns: bool = False) -> Tensor:
    """Return a number as a tensor of the default dtype."""
    return torch.tensor(number, requires_grad=learns)


def is_exact() -> bool:
    """Say whether the default dtype is float64, in which spike functions that round to float32 are replaced."""
    return torch.get_default_dtype() == torch.float64


class _Above(torch.autograd.Function):
    """H(u) with H(0) = 0 in the dtype of u, and the derivative of a surrogate."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, primitive: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(u)
        ctx.primitive = primitive
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.primitive(at).sum(), at)
        return gradients[0] * slope, None


def spike_in_dtype(primitive: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a spike of snnTorch without its rounding to float32; its surrogate is the derivative of a function."""

    def spike(u: Tensor) -> Tensor:
        return _Above.apply(u, primitive)  # type: ignore[no-untyped-call]

    return spike


atan_in_dtype = spike_in_dtype(Arctan(2.0).primitive)  # snnTorch's default


# of the largest entry, for outputs and for gradients
TOLERANCES = {torch.float32: (1e-4, 1e-3), torch.float64: (1e-10, 1e-9)}


def compare(theirs: nn.Module, ours: SpikingNet, x: Tensor) -> None:
    """Compare outputs (T, N, ...), the gradients of all weights by random output gradients, and running statistics.

    Args:
        theirs: a network that takes (T, N, ...).
        ours: the same, whose weights become those of theirs.
        x: the input, (T, N, ...).
    """
    # theirs may lack constants of ours
    ours.net.load_state_dict({**dict(ours.net.named_buffers()), **theirs.state_dict()})
    for trains in (True, False):
        theirs.train(trains)
        ours.train(trains)
        wanted, got = theirs(x), ours(x)
        assert ours.explain().mode == "fold", ours.explain()
        same_outputs(got, wanted)
        cotangent = torch.randn_like(wanted)
        for net, out in ((theirs, wanted), (ours, got)):
            net.zero_grad()
            out.backward(cotangent)
        same_gradients(dict(ours.net.named_parameters()), dict(theirs.named_parameters()))
        functional.reset_net(theirs)
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            torch.testing.assert_close(ours.net.get_buffer(name), buffer)


def same_pass(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Compare outputs, and leave gradients by the same random output gradients in the parameters of both."""
    got, wanted = ours(x), theirs(x)
    same_outputs(got, wanted)
    pull = torch.randn_like(wanted)
    for out in (got, wanted):
        out.backward(pull)


def same_outputs(got: Tensor, wanted: Tensor) -> None:
    """Compare outputs that are not all silent: spikes exactly, others but for rounding."""
    spikes = bool((wanted == wanted.round()).all())
    assert wanted.count_nonzero() > 0
    assert wanted.count_nonzero() < wanted.numel() or not spikes
    if spikes:
        assert torch.equal(got, wanted)
    limit = TOLERANCES[wanted.dtype][0]
    torch.testing.assert_close(got, wanted, rtol=limit, atol=0.1 * limit)


def same_gradients(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Compare the gradients of weights, none of which is zero."""
    for name, weight in theirs.items():
        grad: Any = ours[name].grad
        scale = 0.0 if weight.grad is None else float(weight.grad.abs().max())
        assert scale > 0.0, f"{name} has no gradient"
        worst = float((grad - weight.grad).abs().max()) / scale
        assert worst <= TOLERANCES[weight.dtype][1], f"{name}: off by {worst:.3g} of the largest entry"
