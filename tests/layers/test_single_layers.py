"""What single layers promise: refractory periods, delays, noise, levels of spikes, dropout."""

import math
from typing import Any

import pytest
import torch
import torch.utils.checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.folded_layer import M, N, T, draw, over_time, results

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
    assert layer.delay.grad is not None
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
