"""Spike functions: the value is H, the derivative that of the primitive, of any order, at any magnitude."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import surrogate as surrogate_module
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import SURROGATES, by_name

# phi' by hand, from the definitions and not from the code, at one more slope than the default
HAND: list[tuple[F.Surrogate, Callable[[float], float]]] = [
    (F.Sigmoid(5.0), lambda u: 5 / (4 * math.cosh(2.5 * u) ** 2)),
    (F.Sigmoid(2.0), lambda u: 2 / (4 * math.cosh(u) ** 2)),
    (F.FastSigmoid(10.0), lambda u: (1 + 10 * abs(u)) ** -2),
    (F.FastSigmoid(3.0), lambda u: (1 + 3 * abs(u)) ** -2),
    (F.Arctan(2.0), lambda u: 1 / (1 + (math.pi * u) ** 2)),
    (F.Arctan(3.0), lambda u: 1.5 / (1 + (1.5 * math.pi * u) ** 2)),
    (F.Triangular(1.0), lambda u: max(0.0, 1 - abs(u))),
    (F.Triangular(2.0), lambda u: 2 * max(0.0, 1 - 2 * abs(u))),
    (F.Gaussian(0.5), lambda u: math.exp(-2 * u * u) / (0.5 * math.sqrt(2 * math.pi))),
    (F.Gaussian(1.0), lambda u: math.exp(-u * u / 2) / math.sqrt(2 * math.pi)),
    (F.DoubleGaussian(), lambda u: (2.3 * math.exp(-2 * u * u) - 0.1 * math.exp(-u * u / 18)) / math.sqrt(8 * math.pi)),
    (F.Erf(2.0), lambda u: 2 * math.exp(-4 * u * u) / math.sqrt(math.pi)),
    (F.Erf(1.0), lambda u: math.exp(-u * u) / math.sqrt(math.pi)),
    (F.PiecewiseExponential(1.0), lambda u: 0.5 * math.exp(-abs(u))),
    (F.PiecewiseExponential(3.0), lambda u: 1.5 * math.exp(-3 * abs(u))),
    (F.StraightThrough(), lambda _: 1.0),
    # one family with Gaussian
    (F.Erf(3.0), lambda u: math.exp(-9 * u * u) * 3 / math.sqrt(math.pi)),
    (F.Gaussian(1 / (3 * math.sqrt(2))), lambda u: math.exp(-9 * u * u) * 3 / math.sqrt(math.pi)),
    # of the user's own
    (F.FromPrimitive(torch.tanh), lambda u: 1 - math.tanh(u) ** 2),
    (F.FromDerivative(lambda u: torch.exp(-u.abs())), lambda u: math.exp(-abs(u))),
]
POINTS = torch.tensor([-2.5, -0.7, -0.3, -1e-3, 0.0, 1e-3, 0.2, 0.6, 1.7], dtype=torch.float64)
every_surrogate = pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)


def derivative(surrogate: F.Surrogate, u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate(u).sum(), u)
    return gradient


@pytest.mark.parametrize(("surrogate", "hand"), HAND, ids=range(len(HAND)))
def test_derivative_by_hand_and_value_heaviside(surrogate: F.Surrogate, hand: Callable[[float], float]) -> None:
    want = torch.tensor([hand(u) for u in POINTS.tolist()], dtype=torch.float64)
    assert_close(derivative(surrogate, POINTS), want)
    assert surrogate(POINTS).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert surrogate(torch.tensor([-0.0])).item() == 1.0


def test_every_surrogate_is_tested() -> None:
    module = vars(surrogate_module).values()
    defined = {cls for cls in module if isinstance(cls, type) and cls.__module__ == surrogate_module.__name__}
    assert {type(surrogate) for surrogate, _ in HAND} == defined - {F.Surrogate}
    assert {type(each) for each in SURROGATES} == defined - {F.Surrogate, F.FromPrimitive, F.FromDerivative}


@every_surrogate
def test_first_and_second_derivatives_of_the_primitive(surrogate: Any) -> None:
    # away from the kinks at u = 0 and, for the triangle, |u| = 1 / beta
    u = torch.tensor([-2.5, -0.7, -0.3, 0.2, 0.6, 1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(surrogate.primitive, u)
    assert torch.autograd.gradgradcheck(surrogate.primitive, u)

    def second(function: Callable[[Tensor], Tensor]) -> Any:
        return torch.func.vmap(torch.func.grad(torch.func.grad(function)))(u[1:5].detach())

    assert_close(second(surrogate), second(surrogate.primitive))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("surrogate", [*SURROGATES, F.Sigmoid(100.0), F.FastSigmoid(100.0)], ids=repr)
def test_no_overflow(surrogate: F.Surrogate, dtype: torch.dtype) -> None:
    u = torch.tensor([-1e4, -1e2, 0.0, 1e2, 1e4], dtype=dtype)
    assert surrogate(u).tolist() == [0, 0, 1, 1, 1]
    assert surrogate(u).dtype == dtype
    slope = derivative(surrogate, u)
    assert slope.isfinite().all()
    assert (slope >= 0).all() or isinstance(surrogate, F.DoubleGaussian)
    assert slope[2] > 0


def test_fast_sigmoid_keeps_its_tail_in_float32() -> None:
    u = torch.tensor([-1e4, 1e4])
    assert_close(derivative(F.FastSigmoid(10.0), u), (1 + 10 * u.abs()).pow(-2))


def test_immutable_and_hashable() -> None:
    assert len({F.Sigmoid(5.0), F.Sigmoid(5.0), F.Sigmoid(4.0)}) == 2
    assert F.Arctan(2.0) == F.Arctan(2.0)
    plain: tuple[object, object] = F.Arctan(2.0), F.Erf(2.0)
    assert plain[0] != plain[1]
    assert len({F.Arctan(2.0), F.Erf(2.0), F.Gaussian(2.0)}) == 3
    with pytest.raises(AttributeError):
        F.Sigmoid().beta = 3.0  # type: ignore[misc]


def test_nan_stays_visible() -> None:
    assert F.Sigmoid()(torch.tensor([torch.nan])).isnan().all()


def test_slope_may_be_a_tensor() -> None:
    beta = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F.Sigmoid(beta)(POINTS).sum(), beta)
    s = torch.sigmoid(5 * POINTS)
    assert_close(slope, (POINTS * s * (1 - s)).sum())


EDGE = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.7, 1.0, 3.0, torch.tensor([1.0, 4.0] * 12 + [2.0])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_is_no_slope_outside_of_the_support(beta: Any, dtype: torch.dtype) -> None:
    beta = beta.to(dtype) if isinstance(beta, Tensor) else beta
    edges = EDGE.to(dtype) / torch.as_tensor(beta, dtype=dtype) * torch.ones(25)
    near = torch.cat([edges, torch.nextafter(edges, torch.zeros_like(edges)), torch.nextafter(edges, 2 * edges)])
    for u in (torch.linspace(-2.0, 3.0, 600, dtype=dtype).view(24, 25), near.to(dtype)):
        inside = F.Triangular(beta).support(u)
        assert torch.equal(inside & ((beta * u).abs() != 1), derivative(F.Triangular(beta), u) != 0)
        assert bool(inside[(beta * u).abs() == 1].all())
