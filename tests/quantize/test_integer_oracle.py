"""to_integer, IntegerModel and certify beside the reference that was written from the equations alone."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikingtorch.quantize import IntegerError, IntegerModel, certify, to_integer
from tests.quantize.descriptions import Network, Speck
from tests.quantize.float_networks import F32, build, real
from tests.quantize.oracle import run
from tests.quantize.oracle_chips import xylo_by_events
from tests.quantize.random_chips import DRAWS, draw_xylo, parts
from tests.quantize.random_networks import draw


def compare(network: Network, counts: Counter[str]) -> Any:
    """Lower a description by way of a network in torch; compare integers, oracle and, for some seeds, the network.

    Returns:
        IntegerModel: the integers, or None if they are refused.
    """
    x = real(network.x, network.input_exponent, F32)
    model, coarser = build(network, mode="step", warn_silent=False), _coarser(network)
    low, high = (edge / 2**coarser for edge in network.input_range)
    try:
        integer = to_integer(model, x, (int(np.floor(low)), max(int(np.ceil(high)), 1)))
    except IntegerError as error:
        # in a coarser unit, the range of inputs is wider than the oracle's
        may_be = error.rule == "events" or (error.rule == "sums" and not (network.neurons and network.exact))
        if not (may_be or coarser):
            raise
        counts[f"refused because of {error.rule}"] += 1
        return None
    except ValueError as error:  # biases alone let a neuron overflow whose overflow is an error
        if "has left the range" not in str(error):
            raise
        return None
    if agree(network, integer, counts) and network.seed % 5 == 0:
        found = certify(model, integer, x)
        assert found.equal, f"{network.seed}\n{found}"
    return integer


def _coarser(network: Network) -> int:
    """Return by how many bits the unit that to_integer finds for the input is coarser than that of the description."""
    if not network.x.any():
        return network.input_exponent
    return min(int(number & -number).bit_length() - 1 for number in network.x[network.x != 0].tolist())


def agree(network: Network, integer: IntegerModel, counts: Counter[str]) -> bool:
    """Compare integers with the oracle; return whether no neuron overflows whose overflow is an error."""
    x = real(network.x, network.input_exponent, F32)
    try:
        traces = run(network)
    except OverflowError:
        with pytest.raises(OverflowError):
            integer.run(x)
        return False
    found = integer.run(x, record=True)
    for (name, record), node, trace in zip(found.records.items(), network.layers, traces, strict=True):
        for what in ("spikes", "u", "v") if isinstance(node, Speck) else ("spikes", "u", "v", "i"):
            wrong = getattr(record, what) != getattr(trace, what)
            assert not wrong.any(), f"seed {network.seed}, layer {name}: {wrong.sum()} of {what} differ"
        counts["spikes"] += int(trace.spikes.sum())
    counts["networks"] += 1
    return True


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(1000, 2500), marks=pytest.mark.long)], ids=len)
def test_integers_equal_the_oracle(seeds: range) -> None:
    counts = Counter[str]()
    for seed in seeds:
        compare(draw(seed), counts)
    assert counts["networks"] > 2 / 3 * len(seeds)
    assert counts["spikes"] > 70 * len(seeds)
    assert counts["refused because of sums"] < 0.1 * len(seeds)
    assert not counts["refused because of events"]


SEEDS = [pytest.param(range(40), id="some"), pytest.param(range(40, 500), marks=pytest.mark.long, id="many")]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("chip", ["loihi", "speck"])
def test_chips_equal_the_oracle(chip: str, seeds: range) -> None:
    counts = Counter[str]()
    for seed in seeds:
        compare(DRAWS[chip](seed, 8), counts)
    refused = counts["refused because of sums"]
    assert counts["networks"] + refused == len(seeds)
    assert refused < 0.02 * len(seeds)
    assert counts["spikes"] > 1000


@pytest.mark.parametrize("seeds", SEEDS)
def test_xylo_equals_the_oracle_and_the_chips_own_order_of_events(seeds: range) -> None:
    """Where that order may matter, the network is refused; beside the oracle, larger weights saturate."""
    counts, saturated = Counter[str](), Counter[str]()
    for seed in seeds:
        network = draw_xylo(seed, 8, quiet=seed % 3 > 0)
        linear, node = parts(network)
        integer = compare(network, counts)
        if integer is None:
            continue
        by_events = xylo_by_events(node, network.x, linear.weight)
        assert np.array_equal(by_events.spikes, run(network)[0].spikes), seed
        weights, neurons = integer.nodes
        larger = replace(weights, weight=1024 * weights.weight.astype(np.int32)), replace(neurons, bound=2**30)
        enlarged = replace(network, nodes=(replace(linear, weight=1024 * linear.weight), node))
        agree(enlarged, replace(integer, nodes=larger), saturated)
        saturated["registers"] += run(enlarged)[0].overflows
    assert counts["networks"] > 10
    assert counts["refused because of events"] > 10
    assert counts["spikes"] > 1000
    assert saturated["registers"] > 1000


def test_xylo_is_refused_in_words() -> None:
    network = draw_xylo(0)
    x = real(network.x, 0, F32)
    with pytest.raises(IntegerError, match="layer '1': its current saturates at each event, and may reach") as caught:
        to_integer(build(network, mode="step", warn_silent=False), x)
    assert caught.value.rule == "events"
