"""Gradients of fixed-point networks beside those of a plain loop, with random cotangents, in float64."""

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.quantize import straight_through
from tests.quantize.descriptions import Network
from tests.quantize.float_networks import build, real
from tests.quantize.oracle import run
from tests.quantize.random_networks import draw

# seeds modulo this have the same kernels
STYLES = 8
# a fold is proven on noise, which may overflow
pytestmark = pytest.mark.filterwarnings("ignore:.*has left the range.*and overflow='error':RuntimeWarning")


def steepness(network: Network) -> float:
    """Return a slope at which spikes have gradients wherever the membranes are."""
    levels = [node.threshold.mean() * 2.0**-node.fraction_bits for node in network.neurons]
    return 2.0 / float(min(levels))


def cotangents(outs: list[Tensor], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([(out * torch.randn(out.shape, generator=generator).double()).sum() for out in outs]).sum()


def by_definition(network: Network, beta: float) -> tuple[list[Tensor], list[Tensor]]:
    """Return spikes, u and v of all layers, and gradients of the input and of all weights."""
    x = real(network.x, network.input_exponent, torch.float64).requires_grad_()
    leaves = straight_through.parameters(network)
    layers = straight_through.run(network, x, leaves, lambda over: torch.sigmoid(beta * over))
    outs = [out for layer in layers for out in layer]
    grads = torch.autograd.grad(cotangents(outs, network.seed), [x, *leaves], materialize_grads=True)
    return [out.detach() for out in outs], [*grads]


class Known(NamedTuple):
    """A network, and what it computes by definition."""

    network: Network
    outs: list[Tensor]
    grads: list[Tensor]


@cache
def known(seed: int) -> Known:
    """Return the first network after a seed, in steps of its style, without errors of overflow and huge gradients.

    Gradients that grow from step to step lose as many digits.
    """
    found = draw(seed, STYLES)
    try:
        run(found)
    except OverflowError:
        return known(seed + STYLES)
    outs, grads = by_definition(found, steepness(found))
    return Known(found, outs, grads) if max(float(each.abs().max()) for each in grads) < 1e6 else known(seed + STYLES)


def in_the_library(network: Network, beta: float, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    model = build(network, torch.float64, F.Sigmoid(beta=beta), **options)
    x = real(network.x, network.input_exponent, torch.float64).requires_grad_()
    seen = st.record(model, x, ("spikes", "u", "v"))
    outs: list[Tensor] = [seen[name][what] for name in seen for what in ("spikes", "u", "v")]
    grads = torch.autograd.grad(cotangents(outs, network.seed), [x, *model.parameters()], materialize_grads=True)
    return [out.detach() for out in outs], [*grads]


def check(seed: int, **options: Any) -> None:
    found, outs, grads = known(seed)
    library_outs, library_grads = in_the_library(found, steepness(found), **options)
    assert [*map(torch.equal, outs, library_outs)] == [True] * len(outs)
    assert len(grads) == len(library_grads)
    for index, (want, got) in enumerate(zip(grads, library_grads, strict=True)):
        assert_close(got, want, f"gradient {index} of seed {found.seed}")


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(3 * STYLES))
def test_gradients_step_by_step(seed: int) -> None:
    check(seed, mode="step")


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(8 * STYLES))
def test_gradients_of_kernels(seed: int) -> None:
    check(seed, mode="auto")
