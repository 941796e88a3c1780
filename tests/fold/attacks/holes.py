"""Networks with holes for what hides from a proof."""

from collections.abc import Callable
from typing import Any

import torch

import spikingtorch as st
from tests.nets_that_step import Hole, Two, centred, nothing, train


def readout(code: Hole = nothing, **holes: Any) -> Two:
    """Return a network whose output tells small differences apart."""
    return Two(code, sl1=st.LI(), sl2=st.LI(), **holes)


def mixing_if(asked: Callable[[Any], Any]) -> Hole:
    """Return code that mixes samples if the network says so."""
    return lambda net, x, init: centred(x) if asked(net) else x


def decides_anew(make: Callable[[], Any], change: Callable[[Any], object], stays: bool = False) -> None:
    """Check that a model computes what steps do after a change; ``stays`` where it steps before it as well."""
    torch.manual_seed(0)
    net = make().double()
    model = st.SpikingNet(net, 3)
    model(train())
    assert stays or model.explain().mode == "fold"
    change(net)
    torch.testing.assert_close(model(train()), st.SpikingNet(net, 3, mode="step")(train()))
