"""spikingtorch's own implementations: a scan under any backend, and the sweep over time constants."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Size
from benchmarks.inputs import DECAY, draw, draw_weight
from benchmarks.neurons import NEURONS
from benchmarks.subject import Subject, UnavailableError, from_torch
from spikingtorch.functional import LIFState, decay_from_tau, lif_step, scan

TAUS = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 30.0)


def neuron(name: str, size: Size, backend: str) -> Subject:
    """Return a neuron of ``neurons.NEURONS`` under one backend of scan."""
    model = NEURONS[name]
    xs, cotangent = draw(size, model.drives)
    drawn = {"recurrent_weight": draw_weight(size.N)} if model.recurrent else {}
    weights = {name: torch.from_numpy(weight).clone().requires_grad_() for name, weight in drawn.items()}
    params = model.params | weights

    def run(first: Tensor, *others: Tensor) -> Tensor:
        inputs: Any = (first, *others) if others else first
        state = model.zeros((size.B, size.N))
        _, spikes = scan(model.step, state, inputs, params=params, backend=backend)  # type: ignore[arg-type]
        return spikes

    return from_torch(run, xs, cotangent, weights=list(weights.values()))


def demand(backend: str) -> None:
    """Raise UnavailableError if scan has no such backend."""
    rest = LIFState(v=torch.zeros(1))
    try:
        # no steps, which is nothing to compile
        scan(lif_step, rest, torch.zeros(0, 1), params={"decay": DECAY}, backend=backend)  # type: ignore[arg-type]
    except ValueError as error:
        raise UnavailableError(str(error)) from None


Gradients = tuple[Tensor, ...]


def sweep(size: Size, backend: str) -> dict[str, Callable[[], Gradients]]:
    """Return three ways of running LIF with eight time constants, forward and backward.

    "one call" has eight times the batch; "vmap" maps over the time constants alone, all with the same input; "vmap, own
    inputs" maps over the inputs as well. Each returns spikes of shape (T, 8, B, N), or (8, T, B, N) with vmap, the
    gradient of what it took as input, and the gradient of the eight time constants.
    """
    (drawn,), _ = draw(size)
    x = torch.from_numpy(drawn).clone().requires_grad_()
    taus = torch.tensor(TAUS, requires_grad=True)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(len(TAUS), size.T, size.B, size.N, generator=generator)
    xs = x.detach().expand(len(TAUS), -1, -1, -1).clone().requires_grad_()
    batch, batch_weights = (t.detach().transpose(0, 1).contiguous() for t in (xs, weights))
    batch.requires_grad_()

    def lif(tau: Tensor, inputs: Tensor) -> Tensor:
        state = LIFState(v=torch.zeros(inputs.shape[1:]))
        params = {"decay": decay_from_tau(tau)}
        _, spikes = scan(lif_step, state, inputs, params=params, backend=backend)  # type: ignore[arg-type]
        return spikes

    def one_call() -> Gradients:
        spikes = lif(taus.reshape(-1, 1, 1), batch)
        return spikes, *torch.autograd.grad(spikes, (batch, taus), batch_weights)

    def vmap() -> Gradients:
        spikes = torch.func.vmap(lambda tau: lif(tau, x))(taus)
        return spikes, *torch.autograd.grad(spikes, (x, taus), weights)

    def vmap_own() -> Gradients:
        spikes = torch.func.vmap(lif)(taus, xs)
        return spikes, *torch.autograd.grad(spikes, (xs, taus), weights)

    return {"one call": one_call, "vmap": vmap, "vmap, own inputs": vmap_own}


def addition(size: Size) -> dict[str, Callable[[], Tensor]]:
    """Return ``b + s c`` on tensors of one stream each, the yardstick of memory bandwidth."""
    b, c, out = (torch.ones(size.T, size.B, size.N) for _ in range(3))
    return {
        "fresh output": lambda: torch.add(b, c, alpha=2.0),
        "preallocated output": lambda: torch.add(b, c, alpha=2.0, out=out),
    }
