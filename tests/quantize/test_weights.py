"""Rounded weights, against numpy loops over every power of two, and gradients written out by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch.quantize.weights import HeuristicWeight, LearnedWeight, least_error_scale

Numbers = np.ndarray[Any, Any]

DRAWN: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "sparse": lambda rng, n: rng.normal(size=n) * (rng.random(n) < 0.05),
    "one large": lambda rng, n: np.r_[rng.normal(size=n - 1), 100.0],
    "one alone": lambda rng, n: np.r_[rng.normal(size=n - 1) * 0.01, 1000.0],
    "equal": lambda rng, n: np.full(n, rng.random()),
    "two heaps": lambda rng, n: rng.choice([-1, 1], n) * (1 + 0.1 * rng.normal(size=n)),
    "heavy": lambda rng, n: rng.lognormal(0, 1, n) * rng.choice([-1, 1], n),
}


def rounded(w: Numbers, k: int, bits: int) -> Numbers:
    high = 2 ** (bits - 1) - 1
    return np.asarray(np.clip(np.rint(w / 2.0**k), -high, high) * 2.0**k)


def error(w: Numbers, k: int, bits: int) -> float:
    return float(np.sqrt(np.square(rounded(w, k, bits) - w).sum()))


def drawn(name: str, n: int, seed: int) -> Numbers:
    rng = np.random.default_rng(seed)
    found = DRAWN[name](rng, n) * 2.0 ** rng.uniform(-6, 6)
    return np.asarray(found.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("name", DRAWN)
def test_no_power_of_two_has_a_smaller_error(name: str, bits: int) -> None:
    for n in (1, 7, 100, 3000):
        w = drawn(name, n, bits)
        k = int(np.log2(float(least_error_scale(torch.tensor(w, dtype=torch.float32), bits, False))))
        least = min(error(w, other, bits) for other in range(-40, 40))
        assert error(w, k, bits) <= least * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_each_channel_has_the_scale_that_it_has_alone(bits: int, dtype: torch.dtype) -> None:
    w = torch.stack([torch.tensor(drawn(name, 27, 0)) for name in DRAWN]).to(dtype).reshape(-1, 3, 3, 3)
    both = least_error_scale(w, bits, True)
    assert both.shape == (len(DRAWN), 1, 1, 1)
    alone = [float(least_error_scale(row, bits, False)) for row in w]
    assert [s for s, row in zip(both.flatten().tolist(), w, strict=True) if row.any()] == [
        s for s, row in zip(alone, w, strict=True) if row.any()
    ]


def test_a_channel_of_zeros_has_a_scale_like_the_others() -> None:
    w = torch.randn(3, 50)
    w[1] = 0.0
    scales = least_error_scale(w, 4, True).flatten()
    assert 0.5 <= scales[1] / scales[0] <= 2.0


def test_the_scale_is_the_same_for_views_and_memory_formats() -> None:
    w = torch.randn(6, 5, 3, 3)
    for other in (w.contiguous(memory_format=torch.channels_last), w.expand(1, 6, 5, 3, 3)[0], w.mT.mT):
        assert torch.equal(least_error_scale(w, 4, True), least_error_scale(other, 4, True))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_are_those_of_the_equation(bits: int, per_channel: bool) -> None:
    w = torch.tensor(drawn("heavy", 60, bits), dtype=torch.float32).reshape(4, 15)
    for rounding in (HeuristicWeight(bits, per_channel), LearnedWeight(w, bits, per_channel)):
        k = np.log2(rounding.scale(w).expand(4, 1).numpy()).astype(int)
        expected = np.stack([rounded(row, int(e), bits) for row, (e,) in zip(w.double().numpy(), k, strict=True)])
        assert rounding(w).detach().double().numpy().tolist() == (expected + 0.0).tolist()
        again = rounding(rounding(w))
        assert torch.equal(again, rounding(w))  # what is on the grid stays


def test_weights_that_grow_are_not_held_back() -> None:
    """A clip would stop them: the scale of the first weights is 2^-4, and they grow to a hundred times themselves."""
    w = nn.Parameter(torch.linspace(-0.4, 0.4, 9))
    rounding, target = HeuristicWeight(4, False), torch.linspace(-40, 40, 9)
    optimizer = torch.optim.Adam([w], lr=1.0)
    for _ in range(100):
        optimizer.zero_grad()
        (rounding(w) - target).square().sum().backward()
        optimizer.step()
    assert (rounding(w) - target).abs().max() < 8.0  # the scale, in which 40 is 5
    assert rounding(w).abs().max() == 40.0


def test_the_gradient_passes_straight_through_a_heuristic_scale() -> None:
    w, cotangent = torch.randn(5, 8).requires_grad_(), torch.randn(5, 8)
    for per_channel in (False, True):
        (found,) = torch.autograd.grad(HeuristicWeight(2, per_channel)(w), w, cotangent)
        assert torch.equal(found, cotangent)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_gradient_of_a_learned_scale_is_that_of_the_paper(per_channel: bool) -> None:
    bits, high = 3, 3
    w = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    rounding = LearnedWeight(w, bits, per_channel)
    with torch.no_grad():
        rounding.log2_scale.sub_(0.9)  # so that some weights are clipped
    cotangent = torch.randn(5, 8, dtype=torch.float64)
    by_w, by_log2 = torch.autograd.grad(rounding(w), (w, rounding.log2_scale), cotangent)
    s = rounding.scale(w)
    q = (w / s).detach()
    inside = q.abs() <= high
    assert 0 < int(inside.sum()) < 40
    assert torch.allclose(by_w, torch.where(inside, cotangent, 0.0), rtol=1e-14)
    step = torch.where(inside, q.round() - q, q.sign() * high)
    shared = 8 if per_channel else 40
    expected = (cotangent * step * s * np.log(2.0) / np.sqrt(shared * high)).reshape(-1, shared).sum(1)
    assert torch.allclose(by_log2.flatten(), expected, rtol=1e-12)


def test_a_learned_scale_follows_the_weights() -> None:
    """It ends between two powers of two, and so goes to and fro between them."""
    w = nn.Parameter(torch.linspace(-0.4, 0.4, 9))
    rounding, target = LearnedWeight(w, 4, False), torch.linspace(-40, 40, 9)
    optimizer = torch.optim.Adam([{"params": [w], "lr": 1.0}, {"params": [*rounding.parameters()], "lr": 0.1}])
    found = []
    for _ in range(250):
        optimizer.zero_grad()
        (rounding(w) - target).square().sum().backward()
        optimizer.step()
        found.append(float((rounding(w) - target).detach().abs().max()))
    assert min(found[-50:]) <= 4.0


def test_special_numbers() -> None:
    for rounding in (HeuristicWeight(4, False), LearnedWeight(torch.ones(3), 4, False)):
        zeros = rounding(torch.tensor([0.0, -0.0, 0.0]))
        assert zeros.tolist() == [0.0, 0.0, 0.0]
        assert not zeros.signbit().any()
        assert rounding(torch.tensor([1.0, float("nan"), 2.0])).isnan().any()
    # a learned scale clips infinity like any other number; that of infinite weights is none
    assert HeuristicWeight(4, False)(torch.tensor([1.0, float("inf")])).isnan().any()
    assert HeuristicWeight(8, False)(torch.zeros(0, 3)).shape == (0, 3)
    for shape in ((3, 0), (0, 3)):
        assert HeuristicWeight(8, True)(torch.zeros(shape)).shape == shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    w = torch.ones(3, dtype=dtype)
    for rounding in (HeuristicWeight(4, False), LearnedWeight(torch.ones(3), 4, False)):
        with pytest.raises(TypeError, match=r"is b?float16, expected float32 or float64.*torch\.autocast"):
            rounding(w)


def test_ensembles_of_weights() -> None:
    w = torch.randn(4, 6, 5)

    def one(each: Tensor) -> Tensor:
        out: Tensor = HeuristicWeight(3, True)(each)
        return out

    assert torch.equal(torch.func.vmap(one)(w), torch.stack([one(each) for each in w]))
