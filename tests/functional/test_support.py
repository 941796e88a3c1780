"""Where the derivatives of spikes are not zero, told beside them."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.support import Supported, is_known, support_of

XS = torch.linspace(-2.0, 3.0, 600).view(6, 4, 25)


def run(step: Any, state: Any, backend: Any = "auto", xs: Tensor = XS, **params: Any) -> Any:
    """Return the outputs of a step: spikes, or these and what is told of them."""
    return F.scan(step, state, xs, params=params, backend=backend)[1]


def slope(u: Tensor, surrogate: Any) -> Tensor:
    u = u.clone().requires_grad_()
    return torch.autograd.grad(surrogate(u).sum(), u)[0]


@pytest.mark.parametrize("beta", [0.7, 1.0, 3.0, torch.tensor([1.0, 4.0] * 12 + [2.0])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_is_no_slope_outside_of_the_support(beta: Any, dtype: torch.dtype) -> None:
    beta = beta.to(dtype) if isinstance(beta, Tensor) else beta
    edges = torch.tensor([1.0, -1.0], dtype=dtype)[:, None] / torch.as_tensor(beta, dtype=dtype) * torch.ones(25)
    near = torch.cat([edges, torch.nextafter(edges, torch.zeros_like(edges)), torch.nextafter(edges, 2 * edges)])
    for u in (XS.to(dtype), near.to(dtype)):
        surrogate = F.Triangular(beta)
        inside = surrogate.support(u)
        assert torch.equal(inside & ((beta * u).abs() != 1), slope(u, surrogate) != 0)
        assert bool(inside[(beta * u).abs() == 1].all())


def test_steps_of_other_outputs_tell_nothing() -> None:
    """What is given out has to be what the surrogate returned, once."""

    def scaled(state: Any, x: Tensor, surrogate: Any) -> Any:
        fired = F.fire(state.v + x, 1.0, surrogate, F.to_zero)
        return F.IFState(fired.v), fired.out * fired.v

    def twice(state: Any, x: Tensor, surrogate: Any) -> Any:
        one = F.fire(state.v + x, 1.0, surrogate, F.to_zero)
        other = F.fire(state.v + x, 2.0, surrogate, F.to_zero)
        return F.IFState(one.v), other.out

    def by_hand(state: Any, x: Tensor, surrogate: Any) -> Any:
        s = surrogate(state.v + x - 1.0)
        return F.IFState((state.v + x) * (1 - s)), s

    for step in (scaled, twice, by_hand):
        assert run(Supported(step), F.IFState(torch.zeros(4, 25)), "loop", surrogate=F.Triangular())[1] == ()


def test_steps_of_the_library() -> None:
    """And surrogates, rules and synapses of it."""
    rule: Any = lambda u, s, threshold: u  # noqa: E731
    ours: Any = F.Recurrent(F.lif_step)
    assert is_known(F.lif_step, {"decay": 0.5, "surrogate": F.Strict(F.Triangular()), "reset": F.detached(F.to_zero)})
    assert is_known(ours, {"recurrent_weight": XS, "reset": F.to_value(0.5)})
    others: list[tuple[Any, dict[str, Any]]] = [
        (rule, {}),
        (F.Recurrent(rule), {}),
        (F.Recurrent(F.lif_step, rule), {}),
    ]
    others += [(F.lif_step, {"reset": each}) for each in (rule, F.detached(rule), partial(F.to_zero))]
    assert not any(is_known(step, params) for step, params in others)


def test_surrogates_without_a_support() -> None:
    class Mine(F.Triangular):
        def primitive(self, u: Tensor) -> Tensor:
            return torch.sigmoid(u)

    others: list[Any] = [F.Sigmoid(), F.Strict(F.Sigmoid()), F.Graded(F.Triangular()), F.Ternary(F.Triangular())]
    others += [F.MultiSpike(F.Triangular()), F.Strict(F.MultiSpike(F.Triangular())), Mine(), None, lambda u: u]
    assert [support_of(each) for each in others] == [None] * len(others)
    rest = F.IFState(torch.zeros(4, 25))
    assert run(Supported(F.if_step), rest, "loop", surrogate=F.Sigmoid())[1] == ()
    assert run(Supported(F.if_step), rest, "loop")[1] == ()
