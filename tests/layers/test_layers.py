"""Layers: what they hand their steps, options, and parameters."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close

DECAY, GAIN = math.exp(-1 / 3), 3 * (1 - math.exp(-1 / 3))  # of a time constant of three steps
FIRES: dict[str, Any] = {"threshold": 1.0, "surrogate": F.Sigmoid(5.0), "reset": F.to_zero}
# a layer, its step, and all that it hands this step, as the older package has it; tests/functional has the steps
HANDED: list[tuple[st.StepLayer, Any, dict[str, Any]]] = [
    (st.IF(v0=0.7, beta=3), F.if_step, FIRES | {"threshold": 0.7, "surrogate": F.Sigmoid(3)}),
    (st.LIF(), F.lif_step, FIRES | {"decay": math.exp(-1 / 8), "gain": 8 * (1 - math.exp(-1 / 8))}),
    (st.LIF(tau=3, v0=0.8), F.lif_step, FIRES | {"decay": DECAY, "gain": GAIN, "threshold": 0.8}),
    (st.LIF(decay=0.9), F.lif_step, FIRES | {"decay": 0.9}),
    (st.LI(tau=3), F.li_step, {"decay": DECAY, "gain": GAIN}),
    (st.CoarseLIF(3), F.coarse_lif_step, FIRES | {"decay": DECAY, "gain": GAIN, "refractory_gain": 3 * (1 - GAIN)}),
    (st.BioLIF(0.25), F.biolif_step, FIRES | {"nudt": 0.25, "threshold": 0.5}),
    (st.SpikingDecay(4), F.spiking_decay_step, FIRES | {"tau": 4.0}),
]


@pytest.mark.parametrize(("layer", "step", "params"), HANDED, ids=range(len(HANDED)))
def test_what_a_layer_hands_its_step(layer: st.StepLayer, step: Any, params: dict[str, Any]) -> None:
    assert layer.step is step
    near = {name: pytest.approx(each, rel=1e-14) if isinstance(each, float) else each for name, each in params.items()}
    assert layer.step_params() == near


def test_mcpitts_takes_init_or_not() -> None:
    layer = st.McPitts(0.5)
    x = torch.tensor([0.25, 0.5, 0.75], requires_grad=True)
    assert layer(x).tolist() == layer(x, True).tolist() == layer(x, init=False).tolist() == [0.0, 1.0, 1.0]
    s = torch.sigmoid(3 * (x - 0.5))
    assert_close(torch.autograd.grad(layer(x).sum(), x)[0], 3 * s * (1 - s))
    assert layer.v is None


def test_names_of_the_older_package() -> None:
    assert st.layers.SpikingLayer is st.CoarseLIF
    for name in ("CoarseLIF", "BioLIF", "SpikingDecay"):
        assert getattr(st.layers, name) is getattr(st, name)


def test_layers_made_from_one_tensor_share_nothing() -> None:
    tau = torch.full((3,), 8.0)
    one, two = st.LIF(tau=tau), st.LIF(tau=tau)
    one.load_state_dict({**one.state_dict(), "tau": torch.ones(3)})
    assert two.get_buffer("tau").tolist() == tau.tolist() == [8.0] * 3


@pytest.mark.parametrize("make", [lambda tau: st.LIF(tau=tau), lambda tau: st.LI(tau=tau), st.CoarseLIF])
def test_coefficients_of_a_half_precision_layer_are_float32(make: Callable[[Any], st.StepLayer]) -> None:
    half, of_float = make(torch.tensor([1024.0])).bfloat16(), make(1024.0)
    for t in range(500):
        for layer in (half, of_float):
            layer(torch.tensor([0.5 if t == 0 else 0.0], dtype=torch.bfloat16), t == 0)
    assert_close(half.v, of_float.v)


def leaking(state: F.LIFState, x: Tensor, *, leak: Tensor, reset: F.Reset) -> tuple[F.LIFState, Tensor]:
    u = state.v - leak + x
    spike = F.Triangular()(u - 1.0)
    return F.LIFState(v=reset(u, spike, 1.0)), spike


# a layer of one neuron, its input at each step, and its outputs
STEPS: list[tuple[st.StepLayer, float, list[float], str]] = [
    (st.LI(decay=0.5), 1.0, [1.0, 1.5, 1.75], "decay=0.5"),
    (st.IF(reset=F.by_subtraction, surrogate=F.Arctan()), 0.75, [0.0, 1.0, 1.0, 1.0, 0.0], "threshold=1.0, surr"),
    (st.StepLayer(partial(F.lif_step, decay=0.5), F.LIFState, threshold=2.0), 1.25, [0.0, 0.0, 1.0], "threshold=2.0"),
    (
        st.StepLayer(leaking, F.LIFState, leak=0.25, reset=F.to_zero, learnable="leak"),
        0.75,
        [0.0, 1.0, 0.0],
        "StepLayer(leaking, leak=0.25 (learnable), reset=to_zero)",
    ),
]


@pytest.mark.parametrize(("layer", "x", "outputs", "shown"), STEPS, ids=range(len(STEPS)))
def test_options_and_steps_of_ones_own(layer: Any, x: float, outputs: list[float], shown: str) -> None:
    assert [layer(torch.tensor([x]), t == 0).item() for t in range(len(outputs))] == outputs
    assert shown in repr(layer)
