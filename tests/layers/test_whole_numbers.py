"""Layers of neurons with whole numbers: their numbers, what they refuse, and that a network of them is the loop's."""

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close

LIF = partial(st.FixedPointLIF, fraction_bits=2, membrane_bits=8)
WRONG: dict[str, Callable[[], object]] = {
    r"FixedPointLIF: decay=0\.9, expected a pair \(k, m\) of whole numbers for k / 2\*\*m; near it is \(230, 8\)": (
        lambda: st.FixedPointLIF(0.9)  # type: ignore[arg-type]
    ),
    r"FixedPointLIF: k of decay=257, expected a whole number from 0 to 256": lambda: st.FixedPointLIF((257, 8)),
    r"FixedPointLIF: m of decay=13, expected a whole number from 0 to 12": lambda: st.FixedPointLIF((3, 13)),
    r"FixedPointLIF: k of decay is a tensor of torch\.float32, expected whole numbers": (
        lambda: st.FixedPointLIF((torch.ones(3), 2))
    ),
    r"FixedPointLIF: k of decay has values from -1 to 3, expected whole numbers from 0 to 4": (
        lambda: st.FixedPointLIF((torch.tensor([-1, 3]), 2))
    ),
    r"FixedPointCubaLIF: k of decay_synapse=5, expected": lambda: st.FixedPointCubaLIF((5, 2)),
    r"FixedPointLIF: threshold has the value 0\.3, expected a multiple of 2\*\*-2: 0\.25 and 0\.5 are next to it": (
        lambda: LIF(threshold=0.3)
    ),
    r"FixedPointLIF: threshold has the value 0\.3, ": lambda: LIF(threshold=torch.tensor([1.0, 0.3])),
    r"FixedPointLIF: threshold=32\.0, expected a finite value at least -32 and at most 31\.75": (
        lambda: LIF(threshold=32.0)
    ),
    r"FixedPointLIF: v_reset has the value -0\.1, expected a multiple of 2\*\*-2": lambda: LIF(reset=F.to_value(-0.1)),
    r"FixedPointLIF: rounding='up', expected one of 'floor', 'trunc', 'half_up', 'half_even'": (
        lambda: LIF(rounding="up")
    ),
    r"FixedPointLIF: overflow='clip', expected one of 'saturate', 'wrap', 'error'": lambda: LIF(overflow="clip"),
    r"FixedPointIF: membrane_bits=25, expected a whole number from 2 to 24": lambda: st.FixedPointIF(membrane_bits=25),
    r"FixedPointIF: fraction_bits=True, expected": lambda: st.FixedPointIF(fraction_bits=True),
    r"FixedPointIF: threshold cannot learn, because it would leave the grid": lambda: st.FixedPointIF(learnable=True),
    r"FixedPointLIF: decay cannot learn, ": lambda: st.FixedPointLIF(learnable="decay"),
    r"FixedPointLIF: threshold cannot learn, ": lambda: LIF(threshold=nn.Parameter(torch.ones(2))),
    r"FixedPointLIF: dt gives time constants a unit": lambda: st.FixedPointLIF(dt=1.0),  # type: ignore[call-arg]
    r"XyloLIF: dash_mem=16, expected a whole number from 0 to 15": lambda: st.XyloLIF(16),
    r"XyloLIF: dash_syn is a tensor of torch\.float32": lambda: st.XyloLIF(dash_syn=torch.ones(2)),
    r"XyloLIF: most_spikes=0, expected": lambda: st.XyloLIF(most_spikes=0),
    r"XyloLIF: threshold=0\.0, expected a finite value above 0": lambda: st.XyloLIF(threshold=0.0),
    r"XyloLIF: there is no argument 'reset'": lambda: st.XyloLIF(reset=F.none),  # type: ignore[call-arg]
    r"LoihiLIF: du=4096, expected a whole number from 0 to 4095": lambda: st.LoihiLIF(du=4096),
    r"LoihiLIF: threshold has the value 1\.00024, expected a multiple of 2\*\*-6": (
        lambda: st.LoihiLIF(threshold=1 + 2.0**-12)
    ),
    r"LoihiLIF: bias has the value .*, expected a multiple of 2\*\*-12": lambda: st.LoihiLIF(bias=2.0**-13),
    r"SpeckIAF: v_min=0\.5, expected a finite value at most 0": lambda: st.SpeckIAF(v_min=0.5),
    r"SpeckIAF: surrogate=MultiSpike.* makes more than spikes of 0 and 1": (
        lambda: st.SpeckIAF(surrogate=F.MultiSpike())
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_leaves_the_grid_is_refused(message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        WRONG[message]()


def test_their_numbers() -> None:
    layer: Any = LIF((3, 2), reset=F.to_value(-0.5))
    assert (layer.decay_numbers, layer.decay_synapse_numbers, layer.decay) == ((3, 2), None, 0.75)
    assert (layer.fraction_bits, layer.membrane_bits, layer.rounding, layer.overflow) == (2, 8, "floor", "saturate")
    assert (layer.low, layer.high, layer.threshold, layer.v_reset) == (-32.0, 31.75, 1.0, -0.5)
    assert st.FixedPointIF().decay_numbers == (1, 0)
    k = torch.tensor([0, 100, 4096])
    cuba = st.FixedPointCubaLIF((k, 12), (7, 3))
    assert cuba.decay_numbers == (7, 3)
    numbers: Any = cuba.decay_synapse_numbers
    assert numbers[1] == 12
    assert torch.equal(numbers[0], k)
    # narrow membranes take finer decays
    assert st.FixedPointLIF((12345, 15), membrane_bits=10).decay_numbers == (12345, 15)
    xylo, loihi, speck = st.XyloLIF(torch.tensor([0, 15]), 4), st.LoihiLIF(torch.tensor([0, 4095]), 9), st.SpeckIAF()
    assert (torch.as_tensor(xylo.dash_mem).tolist(), xylo.dash_syn, xylo.decay_numbers) == ([0, 15], 4, None)
    assert (torch.as_tensor(loihi.du).tolist(), loihi.dv, loihi.decay_numbers) == ([0, 4095], 9, (4087, 12))
    assert (loihi.low, loihi.high, speck.low, speck.decay_numbers) == (-loihi.high, loihi.high, -1.0, (1, 0))


@pytest.mark.parametrize(
    "layer",
    [LIF((3, 2), rounding="half_even", overflow="wrap"), st.XyloLIF(2, 5, most_spikes=1), st.LoihiLIF(7, 9)],
    ids=["FixedPointLIF", "XyloLIF", "LoihiLIF"],
)
def test_the_repr_makes_the_layer_again(layer: Any) -> None:
    again = eval(repr(layer), vars(st) | vars(F) | vars(F.rounding))
    assert repr(again) == repr(layer)
    assert again.step_params() == layer.step_params()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("threshold", 0.3, "expected a multiple of 2\\*\\*-2"),
        ("decay", 0.3, "expected a multiple of 2\\*\\*-2"),
        ("decay", 1.25, "at most 1"),
        ("grid", F.rounding.FixedPoint(), r"grid cannot change from FixedPoint\(2, 8, round_floor, saturate\)"),
    ],
)
def test_attributes_that_are_set_later(name: str, value: Any, message: str) -> None:
    layer = LIF((3, 2))
    with pytest.raises(ValueError, match=message):
        setattr(layer, name, value)
    layer.decay = 0.25
    assert layer.decay_numbers == (1, 2)


def test_dtypes_that_hold_the_membrane() -> None:
    x = torch.ones(3)
    for dtype, holds in ((torch.bfloat16, 8), (torch.float16, 11), (torch.float32, 24)):
        st.FixedPointIF(membrane_bits=holds, fraction_bits=2)(x.to(dtype))
        if holds < 24:
            said = f"x is {dtype}, whose numbers have {holds} bits, and the membrane has {holds + 1}"
            with pytest.raises(TypeError, match=re.escape(said)):
                st.FixedPointIF(membrane_bits=holds + 1, fraction_bits=2)(x.to(dtype))
    net = st.SpikingNet(nn.Sequential(nn.Linear(3, 3), st.FixedPointLIF()))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(TypeError, match="without autocast"):
        net(torch.ones(2, 4, 3))
    fine = st.FixedPointLIF(threshold=torch.tensor([1 + 2.0**-8, 1.0, 1.0]))
    with pytest.raises(ValueError, match=r"threshold does not fit into torch\.bfloat16"):
        copy.deepcopy(fine).bfloat16()
    fine.double()(x.double())


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_an_overflow_that_is_an_error(mode: Any) -> None:
    layer = st.FixedPointCubaLIF((1, 1), (1, 1), fraction_bits=2, membrane_bits=5, overflow="error", threshold=3.75)
    net = st.SpikingNet(nn.Sequential(nn.Identity(), layer), mode=mode)
    assert net(torch.full((2, 5, 3), 1.0)).sum() == 0
    with pytest.raises(ValueError, match=r"a membrane or a current has left the range from -4 to 3\.75 of 5 bits"):
        net(torch.full((2, 5, 3), 2.5))
    with pytest.raises(ValueError, match="has left the range"):
        layer(torch.full((2, 3), -4.5), True)
    assert torch.isfinite(layer.state.v).all()


def test_noise_that_overflows_does_not_keep_a_network_from_folding() -> None:
    linear = nn.Linear(3, 4, bias=False)
    nn.init.constant_(linear.weight, 4.0)
    net = nn.Sequential(linear, st.FixedPointIF(fraction_bits=14, overflow="error"))
    model = st.SpikingNet(net, warn_silent=False)
    assert not model(torch.zeros(2, 5, 3)).any()
    assert model.explain().mode == "fold"
    with pytest.raises(ValueError, match="has left the range"):
        model(torch.ones(2, 5, 3))


def test_a_checkpoint_keeps_bits_whole() -> None:
    one, other = (st.FixedPointLIF(fraction_bits=5, membrane_bits=12) for _ in range(2))
    other.load_state_dict(one.state_dict())
    assert other.grid == one.grid
    assert repr(other.grid) == repr(one.grid)


def test_a_network_is_compiled_and_has_the_bits_of_its_steps() -> None:
    torch.manual_seed(0)
    feedback = nn.Linear(6, 6, bias=False)
    wide: Any = {"surrogate": F.Triangular(0.2)}
    made: list[st.StepLayer] = [layer(**wide) for layer in (st.FixedPointLIF, st.XyloLIF, st.LoihiLIF, st.SpeckIAF)]
    made.append(st.FixedPointCubaLIF(recurrent=feedback, **wide))
    parts: list[nn.Module] = []
    for layer in made:
        linear = nn.Linear(6, 6)
        linear.weight.data = torch.randint(-40, 60, (6, 6)) / 64
        linear.bias.data = torch.randint(-8, 8, (6,)) / 64
        parts += [linear, layer]
    feedback.weight.data = torch.randint(-20, 20, (6, 6)) / 64
    x = torch.randint(0, 4, (3, 12, 6)).float()
    outs, slopes = [], []
    for mode in ("auto", "step"):
        net: Any = st.SpikingNet(nn.Sequential(*copy.deepcopy(parts)), mode=mode).double()
        out = net(x.double())
        (out * torch.linspace(0.5, 1.5, out.numel()).view_as(out)).sum().backward()
        outs.append(out.detach())
        slopes.append([p.grad for p in net.parameters()])
    assert torch.equal(*outs)
    assert 0.02 < (outs[0] > 0).float().mean() < 0.98
    for got, want in zip(*slopes, strict=True):
        assert_close(got, want)
    text = str(st.SpikingNet(nn.Sequential(*parts)).explain(x))
    assert text.count("bit-identical to the loop") == 4
