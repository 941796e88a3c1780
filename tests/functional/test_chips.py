"""Neurons in whole numbers, of Xylo, Loihi, Speck and others: roundings, limits, products, gradients, layers."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional import chips
from spikingtorch.functional import fixed_point as P
from spikingtorch.functional import jax_reference as J
from spikingtorch.functional import rounding as R
from spikingtorch.functional.firing import spike_count
from spikingtorch.testing import check_twin
from spikingtorch.verification import oracles
from tests.fused import Scan, assert_same_bits
from tests.quantize.descriptions import Loihi
from tests.quantize.oracle_chips import loihi

NEURONS, T = 300, 60


@pytest.mark.parametrize("size", [300, 2000, 20_000, 120_000])
def test_loihi_is_the_formula_of_lava(size: int) -> None:
    """Up to inputs with which the current wraps."""
    rng = np.random.default_rng(size)
    du, dv = rng.integers(0, 4096, (2, NEURONS))
    vth, bias = rng.integers(1, 2**17, NEURONS), rng.integers(-4096, 4096, NEURONS) << rng.integers(0, 8, NEURONS)
    x = rng.integers(-size, size, (T, NEURONS))
    lava = loihi(Loihi((NEURONS,), 8, du, dv, vth, bias), x[None])
    reals = torch.tensor(vth / 2.0**6).float(), torch.tensor(bias / 2.0**12).float()
    layer = st.LoihiLIF(torch.tensor(du), torch.tensor(dv), *reals, returns=("spikes", "i", "v"))
    assert np.array_equal(layer.du, du)
    assert np.array_equal(layer.dv, dv)
    with torch.no_grad():
        s, i, w = st.MultiStep(layer)(torch.tensor(x / 2.0**6).float()[:, None])
    assert np.array_equal(s[:, 0], lava.spikes[0])
    assert np.array_equal(i[:, 0] * 4096, lava.i[0])
    assert np.array_equal(w[:, 0] * 4096, lava.v[0])
    assert 0 < lava.spikes.mean() < 1


def drawn(rng: np.random.Generator, low: float, high: float, bits: int = 8, shape: Any = NEURONS) -> Tensor:
    """Return multiples of 2^-bits."""
    return torch.tensor(np.floor(rng.uniform(low, high, shape) * 2.0**bits) * 2.0**-bits)


WIDE = {
    "xylo_lif": {"leak_syn": (0.0, 1.0), "leak": (0.0, 1.0), "bias": (-60.0, 60.0), "threshold": (0.01, 20.0)},
    "speck_iaf": {"v_min": (-100.0, 0.0), "threshold": (0.01, 20.0)},
    "loihi_lif": {"decay_syn": (0.0, 1.0), "decay": (0.0, 1.0), "bias": (-9.0, 9.0), "threshold": (0.0, 900.0)},
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_ranges_are_those_of_integers(name: str) -> None:
    """Saturated currents and membranes, and as many spikes as there may be."""
    rng = np.random.default_rng(1)
    params = {key: drawn(rng, *span) + (2.0**-8 if key == "threshold" else 0.0) for key, span in WIDE[name].items()}
    xs = drawn(rng, -150.0, 200.0, 10, (T, NEURONS))
    oracle: Any = getattr(oracles, name)
    want, last = oracle(xs.numpy(), **{key: value.numpy() for key, value in params.items()})
    states = {"xylo_lif": chips.XyloLIFState, "speck_iaf": chips.SpeckIAFState, "loihi_lif": chips.LoihiLIFState}
    given = {key: value.float() for key, value in params.items()} | {"surrogate": F.Triangular()}
    scan = Scan(getattr(chips, f"{name}_step"), F.zeros_state(states[name], xs[0].float()), xs.float(), given)
    assert scan.exactness == "E"
    got = scan.run("fused")
    assert_same_bits(got, scan.run("loop"))
    assert np.array_equal(got[1], want)
    for field, value in last.items():
        assert np.array_equal(getattr(got[0], field), value), field
    assert want.max() == {"xylo_lif": 31, "speck_iaf": want.max(), "loihi_lif": 1}[name]
    assert want.max() > 31 or name != "speck_iaf"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_spikes_are_counted_exactly(dtype: torch.dtype) -> None:
    """At multiples of a threshold and one unit below them, where a quotient may be rounded to a whole number."""
    rng = np.random.default_rng(0)
    threshold = rng.integers(1, 2 ** rng.integers(1, 22, 20_000))
    times = rng.integers(1, np.maximum(2, 2**23 // threshold))
    for below in (0, 1):
        u = times * threshold - below
        count = spike_count(torch.tensor(u, dtype=dtype), torch.tensor(threshold, dtype=dtype), F.Triangular())
        assert np.array_equal(count, u // threshold)
        capped = spike_count(torch.tensor(u, dtype=dtype), torch.tensor(threshold, dtype=dtype), F.Triangular(), 31)
        assert np.array_equal(capped, np.minimum(u // threshold, 31))
    assert spike_count(torch.tensor([-5.0, -0.0]), 1.0, F.Triangular()).tolist() == [0.0, 0.0]


def test_gradients_of_counts_are_those_at_the_nearest_multiple() -> None:
    u = torch.tensor([0.25, 0.75, 2.75, 9.5], dtype=torch.float64, requires_grad=True)
    count = spike_count(u, 1.0, F.Triangular(), 3)
    assert count.tolist() == [0.0, 0.0, 2.0, 3.0]
    # distances of -0.75, -0.25, -0.25 and 6.5 from the multiples 1, 1, 3 and 3
    assert torch.autograd.grad(count.sum(), u)[0].tolist() == [0.25, 0.75, 0.75, 0.0]


STATES = {"lif": P.FixedPointLIFState, "cuba_lif": P.FixedPointCubaLIFState}
OVERFLOWS: dict[str, Any] = {"saturate": R.saturate, "wrap": R.wrap, "error": R.overflow_to_nan}
ROUNDINGS: dict[str, Any] = {
    "floor": R.round_floor,
    "trunc": R.round_trunc,
    "half_up": R.round_half_up,
    "half_even": R.round_half_even,
}
# floor(y), trunc(y), floor(y + 1/2) and the even one of two, of exact fractions
EXACT: dict[str, Any] = {
    "floor": math.floor,
    "trunc": math.trunc,
    "half_up": lambda y: math.floor(y + Fraction(1, 2)),
    "half_even": round,
}


def near(dtype: torch.dtype) -> Tensor:
    """Return halves, whole numbers, their neighbours in a dtype, and small and large numbers."""
    marks = torch.tensor([n / 2 for n in range(-9, 10)] + [4194303.5, -4194303.5, 1e-10, -1e-10], dtype=dtype)
    up, down = (torch.nextafter(marks, torch.full_like(marks, bound)) for bound in (math.inf, -math.inf))
    return torch.cat([marks, up, down])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_roundings_are_those_of_exact_fractions(rounding: str, dtype: torch.dtype) -> None:
    x = near(dtype)
    got = R.FixedPoint(0, 24, ROUNDINGS[rounding]).rounded(x)
    assert got.tolist() == [EXACT[rounding](Fraction(each)) for each in x.tolist()]
    assert not torch.signbit(got[got == 0]).any()


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_products_are_those_of_integers(rounding: str) -> None:
    """Also where float32 does not hold the product: of 24 bits and 12 bits."""
    rng = np.random.default_rng(0)
    grid = R.FixedPoint(0, 24, ROUNDINGS[rounding])
    for k in (0, 1, 2047, 2048, 3001, 4095, 4096):
        v = rng.integers(-(2**23), 2**23, 2000)
        v[:6] = [2**23 - 1, -(2**23), 4096, -4096, -1, 2**22 + 2048]
        got = grid.scaled(torch.tensor(v, dtype=torch.float32), k / 4096)
        assert got.tolist() == [EXACT[rounding](Fraction(int(each) * k, 4096)) for each in v]


@pytest.mark.sampled
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("kind", STATES)
def test_twins_have_the_same_gradients(kind: str, rounding: str, overflow: str) -> None:
    # in a narrow range, so that saturation and turns have gradients; one that is left has none
    grid = R.FixedPoint(5, 12 if overflow == "error" else 7, ROUNDINGS[rounding], OVERFLOWS[overflow])
    draw = torch.Generator().manual_seed(3)
    xs = 1.6 * torch.rand(17, 6, dtype=torch.float64, generator=draw) - 0.5
    decay, slow = (torch.floor(16 * torch.rand(6, dtype=torch.float64, generator=draw)) / 16 for _ in range(2))
    shared = {"grid": grid, "threshold": torch.full((6,), 0.75, dtype=torch.float64), "reset": F.by_subtraction}
    own = {"decay": decay} | ({"decay_syn": slow} if kind == "cuba_lif" else {})
    step, twin = (getattr(side, f"fixed_point_{kind}_step") for side in (P, J.fixed_point))
    check_twin(step, twin, F.zeros_state(STATES[kind], xs[0]), xs, params=own | shared, backend="fused")


def test_gradients_pass_roundings_and_stop_where_a_membrane_saturates() -> None:
    xs = torch.full((3, 1), 0.3, dtype=torch.float64, requires_grad=True)
    grid = R.FixedPoint(2, 8, R.round_half_up)
    never = {"threshold": 1e6, "reset": F.none, "decay": 0.5, "grid": grid}
    state, _ = F.scan(P.fixed_point_lif_step, P.FixedPointLIFState(torch.zeros(1).double()), xs, params=never)
    # 0.25, 0.25 + 0.25 by half up, 0.25 + 0.25
    assert state.v.tolist() == [0.5]
    (found,) = torch.autograd.grad(state.v, xs)
    assert found.flatten().tolist() == [0.25, 0.5, 1.0]
    for rule, slope in ((R.saturate, 0.0), (R.wrap, 1.0), (R.overflow_to_nan, 0.0)):
        u = torch.tensor([40.0], requires_grad=True)
        v = grid._replace(overflow=rule).limited(u)
        assert torch.autograd.grad(v, u)[0].item() == slope


@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_a_membrane_that_has_left_its_range_is_no_number_nor_are_its_spikes(backend: F.Backend) -> None:
    xs = torch.tensor([[1.0, 1.0], [1.0, -0.5], [-2.0, 0.0]])
    params = {"grid": R.FixedPoint(2, 4, R.round_floor, R.overflow_to_nan), "threshold": 1.75, "reset": F.none}
    step: Any = F.Returning(P.fixed_point_if_step, ("v",))
    rest = P.FixedPointIFState(torch.zeros(2))
    _, (spikes, v) = F.scan(step, rest, xs, params=params, backend=backend)
    for found in (v, spikes):
        assert found[:, 0].isnan().tolist() == [False, True, True]
    assert v[:, 1].tolist() == [1.0, 0.5, 0.5]
    assert spikes[:, 1].tolist() == [0.0, 0.0, 0.0]
