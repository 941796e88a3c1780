"""Neurons of chips beside the models of their makers: xylosim, SynSense's C++ for Xylo, and Sinabs' IAF for Speck.

Xylo saturates at each event, as the oracle that has the chip's own order of events; tests/quantize compares that with
the layers.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from xylosim import v2

import spikingtorch as st
from tests.quantize.descriptions import Whole, Xylo
from tests.quantize.oracle import run
from tests.quantize.oracle_chips import LOW, xylo_by_events
from tests.quantize.random_chips import draw_xylo, parts


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


def discretised(conv: nn.Conv2d, neuron: Any) -> tuple[Any, Any]:
    """Return both with whole numbers; the file alone is read, because importing its package runs pip."""
    sinabs: Any = importlib.util.find_spec("sinabs")
    path = Path(sinabs.origin).parent / "backend" / "dynapcnn" / "discretize.py"
    spec: Any = importlib.util.spec_from_file_location("sinabs_discretize", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.discretize_conv_spike(conv, neuron)


@pytest.mark.parametrize("seed", range(12))
def test_speck_is_the_discretised_iaf_of_sinabs(seed: int) -> None:
    layers = pytest.importorskip("sinabs.layers")
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        conv = nn.Conv2d(2, 4, 3)
    theirs = layers.IAF(spike_threshold=torch.rand((), generator=draw).item() + 0.2, min_v_mem=-1.0)
    conv, theirs = discretised(conv, theirs)
    x = (torch.rand(4, 30, 2, 10, 10, generator=draw) < 0.3).float()
    threshold, v_min = float(theirs.spike_threshold), float(theirs.min_v_mem)
    ours = st.MultiStep(st.SpeckIAF(threshold, v_min, fraction_bits=0, returns=("spikes", "v")))
    with torch.no_grad():
        currents = conv(x.flatten(0, 1)).unflatten(0, (4, 30))
        assert torch.equal(currents, currents.round())
        want = theirs(currents)
        spikes, v = ours(currents.transpose(0, 1))
    assert torch.equal(spikes.transpose(0, 1), want)
    assert torch.equal(v[-1], theirs.v_mem)
    assert want.sum() > 100
    assert want.max() > 1
    assert v.min() == v_min
