"""What all layers take: both names of the threshold, a value to reset to, steps in milliseconds, refractory periods."""

import gc
from collections.abc import Callable
from typing import Any, NamedTuple

import jedi
import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.layers import neurons
from spikingtorch.testing import assert_close
from tests.every_layer import LAYERS, MAKERS, call
from tests.fold_nets import span
from tests.folded_layer import M, N, draw, over_time, results

OLDER: dict[str, Callable[..., st.StepLayer]] = {
    **{name: MAKERS[name] for name in ("IF", "LIF", "CoarseLIF", "SpikingDecay", "BioLIF")},
    "McPitts": st.McPitts,
}


def test_every_layer_is_tested() -> None:
    assert {*MAKERS} == {*neurons.__all__}
    assert all(getattr(st, name) is getattr(neurons, name) for name in MAKERS)


# --- the threshold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OLDER)
def test_threshold_has_two_names(name: str) -> None:
    older = "thr" if name == "McPitts" else "v0"
    one, other = OLDER[name](threshold=0.75), OLDER[name](**{older: 0.75})
    for layer in (one, other):
        assert layer.threshold == getattr(layer, older) == 0.75
    assert "threshold=0.75" in repr(one)
    assert f"{older}=0.75" in repr(other)
    x = draw(0, N, M)
    assert_close(call(one, x, True), call(other, x, True))
    one.threshold = 0.25
    assert getattr(one, older) == 0.25
    # checkpoints are the same by either name
    other.load_state_dict(one.state_dict())
    assert other.threshold == 0.25


@pytest.mark.parametrize("name", OLDER)
def test_learnable_by_either_name(name: str) -> None:
    older = "thr" if name == "McPitts" else "v0"
    layer = OLDER[name](threshold=0.75, learnable="threshold")
    assert [*dict(layer.named_parameters())] == [older]
    other: Any = OLDER[name](threshold=0.75)
    other.threshold = torch.nn.Parameter(torch.tensor(0.5))
    assert [*dict(other.named_parameters())] == [older]
    assert "threshold=0.75 (learnable)" in repr(layer)
    with pytest.raises(ValueError, match=f"{older}=0.25 and threshold=0.75 are the same parameter"):
        OLDER[name](**{older: 0.25}, threshold=0.75)


# --- a value to reset to ----------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {"float": -0.25, "tensor": span(-0.5, 0.25, M)}


@pytest.mark.parametrize("learnable", [(), "v_reset"], ids=["fixed", "learns"])
@pytest.mark.parametrize("detach", [False, True], ids=["", "detached"])
@pytest.mark.parametrize("value", VALUES)
def test_reset_to_a_value(value: str, detach: bool, learnable: Any) -> None:
    rule: Any = F.to_value(VALUES[value])
    layer = st.LIF(reset=F.detached(rule) if detach else rule, learnable=learnable).double()
    v_reset = torch.as_tensor(VALUES[value], dtype=torch.float64).clone().requires_grad_(bool(learnable))
    model, x = over_time(layer), (3.0 * draw(0)).requires_grad_()
    whole: Any = F.to_value(v_reset)
    params: dict[str, Any] = {"decay": F.decay_from_tau(8.0), "gain": F.gain_from_tau(8.0)}
    params |= {"reset": F.detached(whole) if detach else whole}
    rest = F.LIFState(torch.zeros(N, M, dtype=torch.float64))
    out = F.scan(F.lif_step, rest, x, params=params, dim=1, backend="loop")[1]
    assert out.sum() > N
    pull = draw(99, *out.shape) - 0.5
    leaves = [x, v_reset] if learnable else [x]
    want = [out, *torch.autograd.grad(out, leaves, pull)]
    for mode in ("fold", "step", "fold"):
        found = results(model, x, mode)
        assert_close([found["out"], found["d x"], *([found["d net.layer.v_reset"]] if learnable else [])], want, mode)


def test_the_value_is_an_attribute() -> None:
    layer: Any = st.IF(reset=F.to_value(-0.25))
    assert repr(layer) == "IF(threshold=1.0, surrogate=Sigmoid(beta=5.0), reset=to_value, v_reset=-0.25)"
    layer.v_reset = 0.5
    layer(torch.tensor([1.5]))
    assert layer.v.item() == 0.5
    layer.reset_rule = F.to_value(0.125)
    layer(torch.tensor([1.5]))
    assert (layer.v_reset, layer.v.item()) == (0.125, 0.125)
    layer.reset_rule = F.detached(F.to_value(-1.0))
    layer(torch.tensor([1.5]))
    assert (layer.v_reset, layer.v.item()) == (-1.0, -1.0)
    layer.reset_rule = F.by_subtraction
    layer(torch.tensor([2.5]), init=True)
    assert layer.v.item() == 1.5
    assert "detached(to_value)" in repr(st.IF(reset=F.detached(F.to_value(0.5))))
    with pytest.raises(TypeError, match=r"reset=to_value lacks the value; write to_value\(0.0\)"):
        st.IF(reset=F.to_value)  # type: ignore[arg-type]


def test_the_value_is_in_checkpoints() -> None:
    one, other = st.LIF(reset=F.to_value(-0.25)), st.LIF(reset=F.to_value(0.5))
    other.load_state_dict(one.state_dict())
    assert other.v_reset == -0.25
    with pytest.raises(RuntimeError, match="the checkpoint has"):
        st.LIF().load_state_dict(one.state_dict())


# --- physical units ---------------------------------------------------------------------------------------------------

TIMED = ["LIF", "LI", "CoarseLIF", "ParametricLIF", "CubaLIF", "AlphaLIF", "ALIF", "ExponentialIF", "AdEx"]
TIMED += ["QuadraticIF", "StochasticLIF", "ExponentialSynapse", "AlphaSynapse", "ShortTermPlasticity", "Delay"]


@pytest.mark.parametrize("name", TIMED)
def test_times_in_units_of_dt(name: str) -> None:
    make, layer = MAKERS[name], LAYERS[name]
    # a quarter is exact in binary: the same numbers to the bit
    times = {each: 0.25 * getattr(layer, each) for each in layer.times or ("tau",) if hasattr(layer, each)}
    in_steps, in_ms = make().double(), make(dt=0.25, **times).double()
    x = (4.0 * draw(0)).requires_grad_()
    want = results(over_time(in_steps), x, "step")
    for mode in ("fold", "step"):
        found = results(over_time(in_ms), x, mode)
        assert_close([found["out"], found["d x"]], [want["out"], want["d x"]], mode)
    with pytest.raises(ValueError, match=r"dt=0.0, expected a finite value above 0"):
        make(dt=0.0)
    assert "dt=0.25" in repr(in_ms)


def test_gradient_of_a_time_constant_in_milliseconds() -> None:
    layer = st.LIF(tau=20.0, dt=2.5, learnable="tau").double()
    x = (3.0 * draw(0)).requires_grad_()
    got, stepped = results(over_time(layer), x, "fold"), results(over_time(layer), x, "step")
    assert_close(got["d net.layer.tau"], stepped["d net.layer.tau"])
    same = results(over_time(st.LIF(tau=8.0, learnable="tau").double()), x, "step")
    assert_close(got["d net.layer.tau"], same["d net.layer.tau"] / 2.5)


# --- what changes, and what cannot ------------------------------------------------------------------------------------


class Doubled(NamedTuple):
    step: Any
    gain = 2.0  # type: ignore[misc]  # no content of the wrapper, as it is the class's

    def __call__(self, state: Any, x: Tensor, **params: Any) -> Any:
        return self.step(state, self.gain * x, **params)


class Halved(Doubled):
    gain = 0.5


OPTIONS: dict[str, dict[str, Any]] = {
    "refractory": {"refractory": 1.0},
    "recurrent": {"recurrent": torch.zeros(M)},
    "value": {"reset": F.to_value(0.0)},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_wrappers_of_one_content_are_told_apart(option: str) -> None:
    x, counts = draw(0, N, 6, M).float(), []
    wrappers: tuple[Any, ...] = (Doubled, Halved)
    for wrapper in wrappers:
        layer = st.StepLayer(wrapper(F.if_step), F.IFState, threshold=1.0, **OPTIONS[option])
        counts.append(over_time(layer)(x).sum().item())
    assert counts[0] > 2 * counts[1]


def test_options_that_a_layer_was_made_without() -> None:
    for name in ("dt", "refractory"):
        with pytest.raises(ValueError, match=f"LIF: it was made without {name}; give it to the constructor"):
            setattr(st.LIF(), name, 0.5)
    without: list[tuple[Any, str]] = [(st.LIF(), "decay"), (st.LIF(decay=0.9), "tau"), (st.LI(), "decay")]
    for layer, name in without:  # which would be an attribute that nobody reads
        with pytest.raises(ValueError, match=f"it was made without {name}; give it to the constructor"):
            setattr(layer, name, 0.5)
    layer = st.LIF(dt=0.5, refractory=1.0)
    layer.dt, layer.refractory = 0.25, 2.0
    assert "dt=0.25, refractory=2.0" in repr(layer)
    for name in ("dt", "refractory"):
        with pytest.raises(ValueError, match=f"{name}=-1.0, expected"):
            setattr(layer, name, -1.0)


def test_what_others_depend_on_stays() -> None:
    fixed: list[tuple[Any, str]] = [
        (st.Delay(2.0, dt=1.0), "dt"),
        (st.Delay(3.0), "longest"),
        (st.BalancedResonateAndFire(), "dt"),
        (st.ParametricLIF(dt=1.5), "dt"),
    ]
    for layer, name in fixed:
        with pytest.raises(ValueError, match=f"{name} cannot change from"):
            setattr(layer, name, 0.125)
    with pytest.raises(RuntimeError, match=r"longest cannot change from 5\.0"):
        st.Delay(2.0, longest=5).load_state_dict(st.Delay(2.0).state_dict())


def test_mcpitts_that_rests_has_a_state() -> None:
    model = st.SpikingNet(torch.nn.Sequential(st.IF(), st.McPitts(threshold=0.5, refractory=5.0)))
    x = torch.ones(1, 8, 1)
    whole = model(x)
    model(x[:, :4])
    kept = model.get_state()
    model(torch.zeros(1, 8, 1))
    model.set_state(kept)
    assert torch.equal(model(x[:, 4:], init=False), whole[:, 4:])


def test_a_rule_that_changes_takes_its_value_along() -> None:
    layer: Any = st.LIF(reset=F.to_value(0.5))
    layer.reset_rule = F.to_zero
    assert not hasattr(layer, "v_reset")
    st.LIF().load_state_dict(layer.state_dict())
    layer.reset_rule = F.to_value(torch.tensor([0.5, 0.25]))
    assert layer.double().v_reset.dtype == torch.float64
    assert F.detached(F.detached(F.to_zero)) == F.detached(F.to_zero)


def test_refractory_tensors_round_as_floats_do() -> None:
    for n in (1, 33, 150):
        period = n * 0.01
        of_float, of_tensor = (st.IF(refractory=each, dt=0.01) for each in (period, torch.tensor(period)))
        steps = [layer.whole_step()[1]["refractory"] for layer in (of_float, of_tensor)]
        assert steps[0] == steps[1].item() == n


def test_noise_in_half_precision_has_all_its_digits() -> None:
    layer = st.StochasticLIF(tau=1e9, surrogate=F.Sigmoid(20.0))
    spikes = layer(torch.full((1, 100_000), 10.0, dtype=torch.bfloat16), True)
    assert (spikes.dtype, spikes.mean(dtype=torch.float32).item()) == (torch.bfloat16, 1.0)


def test_a_generator_of_ones_own_in_a_checkpoint_is_an_error() -> None:
    net = st.SpikingNet(st.StochasticLIF(generator=torch.Generator().manual_seed(1)))
    x = torch.ones(1, 4, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="does not put a generator of yours back"):
        torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False)
    gc.collect()  # torch's checkpoint leaves its hooks on saved tensors where they are until the error is collected


@pytest.mark.parametrize("wrap", [lambda s: s, F.Strict, F.Graded], ids=["plain", "strict", "graded"])
def test_surrogates_with_a_value_for_each_neuron(wrap: Any) -> None:
    """Each neuron is one of its own."""
    betas = torch.tensor([1.0, 2.0, 5.0, 9.0])
    x = torch.rand(3, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    whole = st.SpikingNet(st.LIF(tau=3.0, surrogate=wrap(F.Sigmoid(betas))))(x)
    alone = [
        st.SpikingNet(st.LIF(tau=3.0, surrogate=wrap(F.Sigmoid(beta))))(x[..., i : i + 1])
        for i, beta in enumerate(betas.tolist())
    ]
    g = torch.linspace(-1.0, 1.0, whole.numel()).view(whole.shape)
    got, want = (torch.autograd.grad(out, x, g)[0] for out in (whole, torch.cat(alone, -1)))
    assert torch.equal(whole, torch.cat(alone, -1))
    torch.testing.assert_close(got, want)


def test_stochastic_neurons_with_a_slope_for_each() -> None:
    layer = st.StochasticLIF(surrogate=F.Sigmoid(torch.tensor([3.0, 5.0])))
    assert layer(torch.rand(4, 2), init=True).shape == (4, 2)
    with pytest.raises(ValueError, match="has no primitive that goes from 0 to 1"):
        st.StochasticLIF(surrogate=F.FastSigmoid(torch.tensor([3.0, 5.0])))


def test_a_delay_is_handed_over_as_a_parameter() -> None:
    delay = torch.nn.Parameter(torch.tensor([1.0, 2.5]))
    layer = st.Delay(delay)
    assert layer.delay is delay
    assert layer.longest == 3.0


NAMED: dict[str, tuple[st.StepLayer, str]] = {
    "nothing": (st.LIF(), "LIF(tau=8.0, threshold=1.0, "),
    "older": (st.SpikingDecay(2.0, v0=0.5), "SpikingDecay(tau=2.0, v0=0.5, "),
    "a tensor": (st.IF(torch.ones(3)), "IF(threshold=<3>, "),
    "thr": (vars(st)["McPitts"](thr=0.5), "McPitts(thr=0.5, "),
    "older, by place": (st.LIF(8, 1, 3.0, 0.9), "LIF(decay=0.9, threshold=1.0, surrogate=Sigmoid(beta=3.0), "),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_layer_is_shown_by_the_names_of_its_arguments(name: str) -> None:
    layer, text = NAMED[name]
    assert repr(layer).startswith(text)
    assert "reset_rule" not in repr(layer)


def test_editors_complete_every_option() -> None:
    """Those that ask jedi, as IPython and notebooks do."""
    for kind in (st.LIF, st.ALIF, st.StochasticLIF, st.LI):
        (shown,) = jedi.Interpreter(f"{kind.__name__}(", [vars(st)]).get_signatures()
        names = [param.name for param in shown.params]
        assert names[-6:] == ["learnable", "recurrent", "constrain", "refractory", "returns", "dt"]
        assert not {"v0", "beta", "options"} & {*names}
