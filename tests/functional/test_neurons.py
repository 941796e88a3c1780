"""Each neuron against numbers worked out by hand and against a numpy loop."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import CASES, LENGTHS, MARGIN, ORACLE_RESETS, SPIKING, WITH_RESETS, Case, by_name

NAMED = {case.name: case for case in CASES}
COARSE = {"decay": 0.5, "gain": 1.0, "refractory_gain": 0.25}
# neuron, parameters, inputs, outputs and membranes by hand; every number is exact in binary, and one step of each row
# meets the threshold exactly, where a neuron fires
HAND: list[tuple[str, dict[str, Any], list[float], list[float], list[float]]] = [
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
]


@pytest.mark.parametrize(("name", "params", "inputs", "outputs", "membranes"), HAND, ids=range(len(HAND)))
def test_hand_table(name: str, params: Any, inputs: list[float], outputs: list[float], membranes: list[float]) -> None:
    state = F.zeros_state(NAMED[name].state_type, torch.zeros(1, dtype=torch.float64))
    for t, x in enumerate(inputs):
        state, out = NAMED[name].step(state, torch.tensor([x], dtype=torch.float64), **params)
        assert out.tolist() == [outputs[t]], f"output of step {t}"
        if membranes:
            assert state.v.tolist() == [membranes[t]], f"membrane of step {t}"


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


@pytest.mark.parametrize(("case", "reset"), FORWARD, ids=by_name)
def test_numpy_oracle(case: Case, reset: F.Reset | None) -> None:
    for T in LENGTHS:
        assert case.margin(T, reset) > MARGIN
        xs, params = case.draw(T)
        state, out = F.scan(case.step, case.rest(xs), xs, params=params | case.options(reset=reset))
        arrays = tuple(x.numpy() for x in xs) if isinstance(xs, tuple) else xs.numpy()
        rule = {"reset": ORACLE_RESETS[reset]} if reset is not None else {}
        want, last = case.oracle(arrays, **{name: p.numpy() for name, p in params.items()}, **rule)
        assert_close(out, torch.tensor(want), "outputs")
        for name, value in last.items():
            got = getattr(state, name)
            stacked = torch.stack(got) if isinstance(got, tuple) else got
            assert_close(stacked, torch.tensor(value.copy()), f"state.{name}")


@pytest.mark.parametrize("case", SPIKING, ids=by_name)
def test_draws_make_neurons_fire_and_rest(case: Case) -> None:
    xs, params = case.draw(17)
    _, spikes = F.scan(case.step, case.initial(xs), xs, params=params)
    assert 0.05 < spikes.mean() < 0.95


def test_every_step_has_a_case_and_keyword_parameters() -> None:
    assert {case.step.__name__ for case in CASES} == {name for name in F.__all__ if name.endswith("_step")}
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
