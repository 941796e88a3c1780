"""Bad input to a layer: what the error says."""

import copy
import inspect
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import AdEx, StepLayer, like
from spikingtorch import functional as F
from tests.every_layer import call


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integer_input(layer: st.StepLayer, dtype: torch.dtype) -> None:
    inputs = [torch.ones(2, dtype=dtype)] * (2 if isinstance(layer, st.BioLIF) else 1)
    with pytest.raises(TypeError, match=r"dtype torch\..*expected a floating one; convert it with x\.float\(\)"):
        layer(*inputs)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_input_names_the_layer_and_keeps_the_state(layer: st.StepLayer, value: float) -> None:
    call(layer, torch.full((2, 3), 0.4))
    before, kept = layer.s, copy.deepcopy(layer)
    bad = torch.full((2, 3), 0.4)
    bad[1, 1] = value
    with pytest.raises(ValueError, match=rf"{type(layer).__name__}: x holds NaN or infinite values \(shape \(2, 3\)\)"):
        call(layer, bad)
    for given, init in ((bad, True), (bad.long(), False), (bad.double(), torch.ones(9).bool())):
        with pytest.raises((TypeError, ValueError)):
            call(layer, given, init)
    assert layer.s is before
    assert torch.equal(call(layer, torch.full((2, 3), 0.4)), call(kept, torch.full((2, 3), 0.4)))


def test_other_batch_size_without_init(layer: st.StepLayer) -> None:
    call(layer, torch.ones(4, 3))
    if isinstance(layer, st.McPitts):
        call(layer, torch.ones(2, 3))  # nothing to remember, so nothing that could not fit
        return
    message = r"holds the state of inputs of shape \(4, 3\).*got \(2, 3\).*Pass init=True.*make a layer for each"
    before = layer.s
    with pytest.raises(ValueError, match=message):
        call(layer, torch.ones(2, 3))
    with pytest.raises((TypeError, ValueError)):
        call(layer, torch.ones(4, 3).double())
    assert layer.s is before
    call(layer, torch.ones(2, 3), True)


def test_init_of_numpy() -> None:
    layer, x = st.IF(), torch.tensor([0.75])
    assert [layer(x, init).item() for init in np.array([True, False, True])] == [0.0, 1.0, 0.0]


ONES, AGAIN = torch.ones(2, 3), torch.ones(3, 2)


def pair_step(state: F.IFState, x: Tensor) -> Any:
    return state, (x, x)


def then(x: Tensor, *init: Any) -> Any:
    """Call a layer once more, on another input or with another init."""
    layer = st.IF()
    layer(AGAIN)
    return layer(x, *init)


class AtThreshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        return (u >= 0).to(u.dtype)


class AboveThreshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        return (u > 0).to(u.dtype)


class Fixed(st.StepLayer):
    """A layer that forgets to hand a parameter on."""

    def __init__(self) -> None:
        super().__init__(F.lif_step, F.LIFState)


class Mapped(st.StepLayer):
    """A layer that computes a parameter and forgets another."""

    found: Any = ("gain",)

    def __init__(self) -> None:
        super().__init__(F.lif_step, F.LIFState, decay=0.9, gain=1.0)

    @classmethod
    def param_map(cls, stored: dict[str, Any]) -> Any:
        return cls.found and {name: stored[name] for name in cls.found}


class MappedToNothing(Mapped):
    found = None


def turning(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    return F.LIFState(1j * state.v + x), x


def two_rates(
    state: F.LIFState, x: Tensor, fast: float, *, slow: float, gain: float = 1.0
) -> tuple[F.LIFState, Tensor]:
    return F.LIFState(fast * state.v + slow * gain * x), x


def with_threshold(state: F.LIFState, x: Tensor, *, threshold: Any) -> tuple[F.LIFState, Tensor]:
    return state, F.Sigmoid()(x - threshold)


IF: Any = st.IF  # for what its annotations refuse
LIF: Any = st.LIF
DELAY: Any = st.Delay
PARAMETRIC: Any = st.ParametricLIF
ALIF: Any = st.ALIF
ADEX: Any = st.AdEx
ANY_STEP: Any = st.StepLayer
FIRING = [IF, partial(st.McPitts, 0.5)]
POSITIVE = {st.LIF: "tau", st.LI: "tau", st.CoarseLIF: "tau", st.SpikingDecay: "tau", st.BioLIF: "nudt", IF: "beta"}

# what an error says, and what is done, or several such things in a list
VALUES: dict[str, Any] = {
    r"torch\.float32.*got.*torch\.float64.*Pass init=True": lambda: then(AGAIN.double()),
    r"cpu\).*meta\).*Pass init=True": lambda: then(AGAIN.to("meta")),
    r"LIF: tau of shape \(4,\) does not broadcast to the input of shape \(2, 3\)": lambda: st.LIF(
        tau=torch.full((4,), 8.0)
    )(torch.ones(2, 3)),
    r"init is a tensor of .* expected torch\.bool and shape \(3,\)": [
        *[partial(then, AGAIN, init) for init in (torch.tensor([True, False]), torch.tensor([1, 0, 0]), AGAIN > 0)],
        lambda: IF()(AGAIN, AGAIN),  # at the first call, too: a state in its place, as other libraries take it
    ],
    r"mixed devices: .*'x': 'meta'.*'cpu'": lambda: IF(v0=torch.ones(3))(ONES.to("meta")),
    r"(tau|nudt|beta)=(-1\.0|0\.0|nan), expected a finite value above 0": [
        partial(make, **{name: value}) for make, name in POSITIVE.items() for value in (-1.0, 0.0, torch.nan)
    ],
    r"LIF: tau has values from -8 to 8, expected a finite value above 0": lambda: st.LIF(tau=torch.tensor([8.0, -8.0])),
    "expected a finite value at least 0 and at most 1": [
        partial(st.LIF, decay=decay) for decay in (-0.1, 1.1, torch.nan)
    ],
    r"v0 of shape \(4,\) does not broadcast to the input of shape \(2, 3\)": lambda: IF(v0=torch.ones(4))(ONES),
    r"McPitts: threshold of shape \(2, 3\) does not broadcast to the input": lambda: st.McPitts(ONES)(ONES[:1]),
    r"beta=3\.0 is the slope of the default surrogate, give it to Arctan": partial(
        st.LIF, beta=3.0, surrogate=F.Arctan()
    ),
    r"tau=2\.0 and decay=0\.9 both say how much of the membrane is kept; give one of them": [
        partial(make, tau=2.0, decay=0.9) for make in (st.LIF, st.LI)
    ],
    r"maps -1, 0, 1 to \[0\.0, 0\.0, 1\.0\], expected the spikes 0, 1, 1\. Compare with u >= 0; Strict\(": partial(
        IF, surrogate=AboveThreshold.apply
    ),
    r"Leaky: spike_grad=.*AboveThreshold.* expected the spikes 0, 1, 1\. Compare with u >= 0": partial(
        like.snntorch.Leaky, 0.9, spike_grad=AboveThreshold.apply
    ),
    r"expected the spikes 0, 1, 1\. A smooth function becomes a surrogate with FromPrim": [
        partial(make, surrogate=torch.sigmoid) for make in FIRING
    ],
    r"v0 requires a gradient but is no nn\.Parameter.*learnable='v0'": lambda: IF(v0=torch.ones(3, requires_grad=True)),
    r"learnable names \['reset'\]; choose from \['threshold'\]": lambda: IF(learnable="reset"),
    r"learnable names \['tau'\]; choose from \['threshold'\]": lambda: IF(learnable="tau"),
    "nudt cannot be learned": [
        lambda: st.BioLIF(nn.Parameter(torch.tensor(0.5))),
        *[partial(st.BioLIF, 0.5, learnable=names) for names in ("nudt", ["v0", "nudt"], iter(["v0", "nudt"]))],
    ],
    r"(BioLIF|StochasticLIF): inputs differ in shape: \[\(2, 3\), \(2, 4\)\]": [
        lambda: st.BioLIF(0.5)(ONES, torch.ones(2, 4)),
        lambda: st.StochasticLIF()(ONES, True, noise=torch.ones(2, 4)),
    ],
    r"refractory=-1\.0, expected a finite value at least 0": partial(st.LIF, refractory=-1.0),
    r"ParametricLIF: tau=1\.0, expected a finite value above 1": partial(st.ParametricLIF, tau=1.0),
    "IF: v_reset.* finite|ExponentialIF: v_rest.* finite|Izhikevich: a.* finite|ALIF: adaptation.* infinite": [
        lambda: IF(reset=F.to_value(torch.nan)),
        partial(st.ExponentialIF, v_rest=torch.nan),
        partial(st.Izhikevich, a=torch.inf),
        lambda: ALIF(adaptation=torch.tensor([1.0, torch.nan])),
    ],
    r"threshold=.*above 0": [
        lambda low=low, levels=levels: IF(threshold=low, surrogate=levels)(ONES)
        for low in (0.0, -1.0)
        for levels in (F.MultiSpike(), F.Ternary())
    ],
    r"LIF: returns=\('spikes', 'w'\) names 'w', which it does not have; it has 'spikes', 'v', 'u', 'threshold'": (
        partial(st.LIF, returns=("spikes", "w"))
    ),
    r"names 'u', which it does not have; it has 'spikes', 'v'$": partial(st.LI, returns=("v", "u")),
    r"returns='v', expected 'spikes', .* for a tuple of one: \('v',\)": partial(st.LIF, returns="v"),
    r"returns=\(\) is empty or names something twice": partial(st.LIF, returns=()),
    "is empty or names something twice": partial(st.LIF, returns=("v", "v")),
    "it has 'spikes', 'v', 'i', 'u', 'thresh": partial(like.norse.LIFCell, returns=("spikes", "mem")),
    "it has 'spikes', 'v', 'left', 'u', 'threshold'": partial(st.LIF, refractory=2.0, returns=("s",)),
    "expected a probability of at least 0 and below 1": [
        partial(st.SequenceDropout, p) for p in (-0.1, 1.0, torch.nan)
    ],
    r"c=-50\.0 is the value of the reset rule": partial(st.Izhikevich, c=-50.0, reset=F.to_value(-60.0)),
    r"omega=200\.0, expected a finite value at least -100 and at most 100": partial(
        st.BalancedResonateAndFire, omega=200.0, dt=0.01
    ),
    r"delay=3\.0, expected a finite value .*at most 2": partial(st.Delay, 3.0, longest=2),
    "parameter 'forward' would hide": lambda: st.StepLayer(F.if_step, F.IFState, forward=1.0),
}
TYPES: dict[str, Any] = {
    "returns=True, expected 'spikes', or a tuple of names such as": partial(LIF, returns=True),
    "makes more than spikes of 0 and 1": [
        partial(st.SigmaDelta, surrogate=F.MultiSpike()),
        *[
            partial(IF, surrogate=each)
            for each in (F.Graded(F.Ternary()), F.Strict(F.Ternary()), F.MultiSpike(F.Graded()))
        ],
    ],
    r"IF: x is a list, expected a torch\.Tensor": lambda: IF()([1.0]),
    r"x is a ndarray, expected a torch\.Tensor; make one with torch\.from_numpy\(x\)": lambda: IF()(np.ones(2)),
    r"IF: x has the layout torch\.sparse_coo, expected a dense one, x\.to_dense\(\)": lambda: IF()(
        torch.ones(2, 3).to_sparse()
    ),
    r"LIF: mixed dtypes: x is torch\.float32 and tau torch\.float64": lambda: st.LIF(
        tau=torch.full((3,), 8.0).double()
    )(torch.ones(2, 3)),
    r"init=.*expected a bool, or a bool tensor with one value for each sample": [
        partial(then, AGAIN, init) for init in ([True, False, True], 1, "yes")
    ],
    r"IF: mixed dtypes: x is torch\.float64 and v0 torch\.float32": lambda: IF(v0=torch.ones(3))(ONES.double()),
    "IF: threshold is a list, expected a float, or a tensor that broadcasts": partial(IF, [1.0, 2.0]),
    r"IF: v0 has dtype torch\.int64": lambda: IF(v0=torch.tensor([1, 2])),
    r"Refractory\(pair_step\): the step inside returns a tuple, expected a tensor": lambda: st.StepLayer(
        pair_step, F.IFState, refractory=1
    )(ONES),
    r"surrogate=Arctan is a class; make one of it: Arctan\(\)": [partial(make, surrogate=F.Arctan) for make in FIRING],
    r"IF: surrogate=AtThreshold is a class; hand over AtThreshold\.apply": partial(IF, surrogate=AtThreshold),
    "surrogate=5 cannot be called; for instance, take Arctan": [*[partial(make, surrogate=5) for make in FIRING]],
    r"IF: reset=.* expected a rule \(u, spike, threshold\) -> v, such as to_zero": [
        partial(IF, reset=reset) for reset in (None, "to_zero", F.detached, F.Detached, lambda u: u)
    ],
    r"LIF: there is no argument 'thresold'; it takes tau, threshold, decay, .* refractory, returns, dt$": [
        partial(LIF, thresold=0.5, **more) for more in ({}, {"reset": F.to_value(0.0)}, {"decay": 0.9})
    ],
    "IF: there is no argument 'tau'; it takes threshold, ": partial(IF, tau=8.0),
    "ParametricLIF: there is no argument 'thershold'; it": partial(PARAMETRIC, thershold=2.0),
    "Delay: there is no argument 'lernable'; it takes delay, longest, learnable, ": partial(DELAY, 2.0, lernable=True),
    r"StepLayer: there is no argument 'dekay'; it takes decay, gain, threshold, .* recurrent, ": partial(
        st.StepLayer, F.lif_step, F.LIFState, dekay=0.9
    ),
    r"StepLayer: lif_step needs decay; write StepLayer\(lif_step, LIFState, decay=\.\.\.\)$": [
        partial(st.StepLayer, F.lif_step, F.LIFState, **more) for more in ({}, {"refractory": 2}, {"threshold": 0.5})
    ],
    r"StepLayer: Refractory\(lif_step\) needs decay; write StepLayer\(step, LIFState, decay=\.\.\.\)$": partial(
        ANY_STEP, F.Refractory(F.lif_step), F.LIFState
    ),
    r"Fixed: lif_step needs decay; write super\(\).__init__\(lif_step, LIFState, decay=\.\.\.\)$": Fixed,
    r"Mapped: lif_step needs decay, and param_map returns only gain\. It has to return every argument": Mapped,
    "MappedToNothing: param_map returned a NoneType, expected a dict": MappedToNothing,
    r"scan: turning turned state\.v from .* into torch\.complex64; write it in two .* v_re and v_im.* rest_state": (
        lambda: st.StepLayer(turning, F.LIFState)(torch.ones(2, 3))
    ),
    r"StepLayer: two_rates needs fast and slow; write StepLayer\(two_rates, LIFState, fast=\.\.\., slow=\.\.\.\)$": [
        partial(st.StepLayer, two_rates, F.LIFState)
    ],
    "McPitts.*missing 1 required positional argument: 'threshold'": st.McPitts,
    r"AdEx.__init__\(\) takes from 1 to 9 positional arguments but 10 were given": partial(ADEX, *range(1, 10)),
    r"AdEx.__init__\(\) got multiple values for argument 'tau'": partial(ADEX, 8.0, tau=2.0),
    "IF: got 3 arguments without a name, expected v0, beta at most": partial(IF, 1, 5, 0.9),
    "LIF: got v0 twice, by its place and by its name": partial(LIF, 8.0, 1.0, v0=1.0),
}


def test_what_a_wrapper_hands_its_step_is_not_missing() -> None:
    st.StepLayer(partial(F.lif_step, decay=0.9), F.LIFState)
    ANY_STEP(F.RelativeRefractory(with_threshold), F.LIFState)


@pytest.mark.parametrize(
    ("error", "message"), [*((ValueError, each) for each in VALUES), *((TypeError, each) for each in TYPES)]
)
@pytest.mark.filterwarnings("ignore:.*not above the membrane at rest")
def test_error(error: type[Exception], message: str) -> None:
    found = (VALUES | TYPES)[message]
    for use in found if isinstance(found, list) else [found]:
        with pytest.raises(error, match=message):
            use()


def test_a_float_that_torch_does_not_take_names_what_does() -> None:
    def step(state: F.LIFState, x: torch.Tensor, *, tau: Any) -> tuple[F.LIFState, torch.Tensor]:
        v = torch.exp(-1 / tau) * state.v + x
        return F.LIFState(v), v

    with pytest.raises(TypeError, match="must be Tensor, not float") as caught:
        st.StepLayer(step, F.LIFState, tau=8.0)(torch.ones(2, 3))
    assert "tau: a parameter given as a float" in caught.value.__notes__[0]
    assert "decay_from_tau(tau) of spikingtorch.functional" in caught.value.__notes__[0]


def test_arguments_reach_the_layer_and_a_class_between_it_and_the_base_takes_its_turn() -> None:
    class Noted(StepLayer):
        def __init__(self, *args: Any, note: str = "", **options: Any) -> None:
            super().__init__(*args, **options)
            self.note = note

    class Both(AdEx, Noted):
        pass

    parameters = inspect.signature(AdEx).parameters
    assert [*parameters][:3] == ["tau", "threshold", "tau_w"]
    assert parameters["tau_w"].default == 40.0
    make: Any = Both
    both = make(4.0, learnable="tau", note="here")
    assert (both.note, both.tau.item(), both.tau_w) == ("here", 4.0, 40.0)
