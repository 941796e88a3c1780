"""Random layers of the chips' neurons, with weights and an input; the same for a seed."""

import numpy as np
from numpy.random import Generator

from tests.quantize.descriptions import Linear, Loihi, Network, Node, Speck, Xylo


def draw_loihi(seed: int) -> Network:
    """Return a layer whose currents wrap and whose membranes are clipped in some of the draws."""
    rng = np.random.default_rng(seed)
    inputs, M = _sizes(rng)
    weight = rng.integers(-128, 128, (M, inputs)) << int(rng.integers(0, 9))
    limits = rng.choice([0, 4095, 1, 2048], (2, M))
    du, dv = np.where(rng.random((2, M)) < 0.3, limits, rng.integers(0, 4096, (2, M)))
    most = max(1, int(np.abs(weight).max()) * int(rng.choice([1, 8, 64])))
    vth = rng.choice([rng.integers(0, min(most, 2**17), M), np.full(M, rng.choice([0, 2**17 - 1]))])
    bias = rng.integers(-4096, 4096, M) << int(rng.integers(0, 8))
    return _network(rng, seed, Linear(weight, None, 0), Loihi((M,), du, dv, vth, bias * int(rng.integers(0, 2))))


def draw_xylo(seed: int) -> Network:
    """Return a layer with 8 bits of weights, shifted in some draws, so that the registers saturate in some of them."""
    rng = np.random.default_rng(seed)
    inputs, M = _sizes(rng)
    shift = int(rng.choice([0, 0, 2, 5, 7]))
    weight, recurrent = (rng.integers(-128, 128, (M, each)) << shift for each in (inputs, M))
    threshold = rng.choice([np.ones(M), np.full(M, 2**15 - 1), rng.integers(1, 1 + (600 << shift), M)])
    bias = rng.integers(-(2**9), 2**9, M) if rng.random() < 0.5 else None
    layer = Xylo(
        (M,),
        rng.integers(1, 16, M),
        rng.integers(1, 16, M),
        np.clip(threshold, 1, 2**15 - 1).astype(np.int64),
        bias,
        int(rng.choice([31, 31, 1])),
        recurrent if rng.random() < 0.5 else None,
    )
    return _network(rng, seed, Linear(weight, None, 0), layer)


def draw_speck(seed: int) -> Network:
    """Return a layer with 8 bits of weights and of biases, and a lower limit of 16 bits or above."""
    rng = np.random.default_rng(seed)
    inputs, M = _sizes(rng)
    weight = rng.integers(-128, 128, (M, inputs))
    bias = rng.integers(-128, 128, M) if rng.random() < 0.5 else None
    low = -int(rng.choice([2**15, 0, 1, 200, 2000]))
    return _network(rng, seed, Linear(weight, bias, 0), Speck((M,), int(rng.choice([1, 127, 500, 2**15 - 1])), low))


def _sizes(rng: Generator) -> tuple[int, int]:
    inputs, M = rng.choice([1, 4, 16, 24], 2).tolist()
    return inputs, M


def _network(rng: Generator, seed: int, linear: Linear, layer: Node) -> Network:
    most = int(rng.choice([1, 1, 3, 15]))
    shape = (int(rng.integers(1, 4)), int(rng.choice([1, 2, 17, 32])), linear.weight.shape[1])
    x = rng.integers(0, most, shape, endpoint=True) * (rng.random(shape) < rng.choice([0.1, 0.5, 1.0]))
    return Network((linear, layer), shape[2:], 0, (0, most), x, seed)
