"""Random networks of FixedPoint layers, and layers of chips, beside the oracle: every spike, membrane and current.

A sample runs here. For more networks, and the counts of what has been compared,

    python -m tests.quantize.random_networks --count 5000
"""

from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch

from tests.quantize.descriptions import Linear, Network, Neuron, Whole, bounds, images
from tests.quantize.float_networks import F32, F64, WAYS, Way, compare
from tests.quantize.random_chips import DRAWS
from tests.quantize.random_networks import draw

# seeds modulo this have the same kernels
STYLES = 4
# a fold is proven on noise, which may overflow
pytestmark = pytest.mark.filterwarnings("ignore:.*has left the range.*and overflow='error':RuntimeWarning")
drawn = cache(draw)


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(40))
def test_step_by_step(seed: int) -> None:
    counts = Counter[str]()
    compare(drawn(seed), [Way(), Way(event_driven="on", records=False)], counts)
    assert counts["runs"] == 2 or not drawn(seed).exact


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(4 * STYLES))
def test_in_kernels(seed: int) -> None:
    compare(drawn(seed, STYLES), [Way("auto", "off" if seed % 2 else "on", records=False)], Counter())


@pytest.mark.long
def test_many_networks() -> None:
    """Every way is taken, as there are fewer than the 50 forms."""
    counts = Counter[str]()
    for seed in range(10_000, 10_150):
        compare(draw(seed, 50), [Way(), WAYS[seed % 50 % len(WAYS)]], counts)
    assert counts["runs"] > 275
    assert counts["saturated"] > 7_500


SEEDS = [*range(25), pytest.param(range(100, 500), id="many", marks=pytest.mark.long)]


@pytest.mark.sampled
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("chip", DRAWS)
def test_chips(chip: str, seeds: int | range) -> None:
    for seed in [seeds] if isinstance(seeds, int) else seeds:
        dtype = F64 if seed % 5 == 4 else F32
        compare(DRAWS[chip](seed, (12, 8, 6, 14)[seed % 4]), [Way(dtype=dtype)], Counter())
        compare(DRAWS[chip](seed, 8 if dtype == F32 else 10), [Way("auto", dtype=dtype)], Counter())


def test_draws_repeat_and_cover_the_limits() -> None:
    networks = [drawn(seed) for seed in range(60)]
    assert np.array_equal(draw(7).x, networks[7].x)
    layers = [node for network in networks for node in network.neurons]
    seen = {(node.kind, node.rounding) for node in layers} | {(node.reset, node.overflow) for node in layers}
    assert len(seen) == 3 * 4 + 4 * 3
    assert any(np.any(node.threshold == node.high) for node in layers)
    assert any(np.any(node.threshold == 1) for node in layers)
    assert {0, 1} <= {Fraction(int(k), 2**m) for k, m in (node.decay for node in layers) if np.ndim(k) == 0}
    assert {network.x.shape[1] for network in networks} >= {1, 32}
    assert any(node.shape == (1,) for node in layers)
    assert any(map(images, layers))
    assert any(node.fraction_bits > 0 and node.recurrent is not None for node in layers)
    assert any(bound.split for network in networks for bound in bounds(network))
    assert sum(network.exact for network in networks) >= 54


def one_layer(weight: Whole, x: Whole, node: Neuron, exponent: int = 0) -> Network:
    span = (int(x.min()), int(x.max()))
    return Network((Linear(weight, None, exponent), node), x.shape[2:], 0, span, x)


@pytest.mark.parametrize("rounding", ["floor", "trunc", "half_up", "half_even"])
@pytest.mark.parametrize("m", [1, 3, 4, 12])
def test_wide_membranes_whose_product_with_the_decay_is_halfway(rounding: str, m: int) -> None:
    """V = h 2**m + 2**(m-1) and odd k: half of a unit remains, where the split of the product decides."""
    V = np.array([[h * 2**m + 2 ** (m - 1), -(h * 2**m + 2 ** (m - 1))] for h in (0, 1, 2, 3, 100, 101, 1001)])
    V = np.concatenate([V.ravel(), V.ravel() + 1, V.ravel() - 1, [2**23 - 1, -(2**23), 2**22 + 1]])
    x = np.stack([V, np.zeros_like(V), np.zeros_like(V)])[None]
    for k in {1, 2**m - 1, max(2**m // 3, 1) | 1, 2**m}:
        node = Neuron("lif", V.shape, 0, 24, np.array(2**23 - 1), (k, m), rounding=rounding, reset="none")
        network = one_layer(np.eye(len(V), dtype=np.int64), x, node)
        compare(network, [Way()], Counter()) if network.exact else compare(network, [Way(dtype=F64)], Counter())


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("rounding", ["floor", "trunc", "half_up", "half_even"])
def test_sums_just_below_the_bound(rounding: str, dtype: torch.dtype) -> None:
    """Sums of 24 bits, rounded to a membrane of 8: with the bound at its limit, and odd numbers next to halves."""
    x = np.array([[2**24 - 1 - 2**15 * 2**8, 2**23 - 129, -(2**23) + 129, 2**22 + 128, -(2**22) - 128, 384, -384]])
    x = x.reshape(1, 1, -1)
    weight = np.eye(x.size, dtype=np.int64)
    node = Neuron("if", (x.size,), 0, 16, np.array(2**15 - 1), rounding=rounding, reset="none")
    network = one_layer(weight, x, node, 8)
    (bound,) = bounds(network)
    assert bound.total == 2**24 - 1
    compare(network, [Way(dtype=dtype)], Counter())
