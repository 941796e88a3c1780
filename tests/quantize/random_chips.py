"""Random layers of the chips' neurons, with weights and an input; the same for a seed.

``bits`` are those after the point of the layers' membranes, whose unit is a register's.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from tests.quantize.descriptions import Linear, Loihi, Network, Node, Speck, Xylo
from tests.quantize.oracle import Signal, run
from tests.quantize.random_networks import extend, form


def draw_loihi(seed: int, bits: int = 8) -> Network:
    """Return a layer whose currents wrap and whose membranes are clipped in some of the draws."""
    rng = np.random.default_rng(seed)
    inputs, M = _sizes(rng)
    weight, span = rng.integers(-128, 128, (M, inputs)) << int(rng.integers(0, 12)), _span(rng)
    while int(np.abs(weight).sum(1).max()) * span > 2**17:  # so that a sum wraps around once at most
        weight >>= 1
    limits = rng.choice([0, 4095, 1, 2048], (2, M))
    du, dv = np.where(rng.random((2, M)) < 0.3, limits, rng.integers(0, 4096, (2, M)))
    most = max(1, int(np.abs(weight).max()) * int(rng.choice([1, 8, 64])))
    vth = rng.choice([rng.integers(0, min(most, 2**17), M), np.full(M, rng.choice([0, 2**17 - 1]))])
    bias = rng.integers(-4096, 4096, M) << int(rng.integers(0, 8))
    layer = Loihi((M,), bits, du, dv, vth, bias * int(rng.integers(0, 2)))
    return _network(rng, seed, Linear(weight, None, bits - 6), layer, span)


def draw_xylo(seed: int, bits: int = 8, quiet: bool = False) -> Network:
    """Return a layer with 8 bits of weights, shifted in some draws, so that the registers saturate in some of them.

    The weights of quiet ones are so small that in many draws no order of events lets a current saturate.
    """
    rng = np.random.default_rng(seed)
    inputs, M = _sizes(rng)
    shift = int(rng.choice([0, 0, 2, 5, 6]))
    weight, recurrent = (rng.integers(-128, 128, (M, each)) << shift for each in (inputs, M))
    threshold = rng.choice([np.ones(M), np.full(M, 2**15 - 1), rng.integers(1, 1 + (600 << shift), M)])
    bias = rng.integers(-(2**9), 2**9, M) if rng.random() < 0.5 else None
    dash_mem, dash_syn = rng.integers(1, 16, (2, M))
    if quiet:
        weight, recurrent = rng.integers(-40, 80, (M, inputs)), rng.integers(-4, 4, (M, M))
        dash_syn, threshold = rng.integers(1, 3, M), np.clip(threshold, 1, 300)
    layer = Xylo(
        (M,),
        bits,
        dash_mem,
        dash_syn,
        np.clip(threshold, 1, 2**15 - 1).astype(np.int64),
        bias,
        int(rng.choice([31, 31, 1])),
        recurrent if rng.random() < 0.5 else None,
    )
    return _network(rng, seed, Linear(weight, None, bits), layer, _span(rng))


def draw_speck(seed: int, bits: int = 8) -> Network:
    """Return a layer with 8 bits of weights and of biases, and a lower limit of 16 bits or above."""
    rng = np.random.default_rng(seed)
    inputs, M = _sizes(rng)
    weight = rng.integers(-128, 128, (M, inputs))
    bias = rng.integers(-128, 128, M) if rng.random() < 0.5 else None
    low = -int(rng.choice([2**15, 0, 1, 200, 2000]))
    layer = Speck((M,), bits, int(rng.choice([1, 127, 500, 2**15 - 1])), low)
    return _network(rng, seed, Linear(weight, bias, bits), layer, _span(rng))


def parts(network: Network) -> tuple[Linear, Xylo]:
    """Return weights and neurons of a layer of Xylo."""
    linear, node = network.nodes
    assert isinstance(linear, Linear)
    assert isinstance(node, Xylo)
    return linear, node


def _sizes(rng: Generator) -> tuple[int, int]:
    inputs, M = rng.choice([1, 4, 16, 24], 2).tolist()
    return inputs, M


def _span(rng: Generator) -> int:
    """Return the most that an input gives at a step."""
    return int(rng.choice([1, 1, 3, 15]))


def _network(rng: Generator, seed: int, linear: Linear, layer: Node, most: int) -> Network:
    shape = (int(rng.integers(1, 4)), int(rng.choice([1, 2, 17, 32])), linear.weight.shape[1])
    x = rng.integers(0, most, shape, endpoint=True) * (rng.random(shape) < rng.choice([0.1, 0.5, 1.0]))
    return Network((linear, layer), shape[2:], 0, (0, most), x, seed)


DRAWS: dict[str, Callable[[int, int], Network]] = {"loihi": draw_loihi, "xylo": draw_xylo, "speck": draw_speck}


def draw_chain(seed: int) -> Network:
    """Return a layer of a chip, whose neurons may fire several times in a step, and other neurons behind it."""
    chip, rng = [*DRAWS][seed % 3], np.random.default_rng([8, seed])
    network = draw_xylo(seed, quiet=True) if chip == "xylo" else DRAWS[chip](seed, 8)
    nodes, spikes = [*network.nodes], run(network)[0].spikes
    extend(rng, form(rng), nodes, Signal(spikes, 0), max(1, int(spikes.max())))
    return replace(network, nodes=tuple(nodes))
