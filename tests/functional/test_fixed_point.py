"""Neurons with whole numbers: every rounding, overflow and reset is that of integers, and gradients pass through."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.testing import check_twin
from spikingtorch.verification.pairwise import pairwise
from tests.functional.whole_numbers import GONE, OVERFLOWS, RESETS, ROUNDINGS, Network, Whole, drawn
from tests.fused import Scan, assert_same_bits, check_gradients

FRACTION = 6
STATES = {"if": F.FixedPointIFState, "lif": F.FixedPointLIFState, "cuba_lif": F.FixedPointCubaLIFState}
# floor(y), trunc(y), floor(y + 1/2) and the even one of two, of exact fractions
EXACT: dict[str, Any] = {
    "floor": math.floor,
    "trunc": math.trunc,
    "half_up": lambda y: math.floor(y + Fraction(1, 2)),
    "half_even": round,
}
RULES = pairwise([*itertools.product(STATES, ROUNDINGS, OVERFLOWS, RESETS)])


def near(dtype: torch.dtype) -> Tensor:
    """Return halves, whole numbers, their neighbours in a dtype, and small and large numbers."""
    marks = torch.tensor([n / 2 for n in range(-9, 10)] + [4194303.5, -4194303.5, 1e-10, -1e-10], dtype=dtype)
    up, down = (torch.nextafter(marks, torch.full_like(marks, bound)) for bound in (math.inf, -math.inf))
    return torch.cat([marks, up, down])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_roundings_are_those_of_exact_fractions(rounding: str, dtype: torch.dtype) -> None:
    x = near(dtype)
    got = F.FixedPoint(0, 24, ROUNDINGS[rounding]).rounded(x)
    assert got.tolist() == [EXACT[rounding](Fraction(each)) for each in x.tolist()]
    assert not torch.signbit(got[got == 0]).any()


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_products_are_those_of_integers(rounding: str) -> None:
    """Also where float32 does not hold the product: of 24 bits and 12 bits."""
    rng = np.random.default_rng(0)
    grid = F.FixedPoint(0, 24, ROUNDINGS[rounding])
    for k in (0, 1, 2047, 2048, 3001, 4095, 4096):
        v = rng.integers(-(2**23), 2**23, 2000)
        v[:6] = [2**23 - 1, -(2**23), 4096, -4096, -1, 2**22 + 2048]
        got = grid.scaled(torch.tensor(v, dtype=torch.float32), k / 4096)
        assert got.tolist() == [EXACT[rounding](Fraction(int(each) * k, 4096)) for each in v]


def scan_of(net: Network, x: Whole, dtype: torch.dtype = torch.float32) -> Scan:
    """Return a network as a scan that returns its membranes as well."""
    lsb = 2.0**-FRACTION
    decays = {"decay": net.k} if net.kind != "if" else {}
    decays |= {"decay_syn": net.k_syn} if net.kind == "cuba_lif" else {}
    params: dict[str, Any] = {name: torch.tensor(k / 2.0**net.m, dtype=dtype) for name, k in decays.items()}
    params["threshold"] = torch.tensor(net.threshold * lsb, dtype=dtype)
    params["grid"] = F.FixedPoint(FRACTION, net.bits, ROUNDINGS[net.rounding], OVERFLOWS[net.overflow])
    params |= {"reset": RESETS[net.reset](net, lsb), "surrogate": F.Triangular()}
    xs = torch.tensor(x * 2.0 ** -(FRACTION + net.shift), dtype=dtype)
    step: Any = F.Returning(getattr(F, f"fixed_point_{net.kind}_step"), ("v",))
    return Scan(step, F.zeros_state(STATES[net.kind], xs[0]), xs, params)


@pytest.mark.sampled
@pytest.mark.parametrize("rules", RULES, ids="-".join)
def test_steps_are_those_of_integers(rules: tuple[str, str, str, str]) -> None:
    for seed in range(4):
        net, x = drawn(seed, *rules)
        spikes, membranes = net.run(x)
        scan = scan_of(net, x)
        assert scan.exactness == "E"
        got = scan.run("fused")
        assert_same_bits(got, scan.run("loop"))
        s, v = (each.double().numpy() for each in got[1])
        gone = membranes == GONE
        assert (np.isnan(v) == gone).all()
        assert (v[~gone] * 2.0**FRACTION == membranes[~gone]).all()
        assert (s[~gone] == spikes[~gone]).all()


def test_the_draws_meet_every_case() -> None:
    """Saturated and wrapped membranes, spikes and rests."""
    for kind in STATES:
        runs = [(*drawn(seed, kind, "floor", "error", "zero"),) for seed in range(6)]
        found = [net.run(x) for net, x in runs]
        assert 0.05 < np.mean([spikes.mean() for spikes, _ in found]) < 0.6
        assert 0.02 < np.mean([(v == GONE).mean() for _, v in found]) < 0.9


@pytest.mark.sampled
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_twins_have_the_same_gradients(rounding: str, overflow: str) -> None:
    # in a narrow range, so that saturation and turns have gradients; one that is left has none
    grid = F.FixedPoint(5, 12 if overflow == "error" else 7, ROUNDINGS[rounding], OVERFLOWS[overflow])
    draw = torch.Generator().manual_seed(3)
    xs = 1.6 * torch.rand(17, 6, dtype=torch.float64, generator=draw) - 0.5
    decay, slow = (torch.floor(16 * torch.rand(6, dtype=torch.float64, generator=draw)) / 16 for _ in range(2))
    shared = {"grid": grid, "threshold": torch.full((6,), 0.75, dtype=torch.float64), "reset": F.by_subtraction}
    for kind, own in {"lif": {"decay": decay}, "cuba_lif": {"decay": decay, "decay_syn": slow}}.items():
        step, twin = (getattr(side, f"fixed_point_{kind}_step") for side in (F, J))
        check_twin(step, twin, F.zeros_state(STATES[kind], xs[0]), xs, params=own | shared, backend="fused")


def test_gradients_pass_roundings_and_stop_where_a_membrane_saturates() -> None:
    xs = torch.full((3, 1), 0.3, dtype=torch.float64, requires_grad=True)
    grid = F.FixedPoint(2, 8, F.round_half_up)
    never = {"threshold": 1e6, "reset": F.none, "decay": 0.5, "grid": grid}
    state, _ = F.scan(F.fixed_point_lif_step, F.FixedPointLIFState(torch.zeros(1).double()), xs, params=never)
    # 0.25, 0.25 + 0.25 by half up, 0.25 + 0.25
    assert state.v.tolist() == [0.5]
    (found,) = torch.autograd.grad(state.v, xs)
    assert found.flatten().tolist() == [0.25, 0.5, 1.0]
    for rule, slope in ((F.saturate, 0.0), (F.wrap, 1.0), (F.overflow_to_nan, 0.0)):
        u = torch.tensor([40.0], requires_grad=True)
        v = grid._replace(overflow=rule).limited(u)
        assert torch.autograd.grad(v, u)[0].item() == slope


@pytest.mark.sampled
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize(("kind", "rounding"), [("if", "trunc"), ("lif", "half_even"), ("cuba_lif", "half_up")])
def test_fused_gradients_are_those_of_the_loop(kind: str, rounding: str, overflow: str) -> None:
    net, x = drawn(2, kind, rounding, overflow, "subtraction")
    check_gradients(scan_of(net, x, torch.float64))


def test_a_recurrent_layer_is_that_of_integers() -> None:
    rng = np.random.default_rng(5)
    weight, x = rng.integers(-40, 41, (12, 12)), rng.integers(-60, 120, (30, 12))
    k, threshold, lsb = rng.integers(0, 257, 12), 96, 2.0**-FRACTION
    params = {
        "decay": torch.tensor(k / 256.0, dtype=torch.float32),
        "grid": F.FixedPoint(FRACTION, 9, F.round_trunc, F.wrap),
        **{"threshold": threshold * lsb, "recurrent_weight": torch.tensor(weight * lsb, dtype=torch.float32)},
    }
    rest = F.RecurrentState(F.FixedPointLIFState(torch.zeros(12)), torch.zeros(12))
    step: Any = F.Recurrent(F.fixed_point_lif_step, F.dense)
    state, out = F.scan(step, rest, torch.tensor(x * lsb, dtype=torch.float32), params=params)
    net = Network("lif", k, k, 8, 9, np.full(12, threshold), "trunc", "wrap", "zero")
    v, s = np.zeros(12, dtype=np.int64), np.zeros(12, dtype=np.int64)
    for t, x_t in enumerate(x):
        u = net._within(np.sign(v * k) * (np.abs(v * k) >> 8) + x_t + weight @ s)
        s = (u >= threshold).astype(np.int64)
        v = np.where(s == 1, 0, u)
        assert out[t].tolist() == s.tolist()
    assert (state.neuron.v / lsb).tolist() == v.tolist()
    assert 0.1 < out.mean() < 0.7
