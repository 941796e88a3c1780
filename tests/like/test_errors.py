"""Arguments of layers of spikingtorch.like that have no meaning, and such as do not fit: what the error says."""

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from spikingtorch import functional as F

# without their types: what is refused is no type error here
snn, jelly, norse, sinabs, older = (
    import_module(f"spikingtorch.like.{each}") for each in ("snntorch", "spikingjelly", "norse", "sinabs", "older")
)
HAS_ITS_OWN = "recurrent= has no meaning here: its recurrent weights are those of"
# what an error says, and what is done
VALUES: dict[str, Any] = {
    "Leaky: reset_mechanism='substract', expected 'subtract', 'zero' or 'none'": lambda: snn.Leaky(
        0.9, reset_mechanism="substract"
    ),
    "Lapicque: R given, expected beta, or two of": lambda: snn.Lapicque(R=1.0),
    "Alpha: alpha=0.5 is not greater than beta=0.9": lambda: snn.Alpha(0.5, 0.9),
    "LIFNode: tau=1.0, expected a finite value above 1": lambda: jelly.LIFNode(tau=1.0),
    "SynapseFilter: tau=1.0, expected a finite value above 1": lambda: jelly.SynapseFilter(1.0),
    "LIFNode: step_mode='multi', expected 's' or 'm'": lambda: jelly.LIFNode(step_mode="multi"),
    "SynapseFilter: step_mode='x', expected 's' or 'm'": lambda: jelly.SynapseFilter(step_mode="x"),
    "LinearRecurrentContainer: step_mode='x', expected 's' or 'm'": lambda: jelly.LinearRecurrentContainer(
        jelly.IFNode(), 3, 3, step_mode="x"
    ),
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
    r"Leaky: recurrent=Linear\(.*has a bias, which is an input that never changes": lambda: snn.Leaky(
        0.9, recurrent=nn.Linear(3, 3)
    ),
    "LinearRecurrentContainer: in_features=3 and out_features=4 do not fit to sub_module=IFNode": lambda: (
        jelly.LinearRecurrentContainer(jelly.IFNode(), 3, 4)
    ),
    "ElementWiseRecurrentContainer: sub_module=.* has recurrent weights of its own": lambda: (
        jelly.ElementWiseRecurrentContainer(jelly.IFNode(recurrent=torch.ones(3)), torch.add)
    ),
    "LIFRecurrent: rec_connect leads back to 4 features, the last axis": lambda: sinabs.LIFRecurrent(
        5.0, nn.Linear(4, 4, bias=False)
    )(torch.rand(2, 3)),
    "RLeaky: it was made with a bias, and stays so; make another layer": lambda: setattr(
        snn.RLeaky(0.9, linear_features=4), "recurrent", nn.Linear(4, 4, bias=False)
    ),
}
TYPES: dict[str, Any] = {
    "Leaky: init_hidden=True has no meaning here: a layer remembers its state": lambda: snn.Leaky(
        0.9, init_hidden=True
    ),
    "Leaky: there is no argument 'betta'": lambda: snn.Leaky(0.9, betta=1),
    "Leaky: beta is a str": lambda: snn.Leaky("0.9"),
    "Leaky: .*is a class": lambda: snn.Leaky(0.9, spike_grad=F.Arctan),
    r"LIFNode: store_v_seq=True has no meaning here: returns=\('spikes', 'v'\)": lambda: jelly.LIFNode(
        store_v_seq=True
    ),
    "IFNode: v_reset='soft', expected a float": lambda: jelly.IFNode(v_reset="soft"),
    r"LIFCell: p is a LIParameters, expected like.norse.LIFParameters\(...\)": lambda: norse.LIFCell(
        norse.LIParameters()
    ),
    "IAF: surrogate_grad_fn=.*, expected one of like.sinabs": lambda: sinabs.IAF(surrogate_grad_fn=sinabs.Gaussian),
    "IAF: shape=.* has no meaning here": lambda: sinabs.IAF(shape=(3,)),
    # recurrent weights
    f"RLeaky: {HAS_ITS_OWN} linear_features, conv2d_channels": lambda: snn.RLeaky(
        0.9, linear_features=3, recurrent=nn.Linear(3, 3, bias=False)
    ),
    f"LIFRecurrent: {HAS_ITS_OWN} rec_connect": lambda: sinabs.LIFRecurrent(
        5.0, nn.Linear(3, 3), recurrent=nn.Linear(3, 3)
    ),
    f"LIFRecurrentCell: {HAS_ITS_OWN} recurrent_weights": lambda: norse.LIFRecurrentCell(
        3, 3, recurrent=nn.Linear(3, 3)
    ),
    f"LinearRecurrentContainer: {HAS_ITS_OWN} sub_module": lambda: jelly.LinearRecurrentContainer(
        jelly.IFNode(), 3, 3, recurrent=nn.Linear(3, 3)
    ),
    "LIFRecurrent: rec_connect is a Sequential, expected nn.Linear": lambda: sinabs.LIFRecurrent(
        5.0, nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    ),
    r"LinearRecurrentContainer: sub_module=Sequential.*expected a spiking layer such as like\.spikingjelly\.": lambda: (
        jelly.LinearRecurrentContainer(nn.Sequential(nn.Dropout(), jelly.IFNode()), 3, 3)
    ),
    "ElementWiseRecurrentContainer: sub_module is a Sequential, expected a spiking layer": lambda: (
        jelly.ElementWiseRecurrentContainer(nn.Sequential(nn.Linear(3, 3), jelly.IFNode()), torch.add)
    ),
    r"ElementWiseRecurrentContainer: element_wise_function=1\.0 cannot be called": lambda: (
        jelly.ElementWiseRecurrentContainer(jelly.IFNode(), 1.0)
    ),
}


@pytest.mark.parametrize(
    ("error", "message"), [*((ValueError, each) for each in VALUES), *((TypeError, each) for each in TYPES)]
)
def test_error(error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        (VALUES | TYPES)[message]()
