"""The oracle of Xylo's neurons beside xylosim, the C++ model of the chip's makers, in its second version."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from xylosim import v2

from tests.quantize.descriptions import Linear, Network, Whole, Xylo
from tests.quantize.oracle import run
from tests.quantize.oracle_chips import LOW, xylo_by_events
from tests.quantize.random_chips import draw_xylo


def shifted(*weights: Whole) -> int:
    """Return the shift of weights that have 8 bits before it."""
    shift = 0
    while max(int(np.abs(weight).max()) >> shift for weight in weights) > 128:
        shift += 1
    assert all([np.array_equal(weight >> shift << shift, weight) for weight in weights])
    return shift


def synapses(weight: Whole) -> list[list[Any]]:
    """Return the synapses of each input, from weights of 8 bits."""
    return [[v2.XyloSynapse(m, 0, int(w)) for m, w in enumerate(row)] for row in weight.T]


def simulated(node: Xylo, weight: Whole) -> tuple[Any, Any]:
    """Return a layer of xylosim, and its synapses, to which it holds bare pointers."""
    M = len(weight)
    back = np.zeros((M, M), np.int64) if node.recurrent is None else node.recurrent
    shift = shifted(weight, back)
    bias = np.zeros(M, np.int64) if node.bias is None else node.bias
    nothing: list[list[int]] = [[] for _ in range(M)]
    connections = (synapses(weight >> shift), synapses(back >> shift), nothing, nothing)
    neurons: tuple[Any, ...] = (node.threshold.tolist(), [], node.bias is not None, bias.tolist(), [], shift, shift, 0)
    decays: tuple[Any, ...] = (node.dash_mem.tolist(), [], [[int(dash)] for dash in node.dash_syn], [])
    return v2.XyloLayer(*connections, *neurons, *decays, "layer"), connections


def parts(network: Network) -> tuple[Linear, Xylo]:
    linear, node = network.nodes
    assert isinstance(linear, Linear)
    assert isinstance(node, Xylo)
    return linear, node


@pytest.mark.parametrize("seed", range(200))
def test_spikes_membranes_and_currents_are_the_same(seed: int) -> None:
    network = draw_xylo(seed)
    linear, drawn = parts(network)
    node = replace(drawn, max_spikes=31)
    layer, _alive = simulated(node, linear.weight)
    expected = xylo_by_events(node, network.x, linear.weight)
    for n, counts in enumerate(network.x):
        layer.reset_all()
        layer.evolve(counts.tolist())
        assert np.array_equal(layer.rec_recurrent_spikes, expected.spikes[n])
        assert np.array_equal(np.transpose(layer.rec_v_mem), expected.v[n])
        assert np.array_equal(np.transpose(layer.rec_i_syn), expected.i[n])


@pytest.mark.parametrize("seed", range(200))
def test_a_sum_in_one_go_is_the_same_if_nothing_can_saturate_on_the_way(seed: int) -> None:
    network = draw_xylo(seed)
    linear, node = parts(network)
    most = np.abs(linear.weight).sum(1) * network.input_range[1]
    most = most if node.recurrent is None else most + np.abs(node.recurrent).sum(1) * node.max_spikes
    # i stays below the sum of all that has arrived
    if int(most.max()) * network.x.shape[1] < -LOW:
        events, (summed,) = xylo_by_events(node, network.x, linear.weight), run(network)
        assert np.array_equal(events.v, summed.v)
        assert np.array_equal(events.spikes, summed.spikes)
