"""What layers hand their steps, and what single ones promise: refractory periods, delays, noise, levels, dropout."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fold_nets import span, states
from tests.folded_layer import CALLS, M, N, T, draw, folds, held, last, over_time, results

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


MODES: tuple[Any, ...] = ("fold", "step")


# --- refractory periods -----------------------------------------------------------------------------------------------


def rests(period: float, **dt: float) -> list[float]:
    """Return the spikes of a neuron that would fire at every step."""
    layer = st.IF(refractory=period, **dt)  # type: ignore[arg-type]
    return [layer(torch.tensor([[1.0]]), init=t == 0).item() for t in range(8)]


@pytest.mark.parametrize(
    ("period", "dt", "steps"),
    [(0.0, 1.0, 0), (2.0, 1.0, 2), (1.5, 1.0, 2), (1.1, 0.55, 2), (0.3, 0.1, 3), (2.0, 2.0, 1)],
)
def test_rests_for_whole_steps(period: float, dt: float, steps: int) -> None:
    assert rests(period, dt=dt) == [float(t % (steps + 1) == 0) for t in range(8)]


# --- single layers ----------------------------------------------------------------------------------------------------


def test_parametric_lif_learns_its_time_constant() -> None:
    layer = st.ParametricLIF(tau=4.0)
    assert layer.tau.item() == pytest.approx(4.0, rel=1e-6)
    assert st.ParametricLIF(tau=torch.tensor([4.0, 8.0]), dt=2.0).tau.tolist() == pytest.approx([4.0, 8.0], rel=1e-6)
    layer(torch.ones(1, 3), True).sum().backward()
    assert layer.w.grad is not None


def test_where_a_sequence_starts() -> None:
    x = torch.zeros(2, 3)
    for layer, v in ((st.AdEx(v_rest=-0.5), -0.5), (st.Izhikevich(c=-50.0), -65.0), (st.Izhikevich(v_rest=-70.0), -70)):
        rest: Any = layer.initial_state(x)
        assert (rest.v == v).all()
    assert (rest.w == 0.2 * -70.0).all()


def test_izhikevich_has_c() -> None:
    layer = st.Izhikevich(c=-50.0, learnable="c")
    assert "c=-50 (learnable)" in repr(layer)
    assert layer.c.item() == -50.0
    assert layer(torch.zeros(1, 3), True).sum() == 0


def test_frequency_of_balanced_resonate_and_fire() -> None:
    layer: Any = st.BalancedResonateAndFire(omega=50.0, dt=0.01, learnable="omega")
    with torch.no_grad():
        layer.omega.fill_(200.0)
    x = torch.ones(1, 3, requires_grad=True)
    layer(x, True).sum().backward()
    assert layer.omega.item() < 100.0
    assert layer.omega.grad.isfinite()


_RESTS: Any = F.Refractory(F.lif_step, 2.0)


@pytest.mark.parametrize("wrapper", [_RESTS, F.RelativeRefractory(_RESTS, 0.5)], ids=["absolute", "both"])
def test_steps_in_wrappers_are_layers(wrapper: Any) -> None:
    layer: Any = st.StepLayer(wrapper, F.LIFState, decay=0.9, learnable="decay").double()
    model, x = over_time(layer), (4.0 * draw(0)).requires_grad_()
    assert_close(results(model, x, "fold"), results(model, x, "step"))
    inner = layer.state.neuron if wrapper is _RESTS else layer.state.neuron.neuron
    assert layer.v is inner.v


def test_stochastic_lif_fires_by_chance() -> None:
    layer = st.StochasticLIF(tau=1e9, reset=F.none, generator=torch.Generator().manual_seed(0))
    x = torch.full((1, 20_000), 1.1)
    p = torch.sigmoid(torch.tensor(0.5)).item()
    spikes = layer(x, True)
    assert spikes.mean().item() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 20_000))


def test_stochastic_lif_in_a_network_keeps_its_noise() -> None:
    model = over_time(st.StochasticLIF(tau=8.0), use=lambda layer, x, init: layer(x, init))
    x = 2.0 * draw(0, dtype=torch.float32)
    torch.manual_seed(0)
    one = model(x)
    torch.manual_seed(0)
    assert torch.equal(model(x), one)
    assert not torch.equal(model(x), one)
    # the mean over many draws, folded and stepped
    wide = x.repeat(3000, 1, 1)
    means = []
    for mode in MODES:
        model.mode = mode
        means.append(model(wide).reshape(3000, N, T, M).mean(0))
    assert (means[0] - means[1]).abs().max() < 0.06
    assert (means[0] - means[1]).abs().mean() < 0.01


def test_delay() -> None:
    layer: Any = st.Delay(torch.tensor([0.0, 1.0, 2.5]), longest=3, learnable="delay").double()
    x = draw(0, 1, 6, 3).requires_grad_()
    out = over_time(layer, 3)(x)
    assert_close(out[0, :, 0], x[0, :, 0])
    assert_close(out[0, 1:, 1], x[0, :-1, 1])
    assert_close(out[0, 3:, 2], 0.5 * (x[0, :3, 2] + x[0, 1:4, 2]))
    out.square().sum().backward()
    # a whole delay learns as well
    assert (layer.delay.grad != 0).all()
    with torch.no_grad():
        layer.delay.fill_(9.0)
    over_time(layer, 3)(x)
    assert layer.delay.tolist() == [3.0] * 3


def test_levels_in_layers() -> None:
    x = torch.tensor([[-3.0, 0.5, 3.5]])
    assert st.IF(surrogate=F.Ternary())(x).tolist() == [[-1.0, 0.0, 1.0]]
    assert st.IF(surrogate=F.MultiSpike())(x).tolist() == [[0.0, 0.0, 3.0]]
    assert st.LIF(1e9, 0.5, surrogate=F.Graded())(x).tolist() == [[0.0, 0.5, 3.5]]
    assert st.IF(surrogate=F.Strict())(torch.ones(1)).tolist() == [0.0]


def test_drops_the_same_neurons_at_all_steps() -> None:
    layer = st.SequenceDropout(0.25)
    steps = torch.stack([layer(torch.ones(50, 40), init=t == 0) for t in range(4)])
    assert all(torch.equal(step, steps[0]) for step in steps)
    assert set(steps.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((steps[0] == 0).float().mean()) - 0.25) < 0.05
    assert not torch.equal(layer(torch.ones(50, 40), init=True), steps[0])
    assert torch.equal(layer.eval()(torch.ones(50, 40), init=True), torch.ones(50, 40))


@pytest.mark.sampled
@pytest.mark.parametrize("wanted", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_layer(layer: st.StepLayer, dtype: torch.dtype, wanted: bool) -> None:
    model, found = over_time(layer.to(dtype)), []
    for k in range(3):
        folds(model, draw(k, dtype=dtype).requires_grad_(wanted))
    for model.mode in ("fold", "step"):
        first, *others = [draw(k, dtype=dtype) for k in range(3)]
        outs = [model(first), *map(model, others, (False, torch.tensor([True, False, True])))]
        found.append([*outs, states(model)])
    assert_close(found[0], found[1])


LEARN: dict[str, Callable[[Any, Any], st.StepLayer]] = {
    "IF": lambda _, v0: st.IF(v0, learnable=True),
    "LIF": lambda tau, v0: st.LIF(tau, v0, learnable=True),
    "LIF, half": lambda tau, v0: st.LIF(tau, v0, learnable="tau"),
    "LIF, decay": lambda tau, v0: st.LIF(decay=0.5 if isinstance(tau, float) else tau / 9, v0=v0, learnable="v0"),
    "LIF, subtracts": lambda tau, v0: st.LIF(tau, v0, reset=F.by_subtraction, learnable=True),
    "LI": lambda tau, _: st.LI(tau, learnable=True),
    "CoarseLIF": lambda tau, v0: st.CoarseLIF(tau, v0, learnable=True),
    "SpikingDecay": lambda tau, v0: st.SpikingDecay(tau, v0, surrogate=F.Arctan(3.0), learnable=True),
    "McPitts": lambda _, v0: st.McPitts(v0, learnable=True),
    "BioLIF": lambda tau, v0: st.BioLIF(tau, v0, learnable="v0"),
    "nothing": lambda tau, v0: st.LIF(tau, v0),
}
# parameters from low to high for images of a shape
SIZES: dict[str, Callable[[float, float, tuple[int, ...]], Any]] = {
    "floats": lambda low, high, shape: low,
    "0-dim": lambda low, high, shape: torch.tensor(low),
    "per channel": lambda low, high, shape: span(low, high, 4, *[1] * (len(shape) - 1)),
    "per neuron": lambda low, high, shape: span(low, high, *shape),
    "one axis": lambda low, high, shape: span(low, high, shape[-1]),
}
IMAGES = [((4, 2, 3), 5), ((4, 2, 3, 2), 20), ((4, 1, 3), 4)]


@pytest.mark.sampled
@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LEARN)
def test_parameters(name: str, size: str, form: Callable[[Tensor], Tensor]) -> None:
    shape, T = IMAGES[([*LEARN].index(name) + [*SIZES].index(size)) % 3]
    layer = LEARN[name](SIZES[size](2.0, 7.0, shape), SIZES[size](0.3, 0.6, shape))
    model = over_time(layer.double(), *shape)
    for k in range(2 * CALLS):
        for parameter in model.parameters():
            parameter.data = parameter.data * 0.97
        x, pull = form(draw(k, N, T, *shape)).requires_grad_(k % 4 > 0), draw(k + 99, N, T, *shape)
        folds(model, x, last(pull) if k % 3 else pull)
    if form is last:
        model(last(draw(1, N, T, *shape)))
        owns = [held(model).s]
        if size in ("floats", "0-dim"):
            owns.append(model.net(last(draw(1, N, 1, *shape))[:, 0], True))
        assert all(own.permute(0, *range(2, own.ndim), 1).is_contiguous() for own in owns)
