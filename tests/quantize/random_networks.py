"""Random networks of whole numbers, the same for a seed.

``draw`` gives chains of linear layers or convolutions with sum pooling, each followed by neurons, with an input. What
is at a limit comes often: weights of zero or of the largest value, thresholds of 1 unit and at the top, decays of 0 and
1, membranes that saturate, neurons that are silent or fire at every step, one step, one neuron.
"""

import argparse
import contextlib
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from tests.quantize import descriptions
from tests.quantize.descriptions import OVERFLOWS, RESETS, Conv2d, Linear, Network, Neuron, Node, SumPool2d, Whole
from tests.quantize.oracle import Signal, neurons, summed

WEIGHT_BITS = (1, 2, 3, 4, 8, 8, 16)
MEMBRANE_BITS = (2, 4, 6, 8, 8, 10, 12, 16, 16, 20, 24)


class Form(NamedTuple):
    """What a layer of neurons computes, apart from its numbers: one kernel."""

    kind: str
    rounding: str
    overflow: str
    reset: str
    feedback: str  # recurrent weights: "", "dense", which are a convolution of images, or "each"
    own: bool  # numbers for each neuron, and not for each channel, where there are several
    thresholds: bool  # one for each neuron, or channel
    decays: tuple[bool, bool]  # likewise, of membrane and current
    flat: bool  # an image is flattened before the weights
    strict: bool  # fires at > in place of >=


def form(rng: Generator) -> Form:
    """Return the form of a layer."""
    overflow = str(rng.choice(["saturate", "saturate", "wrap", "error"]))
    feedback = str(rng.choice(["", "", "", "dense", "each"]))
    kind, rounding, reset = (
        str(rng.choice(each)) for each in (["if", "lif", "lif", "cuba"], descriptions.ROUNDINGS, RESETS)
    )
    own, thresholds, first, second, flat = (rng.random(5) < (0.5, 0.3, 0.3, 0.3, 0.3)).tolist()
    strict = bool(rng.random() < 0.25)
    return Form(kind, rounding, overflow, reset, feedback, own, thresholds, (first, second), flat, strict)


def draw(seed: int, styles: int = 1000) -> Network:
    """Return the network of a seed; seeds that are equal modulo ``styles`` have neurons of the same forms."""
    rng, style = np.random.default_rng(seed), np.random.default_rng([7, seed % styles])
    bits, signed = int(rng.integers(1, 5)), rng.random() < 0.3
    span = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    image = style.random() < 0.35
    shape = (size(rng, 3), size(rng, 7, 3), size(rng, 7, 3)) if image else (size(rng, 24),)
    N, T = int(rng.choice([1, 1, 2, 3, 5])), int(rng.choice([1, 2, 3, 9, 17, 32]))
    exponent = int(rng.choice([0, 0, 0, 1, bits, 6]))
    x = inputs(rng, (N, T, *shape), span)
    signal, nodes = Signal(x, exponent), list[Node]()
    for _ in range(int(style.integers(1, 4))):
        signal = extend(rng, form(style), nodes, signal, max(abs(edge) for edge in span) if not nodes else 1)
    return Network(tuple(nodes), shape, exponent, span, x, seed)


def size(rng: Generator, most: int, least: int = 1) -> int:
    """Return a number of something, which is the least in one of four draws."""
    return least if rng.random() < 0.25 else int(rng.integers(least, most + 1))


def inputs(rng: Generator, shape: tuple[int, ...], span: tuple[int, int]) -> Whole:
    """Return an input: all zero, all at a limit, or with more or fewer zeros."""
    way = rng.random()
    if way < 0.1:
        return np.full(shape, rng.choice([0, *span]), np.int64)
    drawn = rng.integers(span[0], span[1], shape, endpoint=True)
    return drawn * (rng.random(shape) < rng.choice([0.1, 0.5, 1.0]))


def extend(rng: Generator, form: Form, nodes: list[Node], signal: Signal, largest: int) -> Signal:
    """Append weights, maybe pooling, and neurons; return what these fire."""
    stage = list[Node]()

    def append(node: Node) -> None:
        nonlocal signal
        stage.append(node)
        signal = summed(node, signal)

    if signal.values.ndim == 5 and rng.random() < 0.3:
        append(pool(rng, signal))
    if signal.values.ndim == 5 and form.flat:
        append(descriptions.Flatten())
    append(weights(rng, signal))
    if signal.values.ndim == 5 and rng.random() < 0.3:
        append(pool(rng, signal))
    layer, finer = fitting(rng, form, signal, stage, largest)
    layer, spikes = livelier(rng, layer, Signal(signal.values, signal.exponent + finer))
    nodes += [replace(node, exponent=finer) if isinstance(node, (Linear, Conv2d)) else node for node in stage]
    nodes.append(layer)
    return Signal(spikes, 0)


def pool(rng: Generator, signal: Signal) -> SumPool2d:
    """Return sums or means over windows that fit into an image."""
    *_, H, W = signal.values.shape
    kernel = int(rng.integers(1, min(H, W, 3), endpoint=True))
    mean = kernel == 2 and rng.random() < 0.5
    stride = kernel if rng.random() < 0.7 else int(rng.integers(1, 4))
    return SumPool2d((kernel, kernel), (stride, stride), 2 if mean else 0)


def numbers(rng: Generator, shape: tuple[int, ...]) -> Whole:
    """Return weights of some bits: zero, at a limit, sparse, or any."""
    bits, way = int(rng.choice(WEIGHT_BITS)), rng.random()
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if way < 0.12:
        return np.full(shape, rng.choice([0, low, high]), np.int64)
    drawn = rng.integers(low, high, shape, endpoint=True)
    if way < 0.25:
        drawn = rng.choice([0, low, high], shape)
    return drawn * (rng.random(shape) < rng.choice([0.3, 1.0, 1.0]))


def weights(rng: Generator, signal: Signal) -> Linear | Conv2d:
    """Return weights for a signal, with the exponent 0 for the time being."""
    shape = signal.values.shape[2:]
    biased = rng.random() < 0.6
    if len(shape) == 1:
        found = numbers(rng, (size(rng, 24), shape[0]))
        return Linear(found, offsets(rng, found) if biased else None, 0)
    C, H, W = shape
    groups = C if rng.random() < 0.25 else 1
    out = groups * size(rng, 4 if groups == 1 else 2)
    padding = tuple(rng.integers(0, 3, 2).tolist())
    dilation = tuple(rng.integers(1, 3, 2).tolist())
    room = [(edge + 2 * pad - 1) // gap + 1 for edge, pad, gap in zip((H, W), padding, dilation, strict=True)]
    kernel = [int(rng.integers(1, min(3, most), endpoint=True)) for most in room]
    found = numbers(rng, (out, C // groups, *kernel))
    stride = tuple(rng.integers(1, 3, 2).tolist())
    return Conv2d(found, offsets(rng, found) if biased else None, 0, stride, padding, dilation, groups)


def offsets(rng: Generator, weight: Whole) -> Whole:
    """Return biases of the size of a few weights."""
    most = 2 * int(np.abs(weight).max()) + 1
    return rng.integers(-most, most, len(weight), endpoint=True)


def fitting(rng: Generator, form: Form, signal: Signal, stage: list[Node], largest: int) -> tuple[Neuron, int]:
    """Return neurons for what arrives, and the exponent of its weights.

    The membrane's grid is chosen so that what arrives is a share of the membrane, or a few membranes. It is made to fit
    the bounds in all but a few draws.
    """
    bits, careless = int(rng.choice(MEMBRANE_BITS)), rng.random() < 0.05
    level = float(np.sqrt(np.mean(np.square(signal.values, dtype=np.float64)))) + 0.5
    share = 2.0 ** rng.uniform(-6.0, 2.0)
    coarser = int(np.clip(np.round(np.log2(level / share)) - (bits - 1), -10, 10))
    fraction = int(rng.integers(0, 13))
    seed = int(rng.integers(2**31))
    for node in stage:
        _, largest = descriptions.reach(node, 0, largest)
    while True:
        exponent = max(fraction + coarser, signal.exponent)
        own = np.random.default_rng(seed)
        layer = neuron(own, form, signal.values.shape[2:], bits, (exponent - coarser, exponent), level * 2.0**-coarser)
        if careless or descriptions.bound_of(layer, exponent, largest).holds or (bits == 2 and not coarser):
            break
        if coarser:
            coarser -= int(np.sign(coarser))
        else:
            bits = max(bits - 2, 2)
    if layer.overflow == "error" and rng.random() < 0.8:
        tried = neurons(replace(layer, overflow="saturate"), Signal(signal.values, exponent))
        layer = replace(layer, overflow=str(rng.choice(OVERFLOWS[:2]))) if tried.overflows else layer
    return layer, exponent - signal.exponent


def livelier(rng: Generator, layer: Neuron, signal: Signal) -> tuple[Neuron, Whole]:
    """Return the neurons, whose threshold is lowered in most cases if none of them fires, and their spikes."""
    trace = neurons(replace(layer, overflow="saturate"), signal)
    if trace.spikes.any() or trace.u.max() < 1 or rng.random() < 0.15:
        return layer, trace.spikes
    lower = max(1, int(trace.u.max() * rng.uniform(0.2, 1.0)))
    layer = replace(layer, threshold=np.minimum(layer.threshold, lower))
    return layer, neurons(replace(layer, overflow="saturate"), signal).spikes


def neuron(
    rng: Generator, form: Form, shape: tuple[int, ...], bits: int, grids: tuple[int, int], level: float
) -> Neuron:
    """Return neurons whose input has a level in units of their membrane.

    Args:
        rng: random numbers.
        form: what they compute.
        shape: shape of the neurons.
        bits: bits of the membrane.
        grids: bits of fraction of the membrane, and exponent of what arrives.
        level: typical size of what arrives, in units of the membrane.
    """
    kind, low, high = form.kind, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    own = shape if form.own else (*shape[:1], *(1 for _ in shape[1:]))
    recurrent, finer = None, 0
    if form.feedback:
        mixed = shape * 2 if len(shape) == 1 else (shape[0], shape[0], 3, 3)
        recurrent = numbers(rng, mixed if form.feedback == "dense" else own)
        finer = max(grids[1] + int(rng.integers(-2, 3)), 0)
    return Neuron(
        kind,
        shape,
        grids[0],
        bits,
        thresholds(rng, own if form.thresholds else (), level, high),
        decay=(1, 0) if kind == "if" else decay(rng, own if form.decays[0] else (), bits),
        decay_synapse=decay(rng, own if form.decays[1] else (), bits) if kind == "cuba" else None,
        rounding=form.rounding,
        overflow=form.overflow,
        reset=form.reset,
        v_reset=int(rng.choice([0, low, high, rng.integers(low, high)])) if form.reset == "value" else 0,
        strict=form.strict,
        recurrent=recurrent,
        recurrent_exponent=finer,
    )


def thresholds(rng: Generator, several: tuple[int, ...], level: float, high: int) -> Whole:
    """Return thresholds of 1, at the top, or about as large as what arrives; one for each neuron of a shape, or one."""
    way = rng.random()
    if way < 0.2:
        return np.full(several, 1 if way < 0.12 else high, np.int64)
    return np.clip(np.round(level * 2.0 ** rng.uniform(-1.0, 3.0, several)), 1, high).astype(np.int64)


def decay(rng: Generator, several: tuple[int, ...], bits: int) -> tuple[Any, int]:
    """Return (k, m) of a decay k / 2**m: 0, 1, next to them, or any; one for each neuron of a shape, or one."""
    m = int(rng.choice([1, 2, 3, 4, 6, 8, 12, max(12, 25 - bits)]))
    limits = [0, 2**m, 1, 2**m - 1]
    drawn = np.where(rng.random(several) < 0.25, rng.choice(limits, several), rng.integers(0, 2**m, several))
    return (drawn.astype(np.int64) if several else int(drawn)), m


def main() -> None:
    """Compare networks in torch with the oracle, and print what has been compared, after an interrupt as well."""
    from tests.quantize.float_networks import STEPS, WAYS, Way, compare

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="number of networks")
    parser.add_argument("--start", type=int, default=0, help="seed of the first")
    parser.add_argument("--styles", type=int, default=200, help="forms of networks; each compiles kernels")
    parser.add_argument("--step", action="store_true", help="mode step alone, in one way each, without kernels")
    given, counts, wrong = parser.parse_args(), Counter[str](), list[str]()
    with contextlib.suppress(KeyboardInterrupt):
        for seed in tqdm(range(given.start, given.start + given.count), unit="network", disable=None):
            kernels = (Way(), WAYS[seed % given.styles % len(WAYS)])
            try:
                compare(draw(seed, given.styles), (STEPS[seed % len(STEPS)],) if given.step else kernels, counts)
            except AssertionError as error:
                wrong.append(str(error))
    print("\n".join([*(f"{name}: {number:,}" for name, number in counts.items()), *wrong, f"wrong: {len(wrong)}"]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
