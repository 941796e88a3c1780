"""IntegerModel beside the reference that was written from the equations alone, and to_integer in between."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikingtorch.quantize import IntegerError, IntegerModel, to_integer
from spikingtorch.quantize import nodes as whole
from spikingtorch.quantize.grid import exponent_of
from tests.quantize import random_chips
from tests.quantize.c_programs import STRICT, compiled, expected, ran
from tests.quantize.descriptions import Linear, Loihi, Network, Speck, Xylo
from tests.quantize.float_networks import F32, build, real
from tests.quantize.oracle import run
from tests.quantize.random_networks import draw
from tests.quantize.traces import Trace

pytestmark = pytest.mark.sampled


def lowered(network: Network) -> IntegerModel | None:
    """Return the integers of a description, by way of a network in torch.

    None if sums may be too large, or if biases alone let a neuron overflow whose overflow is an error.
    """
    x = real(network.x, network.input_exponent, F32)
    try:
        return to_integer(build(network, mode="step", warn_silent=False), x, _range(network, x))
    except IntegerError as error:
        same = exponent_of(x) == network.input_exponent  # else the range of inputs is wider than the oracle's
        if error.rule != "sums" or (network.exact and same):
            raise
    except ValueError as error:
        if "has left the range" not in str(error):
            raise
    return None


def _range(network: Network, x: Any) -> Any:
    """Return the range of inputs in the units that to_integer finds."""
    scale = 2.0 ** (exponent_of(x) - network.input_exponent)
    low, high = (edge * scale for edge in network.input_range)
    return int(np.floor(low)), max(int(np.ceil(high)), 1)


def agree(network: Network, integer: IntegerModel, counts: Counter[str]) -> None:
    try:
        traces = run(network)
    except OverflowError:
        with pytest.raises(OverflowError):
            integer.run(real(network.x, network.input_exponent, F32))
        counts["overflows"] += 1
        return
    found = integer.run(real(network.x, network.input_exponent, F32), record=True)
    for (name, record), trace in zip(found.records.items(), traces, strict=True):
        for what in ("spikes", "u", "v", "i"):
            wrong = getattr(record, what) != getattr(trace, what)
            assert not wrong.any(), f"seed {network.seed}, layer {name}: {wrong.sum()} of {what} differ"
            counts["numbers"] += wrong.size
        counts["spikes"] += int(trace.spikes.sum())
    counts["networks"] += 1


def sweep(first: int, last: int) -> Counter[str]:
    counts = Counter[str]()
    for seed in range(first, last):
        network = draw(seed)
        integer = lowered(network)
        if integer is None:
            counts["refused"] += 1
        else:
            agree(network, integer, counts)
    return counts


def test_integers_equal_the_oracle() -> None:
    counts = sweep(0, 60)
    assert counts["networks"] > 40
    assert counts["refused"] < 10


@pytest.mark.long
def test_integers_of_many_networks_equal_the_oracle() -> None:
    counts = sweep(1000, 2500)
    assert counts["networks"] > 1000
    assert counts["spikes"] > 100_000


@pytest.mark.long
def test_c_of_the_oracles_networks_equals_it(tmp_path: Path) -> None:
    for seed in range(40):
        network = draw(seed)
        integer = lowered(network)
        if integer is None or any(getattr(node, "overflow", "") == "error" for node in integer.nodes):
            continue
        x = integer.whole_input(real(network.x, network.input_exponent, F32))
        assert ran(compiled(integer, tmp_path, ("gcc", *STRICT, "-O2")), x) == expected(integer, x), seed


def of_chip(network: Network) -> IntegerModel:
    """Return the integers of a description of a chip's layer."""
    given, layer = network.nodes
    assert isinstance(given, Linear)
    assert isinstance(layer, Loihi | Xylo | Speck)
    bias = np.zeros(len(given.weight), np.int32) if given.bias is None else given.bias
    weights = whole.Linear("w", given.weight, bias, 0)
    reaches = IntegerModel(0, network.input_shape, network.input_range, (weights,)).reaches[-1]
    common: Any = {"name": "n", "shape": layer.shape, "exponent": 0, "strict": False, "reset": "subtraction"}
    common |= {"v_reset": 0, "recurrent": None, "bound": max(-reaches[0], reaches[1]), "overflow": "saturate"}
    shares: dict[str, Any]
    limits: dict[str, Any]
    fires: dict[str, Any]
    if isinstance(layer, Loihi):
        shares = {"decay": (4096 - layer.dv, 12), "decay_synapse": (4095 - layer.du, 12), "threshold": 64 * layer.vth}
        limits = {"low": 1 - 2**23, "high": 2**23 - 1, "bias": layer.bias}
        fires = {"kind": "loihi", "fraction_bits": 6, "rounding": "trunc", "strict": True, "reset": "zero"}
        return _model(network, weights, common | shares | limits | fires)
    if isinstance(layer, Xylo):
        shares = {"decay": (0, layer.dash_mem), "decay_synapse": (0, layer.dash_syn), "threshold": layer.threshold}
        limits = {"low": -(2**15), "high": 2**15 - 1, "bias": 0 if layer.bias is None else layer.bias}
        fires = {"kind": "xylo", "fraction_bits": 0, "rounding": "floor", "max_spikes": layer.max_spikes}
        if layer.recurrent is not None:
            zeros = np.zeros(len(layer.recurrent), np.int32)
            fires["recurrent"] = whole.Linear("n.recurrent", layer.recurrent, zeros, 0)
        return _model(network, weights, common | shares | limits | fires)
    shares = {"decay": (1, 0), "decay_synapse": None, "threshold": layer.threshold}
    limits = {"low": layer.low, "high": 2**24}
    fires = {"kind": "speck", "fraction_bits": 0, "rounding": "floor", "max_spikes": 2**24}
    return _model(network, weights, common | shares | limits | fires)


def _model(network: Network, weights: whole.Linear, numbers: Any) -> IntegerModel:
    return IntegerModel(0, network.input_shape, network.input_range, (weights, whole.Neuron(**numbers)))


@pytest.mark.parametrize("chip", ["loihi", "xylo", "speck"])
def test_chips_equal_the_oracle(chip: str) -> None:
    spikes = 0
    for seed in range(150):
        network: Network = getattr(random_chips, f"draw_{chip}")(seed)
        trace: Trace = run(network)[0]
        found = of_chip(network).run(network.x, record=True).records["n"]
        for what in ("spikes", "u", "v") if chip == "speck" else ("spikes", "u", "v", "i"):
            assert (getattr(found, what) == getattr(trace, what)).all(), (seed, what)
        spikes += int(trace.spikes.sum())
    assert spikes > 1000


@pytest.mark.parametrize("chip", ["loihi", "xylo", "speck"])
def test_c_of_chips_equals_the_oracle(chip: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        network: Network = getattr(random_chips, f"draw_{chip}")(seed)
        integer = of_chip(network)
        program = compiled(integer, tmp_path, ("gcc", *STRICT, "-O1"))
        assert ran(program, network.x) == expected(integer, network.x), seed
