"""spikingtorch.like, against loops and numbers by hand; tests/peers compares with the libraries where there are any."""

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close

like = import_module("spikingtorch.like")  # without its types: what is refused is no type error here
AS_THEY_ARE: dict[str, tuple[str, ...]] = {
    "spikingjelly": ("IFNode", "ParametricLIFNode", "QIFNode", "EIFNode", "KLIFNode", "CUBALIFNode"),
    "norse": (
        *("LIFCell", "LIFRefracCell", "LIFBoxCell", "IAFCell", "LICell", "LIBoxCell"),
        *("LSNNCell", "LIFExCell", "LIFAdExCell", "LIFAdExRefracCell"),
    ),
    "sinabs": ("IAF",),
    "older": ("IF", "LIF"),
}
MAKERS: dict[str, Callable[..., st.StepLayer]] = {
    **{f"{each}.{name}": getattr(getattr(like, each), name) for each, names in AS_THEY_ARE.items() for name in names},
    "snntorch.Leaky": lambda **o: like.snntorch.Leaky(beta=0.9, **o),
    "snntorch.Lapicque": lambda **o: like.snntorch.Lapicque(beta=0.9, **o),
    "snntorch.Synaptic": lambda **o: like.snntorch.Synaptic(alpha=0.8, beta=0.9, **o),
    "snntorch.Alpha": lambda **o: like.snntorch.Alpha(alpha=0.9, beta=0.8, **o),
    "snntorch.RLeaky": lambda **o: like.snntorch.RLeaky(beta=0.9, all_to_all=False, **o),
    "snntorch.RSynaptic": lambda **o: like.snntorch.RSynaptic(0.8, 0.9, all_to_all=False, reset_delay=False, **o),
    "spikingjelly.LIFNode": lambda **o: like.spikingjelly.LIFNode(v_reset=-0.2, **o),
    "spikingjelly.IzhikevichNode": lambda **o: like.spikingjelly.IzhikevichNode(w_rest=0.1, **o),
    "spikingjelly.LIAFNode": lambda **o: like.spikingjelly.LIAFNode(torch.relu, True, **o),
    "spikingjelly.SynapseFilter": lambda **o: like.spikingjelly.SynapseFilter(tau=5.0, **o),
    "norse.IzhikevichCell": lambda **o: like.norse.IzhikevichCell(
        like.norse.create_izhikevich_spiking_behavior(a=0.02, b=0.2, c=-65.0, d=6.0, v_rest=-70.0, u_rest=-70.0), **o
    ),
    "sinabs.LIF": lambda **o: like.sinabs.LIF(tau_mem=5.0, tau_syn=3.0, **o),
    "sinabs.ALIF": lambda **o: like.sinabs.ALIF(tau_mem=5.0, tau_adapt=20.0, **o),
    "sinabs.ExpLeak": lambda **o: like.sinabs.ExpLeak(tau_mem=5.0, **o),
    "older.McPitts": lambda **o: like.older.McPitts(thr=0.5, **o),
    "older.SpikingDecay": lambda **o: like.older.SpikingDecay(tau=2.0, **o),
    "older.CoarseLIF": lambda **o: like.older.CoarseLIF(tau=4.0, **o),
}


def run(layer: st.StepLayer, *inputs: float) -> list[float]:
    """Return the outputs of one neuron."""
    return [round(layer(torch.tensor([x]), init=(t == 0)).item(), 6) for t, x in enumerate(inputs)]


@pytest.mark.sampled
@pytest.mark.parametrize("name", MAKERS)
def test_a_layer_has_its_name_and_runs_on_after_a_copy(name: str) -> None:
    layer = MAKERS[name]()
    assert repr(layer).startswith(name.split(".")[1] + "(")
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)) + 1.0
    for t, each in enumerate(x.unbind(1)):
        layer(each, init=(t == 0))
    again = copy.deepcopy(layer)
    assert torch.equal(layer(x[:, 0]), again(x[:, 0]))


def test_the_submodules_are_imported_on_demand() -> None:
    assert dir(like) == ["norse", "older", "sinabs", "snntorch", "spikingjelly"]
    with pytest.raises(AttributeError, match=r"no attribute 'nengo'; it has norse, older"):
        _ = like.nengo


# by hand: what is left of a membrane, and when a spike resets it


def test_snntorch_resets_a_step_later_and_fires_above_the_threshold() -> None:
    # v = 1.5, then 0.5 * 1.5 - 1 + 0.5 = 0.25, then 0.125 + 0.875 = 1.0, which is not above 1
    layer: Any = like.snntorch.Leaky(beta=0.5)
    assert run(layer, 1.5, 0.5, 0.875) == [1.0, 0.0, 0.0]
    assert layer.v.item() == 1.0
    # at once: 1.5 - 1 = 0.5, then 0.25 + 0.5 = 0.75, then 0.375 + 0.875 = 1.25
    assert run(like.snntorch.Leaky(beta=0.5, reset_delay=False), 1.5, 0.5, 0.875) == [1.0, 0.0, 1.0]
    # to zero: 1.5, then 0.5 * 0 + 1.25
    assert run(like.snntorch.Leaky(beta=0.5, reset_mechanism="zero"), 1.5, 1.25) == [1.0, 1.0]


def test_spikingjelly_fires_at_the_threshold_and_resets_to_a_value() -> None:
    # starts at -0.5: -0.5 + (2.5 - 0) / 2 = 0.75, then 0.75 + (2 - 1.25) / 2 = 1.125, then as at the start
    layer: Any = like.spikingjelly.LIFNode(tau=2.0, v_reset=-0.5)
    assert run(layer, 2.5, 2.0, 3.0) == [0.0, 1.0, 1.0]
    assert layer.v.item() == -0.5
    # by subtraction: 1, which fires, then 0 + 3 / 2 = 1.5, of which 0.5 is left
    soft: Any = like.spikingjelly.LIFNode(tau=2.0, v_reset=None)
    assert run(soft, 2.0, 3.0) == [1.0, 1.0]
    assert soft.v.item() == 0.5


def test_norse_adds_its_input_to_a_current_that_decays_afterwards() -> None:
    # dt tau_mem_inv = dt tau_syn_inv = 1/2: v = 1/2, i = 1/2; v = 1/2 + (-1/2 + 1/2 + 2) / 2 = 1.5 fires
    p = like.norse.LIFParameters(tau_syn_inv=0.5, tau_mem_inv=0.5, v_reset=-1.0)
    layer: Any = like.norse.LIFCell(p, dt=1.0)
    assert run(layer, 1.0, 2.0) == [0.0, 1.0]
    assert layer.v.item() == -1.0
    # at the threshold there is no spike
    assert run(like.norse.IAFCell(), 1.0, 0.5) == [0.0, 1.0]


def test_sinabs_spikes_several_times_in_a_step() -> None:
    layer = like.sinabs.IAF()
    assert run(layer, 2.5, 0.25, 0.25) == [2.0, 0.0, 1.0]
    assert run(like.sinabs.IAF(spike_fn=like.sinabs.MaxSpike(2)), 3.5, 0.0) == [2.0, 1.0]
    # the value of MembraneReset is added at every step
    adding = like.sinabs.IAF(spike_fn=like.sinabs.SingleSpike, reset_fn=like.sinabs.MembraneReset(0.25))
    assert run(adding, 0.0, 0.0, 0.5, 0.0) == [0.0, 0.0, 1.0, 0.0]


def test_the_older_spiking_decay_gives_out_the_spike_before() -> None:
    assert run(like.older.SpikingDecay(tau=2.0), 1.0, 0.5, 0.75) == [0.0, 1.0, 0.0]
    assert run(st.SpikingDecay(tau=2.0), 1.0, 0.5, 0.75) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("learnable", [False, True])
def test_a_synapse_filter_is_a_current_that_spikes_refresh(learnable: bool) -> None:
    layer = like.spikingjelly.SynapseFilter(tau=2.0, learnable=learnable).double()
    x = (torch.rand(3, 12, 5, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    i, want = np.zeros((3, 5)), []
    for s in x.numpy().swapaxes(0, 1):
        i = np.where(s == 1.0, i + 1.0, i * (1.0 - 1.0 / 2.0))
        want.append(i)
    model = st.SpikingNet(nn.Sequential(layer))
    assert_close(model(x), torch.from_numpy(np.stack(want, 1)))
    assert model.explain().mode == "fold"
    assert [*layer.state_dict()][:-1] == (["w"] if learnable else [])


def test_votes_are_the_mean_of_the_neurons_of_a_class() -> None:
    x = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0))
    want = torch.stack([x[..., :4].mean(-1), x[..., 4:].mean(-1)], -1)
    model = st.SpikingNet(nn.Sequential(like.spikingjelly.VotingLayer(4), st.LI(decay=0.0)))
    assert_close(model(x), want)
    assert model.explain().mode == "fold"
    assert_close(like.spikingjelly.VotingLayer(4, step_mode="m")(x), want)


def test_a_sum_pool_sums_and_gives_no_gradient_to_windows_of_zeros() -> None:
    x = torch.zeros(1, 3, 1, 4, 5)
    x[0, 1, 0, :2, 1] = 1.0
    x.requires_grad_()
    model = st.SpikingNet(nn.Sequential(like.sinabs.SumPool2d(2), st.LI(decay=0.0)))
    out = model(x)
    want = np.zeros((3, 2, 2))
    for t, row, column in np.ndindex(want.shape):
        want[t, row, column] = x.detach()[0, t, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum()
    assert_close(out[0, :, 0].double(), torch.from_numpy(want))
    assert model.explain().mode == "fold"
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.sum() == 4.0
    assert gradient[0, 1, 0, :2, :2].all()
    assert not like.sinabs.SumPool2d((2, 3), stride=1, ceil_mode=True)(x[0]).isnan().any()


# without their types: what is refused is no type error here
snn, jelly, norse, sinabs, older = (
    import_module(f"spikingtorch.like.{each}") for each in ("snntorch", "spikingjelly", "norse", "sinabs", "older")
)
Leaky, IFNode, LIFNode, SQUARE = snn.Leaky, jelly.IFNode, jelly.LIFNode, nn.Linear(3, 3, bias=False)
linear, elementwise = jelly.LinearRecurrentContainer, jelly.ElementWiseRecurrentContainer
OWN = "recurrent= has no meaning here: its recurrent weights are those of"
# what an error says, and what is done
VALUES: dict[str, Any] = {
    "Leaky: reset_mechanism='substract', expected 'subtract', 'zero' or 'none'": lambda: Leaky(
        0.9, reset_mechanism="substract"
    ),
    "Lapicque: R given, expected beta, or two of": lambda: snn.Lapicque(R=1.0),
    "Alpha: alpha=0.5 is not greater than beta=0.9": lambda: snn.Alpha(0.5, 0.9),
    "LIFNode: tau=1.0, expected a finite value above 1": lambda: LIFNode(tau=1.0),
    "SynapseFilter: tau=1.0, expected a finite value above 1": lambda: jelly.SynapseFilter(1.0),
    "LIFNode: step_mode='multi', expected 's' or 'm'": lambda: LIFNode(step_mode="multi"),
    "SynapseFilter: step_mode='x', expected 's' or 'm'": lambda: jelly.SynapseFilter(step_mode="x"),
    "LinearRecurrentContainer: step_mode='x', expected 's' or 'm'": lambda: linear(IFNode(), 3, 3, step_mode="x"),
    "VotingLayer: step_mode='multi', expected 's' or 'm'": lambda: jelly.VotingLayer(step_mode="multi"),
    "method='superb', expected one of 'super'": lambda: norse.LIFCell(norse.LIFParameters(method="superb")),
    "LIF: beta=0.0, expected a finite value above 0": lambda: older.LIF(beta=0.0),
    r"RLeaky: all_to_all=True, with linear_features=None, .* linear_features=M for M neurons, or conv2d": lambda: (
        snn.RLeaky(0.9)
    ),
    "RSynaptic: all_to_all=True, with linear": lambda: snn.RSynaptic(0.9, 0.9, 1.0, True, 4, 4, 3),
    "RLeaky: all_to_all=False is one weight V a neuron; leave linear_features": lambda: snn.RLeaky(
        0.9, all_to_all=False, linear_features=3
    ),
    r"IAFRecurrent: rec_connect=Linear\(.* leads from 3 to 4": lambda: sinabs.IAFRecurrent(nn.Linear(3, 4)),
    r"LSNNRecurrentCell: recurrent_weights has shape \(3, 4\), expected a tensor \(4, 4\)": lambda: (
        norse.LSNNRecurrentCell(3, 4, recurrent_weights=torch.ones(3, 4))
    ),
    r"Leaky: recurrent=Linear\(.*has a bias, which is an input that never changes": lambda: Leaky(
        0.9, recurrent=nn.Linear(3, 3)
    ),
    "LinearRecurrentContainer: in_features=3 and out_features=4 do not fit to sub_module=IFNode": lambda: linear(
        IFNode(), 3, 4
    ),
    "ElementWiseRecurrentContainer: sub_module=.* has recurrent weights of its own": lambda: elementwise(
        IFNode(recurrent=torch.ones(3)), torch.add
    ),
    "LIFRecurrent: rec_connect leads back to 4 features, the last axis": lambda: sinabs.LIFRecurrent(
        5.0, nn.Linear(4, 4, bias=False)
    )(torch.rand(2, 3)),
    "RLeaky: it was made with a bias, and stays so; make another layer": lambda: setattr(
        snn.RLeaky(0.9, linear_features=4), "recurrent", nn.Linear(4, 4, bias=False)
    ),
}
TYPES: dict[str, Any] = {
    "Leaky: init_hidden=True has no meaning here: a layer remembers its state": lambda: Leaky(0.9, init_hidden=True),
    "Leaky: there is no argument 'betta'": lambda: Leaky(0.9, betta=1),
    "Leaky: beta is a str": lambda: Leaky("0.9"),
    "Leaky: .*is a class": lambda: Leaky(0.9, spike_grad=F.Arctan),
    r"LIFNode: store_v_seq=True has no meaning here: returns=\('spikes', 'v'\)": lambda: LIFNode(store_v_seq=True),
    "IFNode: v_reset='soft', expected a float": lambda: IFNode(v_reset="soft"),
    r"LIFCell: p is a LIParameters, expected like.norse.LIFParameters\(...\)": lambda: norse.LIFCell(
        norse.LIParameters()
    ),
    "IAF: surrogate_grad_fn=.*, expected one of like.sinabs": lambda: sinabs.IAF(surrogate_grad_fn=sinabs.Gaussian),
    "IAF: shape=.* has no meaning here": lambda: sinabs.IAF(shape=(3,)),
    # recurrent weights
    f"RLeaky: {OWN} linear_features, conv2d_channels": lambda: snn.RLeaky(0.9, linear_features=3, recurrent=SQUARE),
    f"LIFRecurrent: {OWN} rec_connect": lambda: sinabs.LIFRecurrent(5.0, SQUARE, recurrent=SQUARE),
    f"LIFRecurrentCell: {OWN} recurrent_weights": lambda: norse.LIFRecurrentCell(3, 3, recurrent=SQUARE),
    f"LinearRecurrentContainer: {OWN} sub_module": lambda: linear(IFNode(), 3, 3, recurrent=SQUARE),
    "LIFRecurrent: rec_connect is a Sequential, expected nn.Linear": lambda: sinabs.LIFRecurrent(
        5.0, nn.Sequential(nn.Flatten(), SQUARE)
    ),
    r"LinearRecurrentContainer: sub_module=Sequential.*expected a spiking layer such as like\.spikingjelly\.": lambda: (
        linear(nn.Sequential(nn.Dropout(), IFNode()), 3, 3)
    ),
    "ElementWiseRecurrentContainer: sub_module is a Sequential, expected a spiking layer": lambda: elementwise(
        nn.Sequential(SQUARE, IFNode()), torch.add
    ),
    r"ElementWiseRecurrentContainer: element_wise_function=1\.0 cannot be called": lambda: elementwise(IFNode(), 1.0),
}


@pytest.mark.parametrize(
    ("error", "message"), [*((ValueError, each) for each in VALUES), *((TypeError, each) for each in TYPES)]
)
def test_error(error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        (VALUES | TYPES)[message]()
