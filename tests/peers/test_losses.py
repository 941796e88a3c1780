"""Losses, plasticity and spike functions beside theirs; SpikingJelly's STDPLearner differs at a common step."""

from collections.abc import Callable
from typing import Any

import pytest
import snntorch.functional as theirs
import torch
from spikingjelly.activation_based import layer, learning, neuron
from torch import Tensor, nn

from spikingtorch import losses
from spikingtorch.functional import plasticity
from tests.drawn import normal
from tests.peers import norse_pairs, sinabs_pairs, snntorch_pairs, spikingjelly_pairs

N, T, C, K = 5, 12, 3, 4
PAIRS: dict[str, tuple[Any, Callable[[Tensor, Tensor], Tensor], int]] = {
    "ce_rate_loss": (theirs.ce_rate_loss(), losses.per_step_cross_entropy, 1),
    "ce_count_loss": (theirs.ce_count_loss(), losses.count_cross_entropy, 1),
    "ce_count_loss population": (
        theirs.ce_count_loss(population_code=True, num_classes=C),
        lambda x, y: losses.count_cross_entropy(x, y, population=K),
        K,
    ),
    "ce_max_membrane_loss": (theirs.ce_max_membrane_loss(), losses.max_over_time_cross_entropy, 1),
    "mse_count_loss": (
        theirs.mse_count_loss(correct_rate=0.75, incorrect_rate=0.25),
        lambda x, y: losses.count_mse(x, y, correct=0.75 * T, incorrect=0.25 * T) / T,
        1,
    ),
    "mse_count_loss population": (
        theirs.mse_count_loss(correct_rate=0.75, incorrect_rate=0.25, population_code=True, num_classes=C),
        lambda x, y: losses.count_mse(x, y, correct=0.75 * T * K, incorrect=0.25 * T * K, population=K) / T,
        K,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_losses_are_equal(name: str) -> None:
    loss, ours, population = PAIRS[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(T, N, C * population, generator=generator)  # time first, as theirs take it
    x = (x if "membrane" in name else (x < 0.4).float()).requires_grad_()
    y = torch.randint(C, (N,), generator=generator)
    want, found = loss(x, y).squeeze(), ours(x.transpose(0, 1), y)
    torch.testing.assert_close(found, want)
    gradients = [torch.autograd.grad(value, x)[0] for value in (found, want)]
    torch.testing.assert_close(*gradients)


def test_spikingjelly_differs_by_the_fall_at_a_common_step(in_float64: None) -> None:
    linear, fires = layer.Linear(5, 4, bias=False), neuron.IFNode(v_threshold=1.0)
    nn.init.uniform_(linear.weight, 0.2, 0.8)
    theirs: Any = learning.STDPLearner(
        step_mode="s",
        synapse=linear,
        sn=fires,
        tau_pre=5.0,
        tau_post=4.0,
        f_pre=lambda weight: 0.02 * torch.ones_like(weight),
        f_post=lambda weight: 0.03 * torch.ones_like(weight),
    )
    params: Any = {"decay_pre": 1.0 - 1.0 / 5.0, "decay_post": 1.0 - 1.0 / 4.0, "rate_plus": 0.03, "rate_minus": 0.02}
    traces, common = plasticity.PairTraces(torch.zeros(3, 5), torch.zeros(3, 4)), 0.0
    for _ in range(20):
        pre = torch.rand(3, 5).lt(0.4).double()
        with torch.no_grad():
            post = fires(linear(pre))
        found = theirs.step(on_grad=False)
        traces, change = plasticity.pair_stdp(traces, pre, post, linear.weight.detach(), **params)
        # it also lets a weight fall for a postsynaptic spike of the same step
        at_once = 0.02 * post.mT @ pre
        torch.testing.assert_close(found, change - at_once, rtol=1e-12, atol=1e-12)
        common += float(at_once.sum())
    assert common > 0.0


_TABLES = {"snntorch": snntorch_pairs, "spikingjelly": spikingjelly_pairs, "norse": norse_pairs}
PLAIN = {f"{library} {name}": pair for library, table in _TABLES.items() for name, pair in table.SURROGATES.items()}


POINTS = 2.0 * normal(1000)


def _derivative(function: Any, u: Tensor) -> Tensor:
    at = u.clone().requires_grad_()
    out = function(at)
    if not out.requires_grad:
        return torch.zeros_like(u)
    (found,) = torch.autograd.grad(out.sum(), at)
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_a_spike_function_equals_theirs(name: str) -> None:
    ours, theirs = PLAIN[name]
    u = POINTS
    beside = torch.tensor([-1.0, -1e-30, 0.0, 1e-30, 1.0])
    assert torch.equal(ours(beside), theirs(beside))
    # some of theirs round to float32 on the way
    torch.testing.assert_close(_derivative(ours, u), _derivative(theirs, u).double(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", sinabs_pairs.SURROGATES)
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_a_derivative_of_sinabs_equals_theirs(name: str, threshold: float) -> None:
    ours, theirs = sinabs_pairs.SURROGATES[name]
    u = POINTS
    found = _derivative(lambda at: ours.primitive(at - threshold, threshold), u)
    torch.testing.assert_close(found, theirs(u, threshold).double(), rtol=1e-6, atol=1e-8)
