"""Two networks with the same weights: outputs, gradients of all weights and running statistics."""

from collections.abc import Mapping
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from spikingtorch import SpikingNet

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
