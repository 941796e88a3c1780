"""Each neuron against numbers worked out by hand and against a numpy loop."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.rounding import wrap
from spikingtorch.testing import assert_close
from spikingtorch.verification.case import MARGIN, ORACLE_RESETS
from spikingtorch.verification.cases import CASES, LENGTHS, SPIKING, WITH_RESETS, WRAPPED, Case, by_name, step_of
from tests.drawn import uniform

NAMED = {case.name: case for case in CASES}
Row = tuple[str, Any, list[float], Any, list[float]]
COARSE = {"decay": 0.5, "gain": 1.0, "refractory_gain": 0.25}
# neuron, parameters, inputs, outputs and membranes by hand; every number is exact in binary, and one step of each row
# meets the threshold exactly, where a neuron fires
HAND: list[Row] = [
    # u = 0.5, 1.25, 0.25, 1.0
    ("if", {}, [0.5, 0.75, 0.25, 0.75], [0, 1, 0, 1], [0.5, 0.0, 0.25, 0.0]),
    # u = 0.5, 1.25, 0.75, 1.0
    ("if", {"reset": F.by_subtraction}, [0.5, 0.75, 0.5, 0.25], [0, 1, 0, 1], [0.5, 0.25, 0.75, 0.0]),
    ("if", {"reset": F.none}, [0.5, 0.5, -0.25], [0, 1, 0], [0.5, 1.0, 0.75]),
    # u = 0.5, 0.25 + 0.75 = 1, 0.5, 0.25 + 1 = 1.25
    ("lif", {"decay": 0.5, "gain": 2.0}, [0.25, 0.375, 0.25, 0.5], [0, 1, 0, 1], [0.5, 0.0, 0.5, 0.0]),
    # u = 1; after the spike 0.25 * 2 = 0.5; 0.5 * 0.5 + 0.5 = 0.75; 0.375 + 1 = 1.375; after the spike 0.25
    ("coarse_lif", COARSE, [1.0, 2.0, 0.5, 1.0, 1.0], [1, 0, 0, 1, 0], [0.0, 0.5, 0.75, 0.0, 0.25]),
    # u = 0.5, 0.125 + 0.875 = 1, 1.5, 0.25
    ("spiking_decay", {"tau": 4.0}, [0.5, 0.875, 1.5, 0.25], [0, 1, 1, 0], [0.5, 0.0, 0.0, 0.25]),
    ("mcpitts", {"threshold": 0.5}, [0.25, 0.5, 0.75], [0, 1, 1], []),
    # u = 1, 0.5 + 1, 0.75 - 1
    ("li", {"decay": 0.5}, [1.0, 1.0, -1.0], [1.0, 1.5, -0.25], [1.0, 1.5, -0.25]),
    # u = 0.5, 0.5 + (1.5 - 0.5) / 2 = 1, 0.25
    ("euler_lif", {"leak": 0.5}, [1.0, 1.5, 0.5], [0, 1, 0], [0.5, 0.0, 0.25]),
    # u = (1 - 0.5) / 2, then 0.25 + (2.25 - 0.75) / 2 = 1, then -0.5 + 0.5
    (
        *("euler_lif", {"leak": 0.5, "v_rest": -0.5, "reset": F.to_value(-0.5)}),
        *([1.0, 2.25, 1.0], [0, 1, 0], [0.25, -0.5, 0.0]),
    ),
    # i = 0.25, 0.25, 0.8125, 0.40625; u = 0.25, 0.375, 0.1875 + 0.8125 = 1, 0.40625
    (
        *("cuba_lif", {"decay_syn": 0.5, "decay": 0.5}),
        *([0.25, 0.125, 0.6875, 0.0], [0, 0, 1, 0], [0.25, 0.375, 0.0, 0.40625]),
    ),
    # r = 0.5, 0.25, 0.25, 0.3125; i = 0.5, 0.5, 0.5, 0.5625; u = 0.5, 0.75, 0.875, 0.4375 + 0.5625 = 1
    (
        *("alpha_lif", {"decay_rise": 0.5, "gain_rise": 0.5, "decay_syn": 0.5, "decay": 0.5}),
        *([1.0, 0.0, 0.25, 0.375], [0, 0, 0, 1], [0.5, 0.75, 0.875, 0.0]),
    ),
    # threshold 1, 1.5, 1.25, 1.625; u = 1, 1.25, 0.625 + 0.625 = 1.25, 1.5; a = 0.5, 0.25, 0.625
    (
        *("alif", {"decay": 0.5, "decay_adaptation": 0.5, "adaptation": 1.0}),
        *([1.0, 1.25, 0.625, 1.5], [1, 0, 1, 0], [0.0, 1.25, 0.0, 1.5]),
    ),
    # w = 0.5, 0.75, 0.375; u = 0.5, 0.25 + (2 - 0.5) / 2 = 1, (0.75 - 0.75) / 2, (1.375 - 0.375) / 2
    (
        *("se_adlif", {"decay": 0.5, "decay_w": 0.5, "a": 1.0, "b": 0.5, "q": 2.0}),
        *([1.0, 2.0, 0.75, 1.375], [0, 1, 0, 0], [0.5, 0.0, 0.0, 0.5]),
    ),
    # where the membrane is 0, exp(0) = 1: u = (0.5 + 1.5) / 2 = 1, (0.5 + 0.5) / 2
    ("exponential_if", {"leak": 0.5, "v_rheobase": 0.0, "sharpness": 0.5}, [1.5, 0.5], [1, 0], [0.0, 0.5]),
    # the same with w = 0.5 after the spike: u = 1, (0.5 - 0.5 + 1) / 2
    (
        *("adex", {"leak": 0.5, "leak_w": 0.5, "a": 1.0, "b": 0.5, "v_rheobase": 0.0, "sharpness": 0.5}),
        *([1.5, 1.0], [1, 0], [0.0, 0.5]),
    ),
    # u = 0.5, 0.5 + (0 + 1) / 2 = 1, -0.5, -0.5 + (0.5 + 0.5) / 2
    ("quadratic_if", {"leak": 0.5, "v_critical": 0.5}, [1.0, 1.0, -1.0, 0.5], [0, 1, 0, 0], [0.5, 0.0, -0.5, 0.0]),
    # v' = v^2 - w + x: u = 0.5, 0.5 + (0.25 - 0.0625 + 0.8125) / 2 = 1, -1 + (1 - 1.171875 + 0.171875) / 2
    (
        "izhikevich",
        {"a": 0.5, "b": 0.5, "d": 1.0, "dt": 0.5, "threshold": 1.0, "curve": F.IzhikevichCurve(1.0, 0.0, 0.0)}
        | {"reset": F.to_value(-1.0)},
        *([1.0, 0.8125, 0.171875], [0, 1, 0], [0.5, -1.0, -1.0]),
    ),
    # u = 0.5, 0.5 + (-0.25 + 1.25) / 2 = 1, 1 + (-0.5 - 0.25 - 1.25) / 2
    ("resonate_and_fire", {"omega": 1.0, "damping": -0.5, "dt": 0.5}, [1.0, 1.25, -1.25], [0, 1, 0], [0.5, 1.0, 0.0]),
    # b = 0.75, 0.75, 1.75; w = 0, 0.25, 0.75; threshold 1, 1, 2; v = 0.5, 0.5 + (2 - 1) / 2, 1 + (2.25 - 4.25) / 2
    (
        *("harmonic_resonate_and_fire", {"omega": 1.0, "offset": 0.5, "decay_refractory": 0.5, "dt": 0.5}),
        *([1.0, 2.0, 2.25], [0, 1, 0], [0.5, 1.0, 0.0]),
    ),
    # without a frequency: b = -0.5, -1.5, -2; threshold 1, 2, 2.5; v = 1, 1 + (-1.5 + 3.5) / 2 = 2, 2 + (-4 + 2) / 2
    (
        *("balanced_resonate_and_fire", {"omega": 0.0, "offset": 0.5, "decay_refractory": 0.5, "dt": 0.5}),
        *([2.0, 3.5, 2.0], [1, 1, 0], [1.0, 2.0, 1.0]),
    ),
    # e = 0.25, 0.5, 0 - 0.5, 0.25
    ("sigma_delta", {"threshold": 0.5}, [0.25, 0.25, -0.75, 0.5], [0, 0.5, -0.5, 0], [0.25, 0.5, -0.25, 0.25]),
    ("exponential_synapse", {"decay": 0.5}, [1.0, 0.0, 1.0], [1.0, 0.5, 1.25], []),
    # r = 0.5, 0.25, 0.125
    ("alpha_synapse", {"decay_rise": 0.5, "gain_rise": 0.5, "decay": 0.5}, [1.0, 0.0, 0.0], [0.5, 0.5, 0.375], []),
    # f = 0.5, 0.25, 0.125 + 0.4375; of the resources are there 1, 0.75, 0.875
    (
        *("short_term_plasticity", {"release": 0.5, "decay_facilitation": 0.5, "decay_recovery": 0.5}),
        *([1.0, 0.0, 1.0], [0.5, 0.0, 0.4921875], []),
    ),
    # three quarters one step later, one quarter two steps later
    ("delay", {"delay": 1.25}, [1.0, 0.0, 0.0, 2.0], [0.0, 0.75, 0.25, 0.0], []),
    # in units of 1 / 256: u = 128, 128 + floor(128.3), floor(-0.3), and 51199, which is 32767 at most
    ("fixed_point_if", {}, [0.5, 0.501, -0.001, 200.0], [0, 1, 0, 1], [0.5, 0.0, -(2.0**-8), 0.0]),
    ("fixed_point_if", {"reset": F.none}, [100.0, 100.0, -0.25], [1, 1, 1], [100.0, 128 - 2.0**-8, 127.75 - 2.0**-8]),
    # u = 128, 64 + 192 = 256, -1, floor(-1 / 2)
    ("fixed_point_lif", {"decay": 0.5}, [0.5, 0.75, -(2.0**-8), 0.0], [0, 1, 0, 0], [0.5, 0.0, -(2.0**-8), -(2.0**-8)]),
    # in units of 1 / 4, halves to even numbers: u = 3, 2 + 2 = 4, 8 and therefore -8, -4 + 2
    (
        *("fixed_point_lif", {"decay": 0.5, "grid": F.rounding.FixedPoint(2, 4, F.rounding.round_half_even, wrap)}),
        *([0.75, 0.625, 1.9, 0.375], [0, 1, 0, 0], [0.75, 0.0, -2.0, -0.5]),
    ),
    # i = 64, 64, 208, 104, 52, 26, 13, 6; u = 64, 96, 256, 104, 104, 78, 52, 32
    (
        *("fixed_point_cuba_lif", {"decay_syn": 0.5, "decay": 0.5}, [0.25, 0.125, 0.6875, 0.0, 0.0, 0.0, 0.0, 0.0]),
        *([0, 0, 1, 0, 0, 0, 0, 0], [0.25, 0.375, 0.0, 0.40625, 0.40625, 0.3046875, 0.203125, 0.125]),
    ),
    # in units of 1 / 256: i = 512 / 2, 256 / 2, 1 - 1, -1 - (-1), 0; u = 256, 128, 128 - 64, 64 - 32, 32 - 16
    (
        *("xylo_lif", {"leak_syn": 0.5, "leak": 0.5}, [2.0, 0.0, -127 / 256, -(2.0**-8), 0.0]),
        *([1, 0, 0, 0, 0], [0.0, 0.5, 0.25, 0.125, 0.0625]),
    ),
    # u = 1280, 768 - 256 + 512; i = 768 - 32512, halved; then at least -32768, halved, and u = -15744 + 7872 - 16384
    (
        *("xylo_lif", {"leak_syn": 0.5, "leak": 0.5, "most_spikes": 3}, [10.0, 1.0, -127.0, -127.0]),
        *([3, 3, 0, 0], [2.0, 1.0, -61.5, -94.75]),
    ),
    # i = 1, 0.5 + trunc(32.64) / 64 = 1, 0.5 - 0.5; u = 1, which is no spike, 0.5 + 1, 0
    ("loihi_lif", {"decay_syn": 0.5, "decay": 0.5}, [1.0, 0.51, -0.51], [0, 1, 0], [1.0, 0.0, 0.0]),
    # in units of 2^-12: u = -3, trunc(-1.5) - 3, -2 - 3, trunc(-2.5) - 3
    (
        *("loihi_lif", {"decay_syn": 0.5, "decay": 0.5, "bias": -3 / 4096}, [0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
        [-3 / 4096, -4 / 4096, -5 / 4096, -5 / 4096],
    ),
    # i = 2^23 units, which is 1 too much for the membrane; 2050 - 4096; -2048 + 4096
    ("loihi_lif", {"decay_syn": 0.0, "decay": 0.0}, [2048.0, 2050.0, -2048.0], [1, 0, 1], [0.0, -2046.0, 0.0]),
    # u = 2.5, 0.5 - 2, -1 + 2
    ("speck_iaf", {}, [2.5, -2.0, 2.0], [2, 0, 1], [0.5, -1.0, 0.0]),
]


def check_by_hand(row: Row, side: Any = F, convert: Callable[[Any], Any] = lambda given: given) -> None:
    """Assert that torch, or its twin, has the numbers of a row; its arrays are made of tensors by a function."""
    name, params, inputs, outputs, membranes = row
    zeros, case = torch.zeros(1, dtype=torch.float64), NAMED[name]
    state = convert(F.zeros_state(case.state_type, zeros) if case.make_rest is None else case.make_rest(zeros))
    for t, x in enumerate(inputs):
        given = convert(torch.tensor([x], dtype=torch.float64))
        state, out = step_of(side, name)(state, given, **convert(params))
        assert out.tolist() == [outputs[t]], f"output of step {t}"
        assert not membranes or state.v.tolist() == [membranes[t]], f"membrane of step {t}"


@pytest.mark.parametrize("row", HAND, ids=range(len(HAND)))
def test_hand_table(row: Row) -> None:
    check_by_hand(row)


def test_every_neuron_is_worked_out_by_hand() -> None:
    assert {name for name, *_ in HAND} | {"biolif", "stochastic_lif"} == {*NAMED}


def check_stochastic_lif(side: Any = F, convert: Callable[[Any], Any] = lambda given: given) -> None:
    """Assert that torch, or its twin, has the numbers of this neuron."""
    # at the threshold the probability of a spike is 1 / 2, which noise of 1 / 2 does not fall below
    state = side.StochasticLIFState(v=convert(torch.zeros(2, dtype=torch.float64)))
    for noise, s, v in ((0.5, 0.0, 1.0), (0.4375, 1.0, 0.0)):
        x = torch.full((2,), 1.0 if s == 0.0 else 0.5, dtype=torch.float64)
        given = convert(x), convert(torch.full_like(x, noise))
        state, spike = side.stochastic_lif_step(state, given, decay=0.5)
        assert (spike.tolist(), state.v.tolist()) == ([s, s], [v, v])


def test_stochastic_lif_by_hand() -> None:
    check_stochastic_lif()


def test_biolif_by_hand() -> None:
    # nu = 1 + 1 + 0 = 2 and a = exp(-ln 2) = 1/2: u = 0 / 2 + (1 / 2) (1 / 2) = 0.25, then 0.125 + 0.25 = 0.375, then
    # with xe = 2, xi = 1: nu = 4, a = 1/4, u = 0.375 / 4 + (2 / 4) (3 / 4) = 0.46875
    state = F.BioLIFState(v=torch.zeros(1, dtype=torch.float64))
    for pair, u in (((1.0, 0.0), 0.25), ((1.0, 0.0), 0.375), ((2.0, 1.0), 0.46875)):
        xe, xi = (torch.tensor([value], dtype=torch.float64) for value in pair)
        state, spike = F.biolif_step(state, (xe, xi), nudt=np.log(2.0) / 2, threshold=0.5)
        assert spike.item() == 0.0
        assert state.v.item() == pytest.approx(u, rel=1e-14)
    # a membrane that neither leaks nor charges (xe = 0, nudt = 0) stays where it is: exactly at threshold
    state, spike = F.biolif_step(F.BioLIFState(v=state.v), (0 * state.v, 0 * state.v), nudt=0.0, threshold=state.v)
    assert (spike.item(), state.v.item()) == (1.0, 0.0)


# a detached rule differs from its rule backward only
FORWARD = [(case, rule) for case, rule in WITH_RESETS if rule is None or rule in ORACLE_RESETS]
FORWARD += [(case, None) for case in WRAPPED]


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "reset"), FORWARD, ids=by_name)
def test_numpy_oracle(case: Case, reset: F.Reset | None) -> None:
    for T in LENGTHS:
        assert case.margin(T, reset) > MARGIN
        xs, params = case.draw(T)
        state, out = F.scan(case.step, case.rest(xs), xs, params=params | case.options(reset=reset))
        arrays = tuple(x.numpy() for x in xs) if isinstance(xs, tuple) else xs.numpy()
        rule = {"reset": ORACLE_RESETS[reset]} if reset is not None else {}
        want, last = case.oracle(arrays, **{name: p.numpy() for name, p in params.items()}, **rule)
        assert_close(out, tree_map(torch.tensor, want), "outputs")
        for name, value in last.items():
            got = getattr(state if hasattr(state, name) else state.neuron, name)
            stacked = torch.stack(got) if isinstance(got, tuple) else got
            assert_close(stacked, torch.tensor(value.copy()), f"state.{name}")


@pytest.mark.parametrize("case", SPIKING, ids=by_name)
def test_draws_make_neurons_fire_and_rest(case: Case) -> None:
    xs, params = case.draw(17)
    _, spikes = F.scan(case.step, case.initial(xs), xs, params=params, backend="loop")
    assert 0.05 < spikes.mean() < 0.95


def test_every_step_has_a_case_and_keyword_parameters() -> None:
    assert {case.step.__name__ for case in CASES} == {
        name for each in (F, F.chips, F.fixed_point) for name in each.__all__ if name.endswith("_step")
    }
    for case in CASES:
        first, second, *params = inspect.signature(case.step).parameters.values()
        assert (first.name, second.name) == ("state", "x")
        assert all(p.kind is p.KEYWORD_ONLY for p in params)


@pytest.mark.parametrize("tau", [0.5, 1.0, 8.0, 1000.0])
def test_coefficients(tau: float) -> None:
    a = np.exp(-1 / tau)
    b = tau * (1 - a)
    for value in (tau, torch.tensor(tau, dtype=torch.float64)):
        assert float(F.decay_from_tau(value)) == pytest.approx(a, rel=1e-12)
        assert float(F.gain_from_tau(value)) == pytest.approx(b, rel=1e-12)
        assert float(F.refractory_gain_from_tau(value)) == pytest.approx(tau * (1 - b), rel=1e-9)
    # in float32 as well, where the literal formulas have lost three digits and more at tau = 1000
    for coefficient in (F.decay_from_tau, F.gain_from_tau, F.refractory_gain_from_tau):
        assert float(coefficient(torch.tensor(tau))) == pytest.approx(float(coefficient(tau)), rel=3e-7)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("T", [1, 3, 9])
@pytest.mark.parametrize(
    "delay",
    [0.0, 1.0, 2.25, 4.0, torch.tensor(2.5), torch.tensor([0.0, 1.75, 4.0]), torch.tensor([[3.0], [0.5]])],
    ids=str,
)
def test_delayed_is_the_scan(delay: Any, T: int, dim: int) -> None:
    xs = uniform(T, 2, 3, seed=T, dtype=torch.float64)
    past = uniform(4, 2, 3, seed=9, dtype=torch.float64)
    found = []
    for run in (
        lambda state, x, d: F.delayed(state, x, d, dim),
        lambda state, x, d: F.scan(F.delay_step, state, x, params={"delay": d}, dim=dim, backend="loop"),
    ):
        leaves = [xs.movedim(0, dim).clone().requires_grad_(), past.clone().requires_grad_()]
        learns = isinstance(delay, torch.Tensor)
        d = delay.double().clone().requires_grad_() if learns else delay
        state, out = run(F.DelayState(tuple(leaves[1].unbind(0))), leaves[0], d)
        results = [out, *state.past]
        pulls = [uniform(*r.shape, seed=5, dtype=r.dtype) for r in results]
        wanted = [*leaves, d] if learns else leaves
        grads = torch.autograd.grad(results, wanted, pulls, allow_unused=True, materialize_grads=True)
        found.append([*[r.detach() for r in results], *grads])
    for name, got, want in zip(("out", *"abcd", "d xs", "d past", "d delay"), *found, strict=False):
        assert_close(got, want, name)
        assert name.startswith("d ") or torch.equal(got, want)


@pytest.mark.parametrize("delay", [0.0, torch.zeros(3)], ids=["number", "tensor"])
def test_a_delay_line_without_steps_hands_on_its_input(delay: Any) -> None:
    xs = torch.rand(4, 3)
    state, out = F.delayed(F.empty_delay(0, xs[0]), xs, delay)
    assert state.past == ()
    assert torch.equal(out, xs)


@pytest.mark.parametrize("delay", [-0.5, 2.5, float("nan")])
def test_a_delay_that_the_line_does_not_hold_is_an_error(delay: float) -> None:
    with pytest.raises(ValueError, match=r"delayed: delay=.*, expected from 0 to 2"):
        F.delayed(F.empty_delay(2, torch.zeros(3)), torch.rand(1, 3), delay)
