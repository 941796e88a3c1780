"""Neurons of chips beside the models of their makers: xylosim, SynSense's C++ for Xylo, and Sinabs' IAF for Speck.

Xylo saturates at each event. Networks are compared in which no order of the events can saturate.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import spikingtorch as st

T, FRACTION = 60, 5
LSB = 2.0**-FRACTION
Whole = NDArray[np.int64]


class Part(NamedTuple):
    """Neurons of Xylo, in the words of the chip."""

    dash_mem: Whole
    dash_syn: Whole
    threshold: Whole
    bias: Whole

    @classmethod
    def drawn(cls, rng: np.random.Generator, neurons: int) -> "Part":
        bounds = ((1, 4), (1, 8), (50, 4000), (-100, 100))
        return cls(*[rng.integers(*span, neurons) for span in bounds])

    def layer(self, most_spikes: int, recurrent: Any = None) -> st.MultiStep:
        """Return them as a layer over time, whose unit is 2^-FRACTION."""
        numbers = torch.tensor(self.dash_mem), torch.tensor(self.dash_syn), _real(self.threshold), _real(self.bias)
        made: dict[str, Any] = {"most_spikes": most_spikes, "fraction_bits": FRACTION, "recurrent": recurrent}
        return st.MultiStep(st.XyloLIF(*numbers, **made, returns=("spikes", "v", "i")))


def _real(value: Any) -> Tensor:
    return torch.tensor(np.asarray(value) * LSB, dtype=torch.float32)


class Xylo(NamedTuple):
    """A network of Xylo: inputs, recurrent hidden neurons, and outputs."""

    hidden: Part
    outputs: Part
    weights: tuple[Whole, Whole, Whole]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Xylo":
        ins, hidden, outs = (int(rng.integers(*span)) for span in ((2, 16), (2, 60), (1, 8)))
        recurrent = rng.integers(-14, 10, (hidden, hidden)) * (rng.random((hidden, hidden)) < 0.2)
        own = rng.integers(-64, 64, (ins, hidden)), recurrent, rng.integers(-32, 33, (hidden, outs))
        return cls(Part.drawn(rng, hidden), Part.drawn(rng, outs), own)

    def theirs(self, x: Whole) -> tuple[Any, Whole]:
        """Return the model of the chip after a run, and its output spikes."""
        v2 = pytest.importorskip("xylosim.v2", reason="xylosim==0.1.3 is not installed")
        # in a name, because the model keeps no reference to them
        synapses = [
            [[v2.XyloSynapse(to, 0, int(row[to])) for to in np.flatnonzero(row)] for row in weight]
            for weight in self.weights
        ]
        hidden, outs = self.hidden, self.outputs
        model = v2.XyloLayer(
            **dict(zip(("synapses_in", "synapses_rec", "synapses_out"), synapses, strict=True)),
            aliases=[[] for _ in hidden.bias],
            **{"threshold": hidden.threshold.tolist(), "threshold_out": outs.threshold.tolist(), "has_bias": True},
            **{"bias": hidden.bias.tolist(), "bias_out": outs.bias.tolist()},
            **{"weight_shift_inp": 0, "weight_shift_rec": 0, "weight_shift_out": 0},
            **{"dash_mem": hidden.dash_mem.tolist(), "dash_mem_out": outs.dash_mem.tolist()},
            **{"dash_syns": [[int(d)] for d in hidden.dash_syn], "dash_syns_out": [[int(d)] for d in outs.dash_syn]},
            name="xylo",
        )
        return model, np.array(model.evolve(x.astype(np.uint8).tolist()))

    def ours(self, x: Whole) -> tuple[Any, Any]:
        """Return spikes, membranes and currents of the hidden neurons, and of the outputs."""
        into, recurrent, out = self.weights
        feedback = nn.Linear(len(recurrent), len(recurrent), bias=False)
        feedback.weight.data = _real(recurrent.T)
        with torch.no_grad():
            hidden = self.hidden.layer(31, feedback)(torch.tensor(x, dtype=torch.float32)[:, None] @ _real(into))
            # a spike of a hidden neuron reaches the outputs a step later
            late = torch.cat([torch.zeros_like(hidden[0][:1]), hidden[0][:-1]])
            return hidden, self.outputs.layer(1)(late @ _real(out))

    def may_saturate(self, x: Whole, model: Any) -> bool:
        """Return True if some order of the events of a step could leave the range of a current."""
        spikes = np.array(model.rec_recurrent_spikes)
        before = np.concatenate([np.zeros_like(spikes[:1]), spikes[:-1]])
        into, recurrent, out = (np.abs(weight) for weight in self.weights)
        hidden = np.abs(np.array(model.rec_i_syn).T), x @ into + before @ recurrent
        outs = np.abs(np.array(model.rec_i_syn_out).T), before @ out
        sums = [np.concatenate([0 * i[:1], i[:-1]]) + events for i, events in (hidden, outs)]
        return bool(max(each.max() for each in sums) > 2**15 - 1)


def test_xylo_is_xylosim() -> None:
    compared = fired = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        net = Xylo.drawn(rng)
        ins = len(net.weights[0])
        x = rng.integers(0, 4, (T, ins)) * (rng.random((T, ins)) < 0.5)
        model, want = net.theirs(x)
        if net.may_saturate(x, model):
            continue
        (spikes, v, i), (outs, v_out, _) = net.ours(x)
        found = spikes, v / LSB, i / LSB, outs, v_out / LSB
        theirs = (
            *(model.rec_recurrent_spikes, np.array(model.rec_v_mem).T, np.array(model.rec_i_syn).T),
            *(want, np.array(model.rec_v_mem_out).T),
        )
        for got, expected in zip(found, theirs, strict=True):
            assert (got[:, 0].numpy() == np.array(expected)).all()
        compared, fired = compared + 1, fired + int(spikes.sum())
    assert compared > 10
    assert fired > 1000


def discretised(conv: nn.Conv2d, neuron: Any) -> tuple[Any, Any]:
    """Return both with whole numbers; the file alone is read, because importing its package runs pip."""
    sinabs = importlib.util.find_spec("sinabs")
    assert sinabs is not None
    assert sinabs.origin is not None
    path = Path(sinabs.origin).parent / "backend" / "dynapcnn" / "discretize.py"
    spec = importlib.util.spec_from_file_location("sinabs_discretize", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: tuple[Any, Any] = module.discretize_conv_spike(conv, neuron)
    return found


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
