"""The reference simulator of NIR graphs against solutions by hand and closed forms; test_import.py has its maps."""

import math

import nir
import numpy as np
import pytest

from spikingtorch.interop.nir.reference import Array
from tests.interop.nir.graphs_by_hand import arrays, close, random, run, train

WAYS = ("exact", "exponential", "euler")


def test_integrate_and_fire_by_hand() -> None:
    """r = 1, dt = 0.5: every input of 1 adds 0.5; 1 is not above 1, 1.5 is; the reset is to 0.25."""
    node = nir.IF(**arrays(r=1.0, v_threshold=1.0, v_reset=0.25))
    trace = run(node, train(1, 1, 1, 1, 1, 0, -1, 3), dt=0.5)
    assert trace.out["out"].ravel().tolist() == [0, 0, 1, 0, 1, 0, 0, 1]
    assert trace.membranes["0"].ravel().tolist() == [0.5, 1.0, 1.5, 0.75, 1.25, 0.25, -0.25, 1.25]


@pytest.mark.parametrize("way", WAYS)
def test_leaky_integrate_and_fire_starts_anew_after_each_spike(way: str) -> None:
    """Between spikes v(k) = target + (start - target) kept^k; the start is 0 and then v_reset, in closed form."""
    node = nir.LIF(**arrays(tau=10.0, r=2.0, v_leak=0.5, v_threshold=1.0, v_reset=-0.75))
    trace = run(node, np.full((60, 1, 1), 0.8), dt=2.0, discretisation=way)
    kept = 1 - 2 / 10 if way == "euler" else math.exp(-2 / 10)
    target, origin, since = 0.5 + 2 * 0.8, 0.0, 0
    for spike, membrane in zip(trace.out["out"].ravel(), trace.membranes["0"].ravel(), strict=True):
        since += 1
        expected = target + (origin - target) * kept**since
        assert membrane == pytest.approx(expected, abs=1e-12)
        assert spike == (expected > 1.0)
        if spike:
            origin, since = -0.75, 0
    assert trace.out["out"].sum() >= 5


def runge_kutta(x: Array, dt: float, syn: float, mem: float, r: float, leak: float, w: float) -> list[float]:
    """v at the end of each step, by 400 steps of Runge and Kutta's method in each."""

    def slope(i: float, v: float, s: float) -> tuple[float, float]:
        return (w * s - i) / syn, (leak - v + r * i) / mem

    i = v = 0.0
    ends, h = [], dt / 400
    for s in x.ravel().tolist():
        for _ in range(400):
            i1, v1 = slope(i, v, s)
            i2, v2 = slope(i + h / 2 * i1, v + h / 2 * v1, s)
            i3, v3 = slope(i + h / 2 * i2, v + h / 2 * v2, s)
            i4, v4 = slope(i + h * i3, v + h * v3, s)
            i, v = i + h / 6 * (i1 + 2 * i2 + 2 * i3 + i4), v + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        ends.append(v)
    return ends


NEAR = [(5.0, 20.0), (20.0, 5.0), (8.0, 8.0), (8.0, 8.0 * (1 + 1e-4)), (8.0 * (1 + 1e-9), 8.0), (8.0, 8.0 + 2e-15)]


@pytest.mark.parametrize(("syn", "mem"), NEAR)
def test_exact_current_based_integrator(syn: float, mem: float) -> None:
    x = random(10, 1, 1)
    node = nir.CubaLI(**arrays(tau_syn=syn, tau_mem=mem, r=1.5, v_leak=-0.5, w_in=2.0))
    v = run(node, x, dt=3.0).out["out"]
    close(v.ravel(), runge_kutta(x, 3.0, syn, mem, 1.5, -0.5, 2.0), 1e-10)


@pytest.mark.parametrize(("syn", "mem"), [(1e-4, 5.0), (5.0, 1e-4), (1e-4, 1.0001e-4)])
def test_exact_current_based_integrator_of_very_short_time_constants(syn: float, mem: float) -> None:
    """A variable with a time constant of nearly nothing is at its target: what is left is one equation, or none."""
    node = nir.CubaLI(**arrays(tau_syn=syn, tau_mem=mem, r=2.0, v_leak=0.5))
    v = run(node, np.ones((4, 1, 1)), dt=1.0).out["out"].ravel()
    slow = max(syn, mem)
    free = 0.5 if syn > mem else 0.0  # v_leak is there at once if v is the fast one
    close(v, 2.5 + (free - 2.5) * np.exp(-np.arange(1, 5) / slow), 1e-4)


def test_semi_implicit_euler_by_hand() -> None:
    """I: 0, 1, 1.5, 0.75; v: 0, 0.875, 1.90625, 2.1171875, with the new I in v."""
    node = nir.CubaLI(**arrays(tau_syn=2.0, tau_mem=4.0, r=3.0, v_leak=0.5, w_in=2.0))
    v = run(node, train(1, 1, 0), discretisation="euler").out["out"].ravel()
    assert v.tolist() == [0.875, 1.90625, 2.1171875]


def test_input_weight_is_one_by_default() -> None:
    values = {"tau_syn": 2.0, "tau_mem": 3.0, "r": 1.0, "v_leak": 0.0}
    one, none = nir.CubaLI(**arrays(**values, w_in=1.0)), nir.CubaLI(**arrays(**values))
    assert (run(one, train(1, 0)).out["out"] == run(none, train(1, 0)).out["out"]).all()


def test_exactly_at_the_threshold_is_no_spike() -> None:
    above = float(np.nextafter(1.0, 2.0))
    trace = run(nir.Threshold(np.array([1.0])), train(1.0, above, -2))
    assert trace.out["out"].ravel().tolist() == [0, 1, 0]
    assert trace.membranes["0"].ravel().tolist() == [1.0, above, -2.0]
    fires = nir.IF(**arrays(r=1.0, v_threshold=1.0))
    assert run(fires, train(1, 0)).out["out"].sum() == 0
    assert run(fires, train(above, 0)).out["out"].sum() == 1
    leaky = nir.LIF(**arrays(tau=1.0, r=1.0, v_leak=0.0, v_threshold=1.0))
    assert run(leaky, train(1, 1), discretisation="euler").out["out"].sum() == 0
    current = nir.CubaLIF(**arrays(tau_syn=1.0, tau_mem=1.0, r=1.0, v_leak=0.0, v_threshold=1.0))
    assert run(current, train(1, 1), discretisation="euler").out["out"].sum() == 0


def test_parameters_broadcast_as_in_numpy() -> None:
    x = random(5, 2, 3, 4)
    tau, r = np.full((3, 1), 4.0), np.array([[1.0], [2.0], [3.0]])
    v = run(nir.LI(tau=tau, r=r, v_leak=np.zeros((3, 1))), x).out["out"]
    for c in range(3):
        alone = nir.LI(tau=np.array(4.0), r=np.array(c + 1.0), v_leak=np.array(0.0))
        close(v[:, :, c], run(alone, x[:, :, c]).out["out"], 0)


# -- parts of a step


@pytest.mark.parametrize("way", ["exponential", "euler"])
def test_more_parts_come_near_the_exact_solution(way: str) -> None:
    node = nir.CubaLI(**arrays(tau_syn=5.0, tau_mem=8.0, r=1.0, v_leak=0.3))
    x = random(20, 1, 1)
    exact = run(node, x, dt=4.0).out["out"]
    errors = [np.abs(run(node, x, dt=4.0, discretisation=way, refine=k).out["out"] - exact).max() for k in (10, 100)]
    assert errors[1] < errors[0] / 8 < 0.01
    close(run(node, x, dt=4.0, refine=7).out["out"], exact)


def test_spikes_inside_a_step_are_counted_and_reset_there() -> None:
    """With r S = 2 and threshold 1, a neuron fires every tau ln 2."""
    node = nir.LIF(**arrays(tau=20.0, r=2.0, v_leak=0.0, v_threshold=1.0))
    trace = run(node, np.ones((5, 1, 1)), dt=100.0, refine=4000)
    every = 20 * math.log(2)
    expected = [math.floor((t + 1) * 100 / every) - math.floor(t * 100 / every) for t in range(5)]
    assert trace.out["out"].ravel().tolist() == expected
    phase = np.arange(1, 6) * 100 % every
    close(trace.membranes["0"].ravel(), 2 - 2 * np.exp(-phase / 20), 0.05)


def test_parts_by_hand() -> None:
    """Parts of 0.5 and r S = 1.5: v = 0.75, 1.5 (spike), 0.75, 1.5 (spike), then S = 0."""
    node = nir.IF(**arrays(r=1.5, v_threshold=1.0))
    trace = run(node, train(1, 1, 0), refine=2)
    assert trace.out["out"].ravel().tolist() == [1, 1, 0]
    assert trace.membranes["0"].ravel().tolist() == [1.5, 1.5, 0]
    assert run(node, train(4), refine=2).out["out"].ravel().tolist() == [2]


# -- maps


def test_leading_axes_of_a_weight_are_axes_of_the_signal() -> None:
    """A weight (6, out, in) maps row i of a signal (6, in) by its matrix i."""
    weight, bias, x = random(6, 4, 3), random(6, 4), random(5, 2, 6, 3, seed=1)
    y = run(nir.Affine(weight, bias), x).out["out"]
    for i in range(6):
        close(y[:, :, i], x[:, :, i] @ weight[i].T + bias[i])
