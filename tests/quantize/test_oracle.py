"""The oracle of whole networks beside tables by hand, Python's own integers and fractions."""

from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.quantize import fractions_path, shifts
from tests.quantize.descriptions import (
    ROUNDINGS,
    Conv2d,
    Linear,
    Loihi,
    Network,
    Neuron,
    Speck,
    SumPool2d,
    Whole,
    Xylo,
    bound_of,
    bounds,
)
from tests.quantize.oracle import ROUND, limited, run, scaled
from tests.quantize.oracle_chips import xylo_by_events
from tests.quantize.random_networks import draw
from tests.quantize.traces import Trace

# value, bits, and value / 2**bits by each rounding
ROUNDED = [
    (0, 3, (0, 0, 0, 0)),
    (-7, 0, (-7, -7, -7, -7)),
    (1, 1, (0, 0, 1, 0)),
    (3, 1, (1, 1, 2, 2)),
    (5, 1, (2, 2, 3, 2)),
    (-1, 1, (-1, 0, 0, 0)),
    (-3, 1, (-2, -1, -1, -2)),
    (-5, 1, (-3, -2, -2, -2)),
    (5, 2, (1, 1, 1, 1)),
    (7, 2, (1, 1, 2, 2)),
    (-5, 2, (-2, -1, -1, -1)),
    (-7, 2, (-2, -1, -2, -2)),
    (-8, 2, (-2, -2, -2, -2)),
    (-10, 2, (-3, -2, -2, -2)),
    (2**23 - 1, 12, (2047, 2047, 2048, 2048)),
    (-(2**23) + 1, 12, (-2048, -2047, -2048, -2048)),
]
# value, and what 4 bits hold of it: saturated, wrapped
HELD = [(7, 7, 7), (8, 7, -8), (16, 7, 0), (23, 7, 7), (-8, -8, -8), (-9, -8, 7), (-25, -8, 7), (0, 0, 0)]


drawn = cache(draw)


def whole(*numbers: Any) -> Whole:
    return np.array(numbers, np.int64)


def layer(**changes: Any) -> Neuron:
    """Return one neuron of 4 bits without a fraction, which keeps 3/4 and fires at 4."""
    options: dict[str, Any] = {"kind": "lif", "shape": (1,), "fraction_bits": 0, "membrane_bits": 4}
    options |= {"threshold": np.array(4), "decay": (3, 2)}
    return Neuron(**options | changes)


def through(node: Any, *x: int, exponent: int = 0) -> Trace:
    """Return what one neuron does with an input."""
    drive = whole(*x).reshape(1, -1, 1)
    span = (int(drive.min()), int(drive.max()))
    return run(Network((node,), (1,), exponent, span, drive))[0]


def rows(trace: Trace) -> tuple[list[int], ...]:
    return tuple(each.ravel().tolist() for each in (trace.spikes, trace.u, trace.v))


@pytest.mark.parametrize(("value", "bits", "expected"), ROUNDED)
def test_rounding_by_hand(value: int, bits: int, expected: tuple[int, ...]) -> None:
    assert tuple(int(ROUND[name](whole(value), bits)[0]) for name in ROUNDINGS) == expected
    assert tuple(int(scaled(whole(value), bits + 5, 5, name)[0]) for name in ROUNDINGS) == expected
    assert tuple(fractions_path.ROUND[name](Fraction(value, 2**bits)) for name in ROUNDINGS) == expected
    assert tuple(shifts.decayed(value, 1, bits, name) for name in ROUNDINGS) == expected


@pytest.mark.parametrize(("value", "saturated", "wrapped"), HELD)
def test_overflow_by_hand(value: int, saturated: int, wrapped: int) -> None:
    outside = int(not -8 <= value <= 7)
    for overflow, expected in (("saturate", saturated), ("wrap", wrapped)):
        held, overflows = limited(whole(value), layer(overflow=overflow))
        assert (int(held[0]), overflows) == (expected, outside)
    assert shifts.saturated(value, 4) == saturated
    assert shifts.wrapped(value, 4) == wrapped
    if outside:
        with pytest.raises(OverflowError, match="1 numbers are outside of -8 to 7"):
            limited(whole(value), layer(overflow="error"))


# input 3, 3, 3, -9; floor: kept 0, 2, ...
BY_HAND = {
    "zero": ([0, 1, 0, 0], [3, 5, 3, -7], [3, 0, 3, -7], 0),
    "subtraction": ([0, 1, 0, 0], [3, 5, 3, -7], [3, 1, 3, -7], 0),
    "value": ([0, 1, 0, 0], [3, 5, 1, -8], [3, -2, 1, -8], 1),
    "none": ([0, 1, 1, 0], [3, 5, 6, -5], [3, 5, 6, -5], 0),
}


@pytest.mark.parametrize("reset", BY_HAND)
def test_a_leaky_neuron_by_hand(reset: str) -> None:
    trace = through(layer(reset=reset, v_reset=-2), 3, 3, 3, -9)
    assert (*rows(trace), trace.overflows) == BY_HAND[reset]


def test_other_neurons_by_hand() -> None:
    cuba = through(layer(kind="cuba", decay_synapse=(1, 1), threshold=np.array(5)), 4, 0, 0, -3, 0)
    assert cuba.i.ravel().tolist() == [4, 2, 1, -3, -2]  # half of 1 is 0, of -3 is -2
    assert rows(cuba) == ([0, 1, 0, 0, 0], [4, 5, 1, -3, -5], [4, 0, 1, -3, -5])
    # 7 + 2 = 9 wraps to -7; -7 - 2 = -9 to 7
    wraps = through(layer(kind="if", overflow="wrap", reset="none", threshold=np.array(7)), 7, 2, -2)
    assert rows(wraps) == ([1, 0, 1], [7, -7, 7], [7, -7, 7])
    assert wraps.overflows == 2
    at_threshold = [through(layer(strict=strict), 4, 1).spikes.ravel().tolist() for strict in (False, True)]
    assert at_threshold == [[1, 0], [0, 0]]


def test_grids_by_hand() -> None:
    """What arrives in eighths is rounded to quarters, after the recurrent input in sixteenths is added."""
    node = layer(kind="if", fraction_bits=2, rounding="half_even", threshold=np.array(2), reset="zero")
    assert rows(through(node, 1, 3, -1, exponent=3)) == ([0, 1, 0], [0, 2, 0], [0, 0, 0])
    fed = layer(kind="if", fraction_bits=2, recurrent=whole([-3]), recurrent_exponent=4, threshold=np.array(2))
    # 5/8 is 2 quarters; 5/8 - 3/16 = 7/16 is 1
    assert rows(through(fed, 5, 5, 5, exponent=3)) == ([1, 0, 1], [2, 1, 3], [0, 1, 0])
    coarse = layer(kind="if", fraction_bits=2, threshold=np.array(7))
    assert rows(through(coarse, 1, -1, exponent=0)) == ([0, 0], [4, 0], [4, 0])


def test_all_membranes_and_all_decays_of_few_bits() -> None:
    V, k = np.arange(-32, 32)[:, None], np.arange(17)
    for name in ROUNDINGS:
        exact = [[fractions_path.ROUND[name](Fraction(int(v) * j, 16)) for j in range(17)] for v in V[:, 0]]
        assert np.array_equal(ROUND[name](V * k, 4), exact)
        assert exact == [[shifts.decayed(int(v), j, 4, name) for j in range(17)] for v in V[:, 0]]


def test_wide_membranes_fit_into_int32_of_c() -> None:
    rng = np.random.default_rng(0)
    V = [*rng.integers(-(2**23), 2**23, 200).tolist(), -(2**23), 2**23 - 1, 3 * 2**11, -3 * 2**11]
    for v, k, name in product(V, (0, 1, 4095, 4096, 2731), ROUNDINGS):
        assert shifts.decayed(v, k, 12, name) == fractions_path.ROUND[name](Fraction(v * k, 4096))
    for total in [*rng.integers(-(2**25), 2**25, 500).tolist(), 2**23, -(2**23) - 1]:
        node = layer(membrane_bits=24, overflow="wrap")
        assert shifts.wrapped(total, 24) == fractions_path.held(total, node) == limited(whole(total), node)[0]


def test_a_product_in_rounded_parts_is_wrong_for_half_to_even() -> None:
    """24 = 1 * 16 + 8 halves to 12: times 3 / 16, 4.5 is 4, and 3 + 1.5 rounded would be 5."""
    assert shifts.decayed(24, 3, 4, "half_even") == 4
    assert 3 + fractions_path.ROUND["half_even"](Fraction(8 * 3, 16)) == 5


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_in_fractions(seed: int) -> None:
    """The first steps of one sample, in real units and by the definitions of the layers."""
    network = drawn(seed)
    short = Network(network.nodes, network.input_shape, network.input_exponent, network.input_range, network.x[:1, :2])
    try:
        slow = fractions_path.run(short, 0)
    except OverflowError:
        with pytest.raises(OverflowError):
            run(short)
        return
    for trace, steps in zip(run(short), slow, strict=True):
        for t, step in enumerate(steps):
            for quick, exact in zip((trace.spikes, trace.u, trace.v, trace.i), step, strict=True):
                assert all([quick[0, t][place] == value for place, value in exact.items()])
                assert quick[0, t].size == len(exact)


def test_draws_repeat_and_cover_the_limits() -> None:
    networks = [drawn(seed) for seed in range(60)]
    assert np.array_equal(draw(7).x, networks[7].x)
    layers = [node for network in networks for node in network.neurons]
    seen = {(node.kind, node.rounding) for node in layers} | {(node.reset, node.overflow) for node in layers}
    assert len(seen) == 3 * 4 + 4 * 3
    nodes = [node for network in networks for node in network.nodes]
    assert {type(node) for node in nodes} >= {Linear, Conv2d, SumPool2d}
    assert any(np.any(node.threshold == node.high) for node in layers)
    assert any(np.any(node.threshold == 1) for node in layers)
    assert {0, 1} <= {Fraction(int(k), 2**m) for k, m in (node.decay for node in layers) if np.ndim(k) == 0}
    assert {network.x.shape[1] for network in networks} >= {1, 32}
    assert any(node.shape == (1,) for node in layers)
    assert any(node.fraction_bits > 0 and node.recurrent is not None for node in layers)
    assert any(bound.split for network in networks for bound in bounds(network))
    assert sum(network.exact for network in networks) >= 54


def test_bounds_by_hand() -> None:
    weight, x = whole([3, -4], [1, 1]), np.zeros((1, 1, 2), np.int64)
    node = layer(shape=(2,), fraction_bits=1, membrane_bits=8, decay=(5, 3), recurrent=whole([1, -1], [2, 2]))
    network = Network((Linear(weight, whole(5, -6), 3), node), (2,), 1, (-2, 1), x)
    # 7 * 2 + 5 sixteenths, 4 of recurrent input, and 128 halves
    (bound,) = bounds(network)
    assert bound == (7 * 2 + 5 + 4 * 16 + 128 * 8, 128 * 5)
    assert network.exact
    at = layer(membrane_bits=23, decay=(1, 1))
    assert [bound_of(at, 0, 2**24 - 2**22 - change).holds for change in (0, 1)] == [False, True]
    assert [bound_of(layer(membrane_bits=21, decay=(k, 4)), 0, 1).split for k in (16, 15)] == [False, False]
    assert bound_of(layer(membrane_bits=22, decay=(16, 4)), 0, 1).split


def test_loihi_by_hand() -> None:
    def one(**changes: Any) -> Loihi:
        options = {"du": np.array(2047), "dv": np.array(0), "vth": np.array(2), "bias": np.array(0)}
        return Loihi((1,), **options | changes)

    # half of the current stays, towards zero; 128 is not above 2 * 64
    trace = through(one(), 1, 0, 1, -1)
    assert trace.i.ravel().tolist() == [64, 32, 80, -24]
    assert rows(trace) == ([0, 0, 1, 0], [64, 96, 176, -24], [64, 96, 0, -24])
    assert rows(through(one(du=np.array(4095)), 2, 0)) == ([0, 0], [128, 128], [128, 128])
    # the current wraps at 2**23, which itself stays, and the membrane is clipped below it
    large = through(one(du=np.array(-1), vth=np.array(131071)), 2**17, 1, -(2**17))
    assert large.i.ravel().tolist() == [2**23, -(2**23) + 64, 64]
    assert rows(large)[1:] == ([2**23 - 1, -(2**23) + 64, -(2**23) + 128], [0, -(2**23) + 64, -(2**23) + 128])
    assert large.overflows == 3  # the first is clipped, the second and the third wrap


def test_xylo_by_hand() -> None:
    node = Xylo((1,), np.array(1), np.array(2), np.array(10), np.array(1))
    # i: 8 - 2, 6 - 1, ...; u: v - leak + i + 1
    trace = through(node, 8, 0, 40, -100)
    assert trace.i.ravel().tolist() == [6, 5, 34, -49]
    assert rows(trace) == ([0, 1, 3, 0], [7, 10, 35, -45], [7, 0, 5, -45])
    assert through(node, 2**15).overflows == 1
    few = Xylo((1,), np.array(1), np.array(2), np.array(10), np.array(1), max_spikes=1)
    assert rows(through(few, 8, 0, 40)) == ([0, 1, 1], [7, 10, 35], [7, 0, 25])


def test_xylo_saturates_at_each_event() -> None:
    node = Xylo((1,), np.array(1), np.array(1), np.array(30000), None)
    weight, counts = whole([127 * 256, -127 * 256]), whole([2, 1]).reshape(1, 1, 2)
    assert xylo_by_events(node, counts, weight).i.ravel().tolist() == [(32767 - 32512) - (255 >> 1)]
    summed = run(Network((Linear(weight, None, 0), node), (2,), 0, (0, 2), counts))[0]
    assert summed.i.ravel().tolist() == [32512 - 16256]
    gentle = xylo_by_events(node, counts, weight >> 8)
    assert np.array_equal(gentle.i, run(Network((Linear(weight >> 8, None, 0), node), (2,), 0, (0, 2), counts))[0].i)


def test_speck_by_hand() -> None:
    assert rows(through(Speck((1,), 3, -4), 2, 5, -9, 4)) == ([0, 2, 0, 0], [2, 7, -8, 0], [2, 1, -4, 0])
