"""The spike functions of other libraries and ours of the same name: values beside the threshold, and derivatives."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.peers import norse_pairs, sinabs_pairs, snntorch_pairs, spikingjelly_pairs

_TABLES = {"snntorch": snntorch_pairs, "spikingjelly": spikingjelly_pairs, "norse": norse_pairs}
PLAIN = {f"{library} {name}": pair for library, table in _TABLES.items() for name, pair in table.SURROGATES.items()}


def _points() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2.0 * torch.randn(1000, generator=generator, dtype=torch.float64)


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
    u = _points()
    beside = torch.tensor([-1.0, -1e-30, 0.0, 1e-30, 1.0])
    assert torch.equal(ours(beside), theirs(beside))
    # some of theirs round to float32 on the way
    torch.testing.assert_close(_derivative(ours, u), _derivative(theirs, u).double(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", sinabs_pairs.SURROGATES)
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_a_derivative_of_sinabs_equals_theirs(name: str, threshold: float) -> None:
    ours, theirs = sinabs_pairs.SURROGATES[name]
    u = _points()
    found = _derivative(lambda at: ours.primitive(at - threshold, threshold), u)
    torch.testing.assert_close(found, theirs(u, threshold).double(), rtol=1e-6, atol=1e-8)
