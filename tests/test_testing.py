"""The public helpers find what is wrong, and say where."""

import re
import subprocess
import sys
from typing import Any, NamedTuple

import jax.numpy as jnp
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.testing import assert_close, check_smooth, check_twin, relative_error
from spikingtorch.verification import table
from spikingtorch.verification.cases import CASES, Case, by_name


class State(NamedTuple):
    """A state that serves both sides."""

    v: Any
    a: Any


def adaptive(state: State, x: Tensor, *, decay: Tensor, rise: float, surrogate: F.Surrogate = F.Arctan()) -> Any:  # noqa: B008
    u = decay * state.v + x
    spike = surrogate(u - 1.0 - state.a)
    return State(v=(1 - spike) * u, a=decay * state.a + rise * spike), {"spike": spike, "u": u}


def adaptive_twin(state: State, x: Any, *, decay: Any, rise: float) -> Any:
    u = decay * state.v + x
    spike = J.Arctan()(u - 1.0 - state.a)
    return State(v=(1 - spike) * u, a=decay * state.a + rise * spike), {"spike": spike, "u": u}


def inputs(dtype: torch.dtype = torch.float64) -> tuple[State, Tensor, dict[str, Any]]:
    draw = torch.Generator().manual_seed(3)
    xs = torch.rand(17, 5, generator=draw, dtype=torch.float64).to(dtype)
    return F.zeros_state(State, xs[0]), xs, {"decay": torch.full((5,), 0.9, dtype=dtype), "rise": 0.3}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_own_step_against_own_twin(dtype: torch.dtype) -> None:
    state, xs, params = inputs(dtype)
    errors = check_twin(adaptive, adaptive_twin, state, xs, params=params)
    assert set(errors) == {
        *("state.v", "state.a", "output.spike", "output.u"),
        *("d xs", "d state.v", "d state.a", "d params.decay"),
    }


def wrong_value(state: State, x: Any, *, decay: Any, rise: float) -> Any:
    state, out = adaptive_twin(state, x, decay=decay, rise=rise)
    return state._replace(a=state.a * (1 + 1e-9)), out


def wrong_gradient(state: State, x: Any, *, decay: Any, rise: float) -> Any:
    u = decay * state.v + x
    spike = J.Arctan(2.001)(u - 1.0 - state.a)
    return State(v=(1 - spike) * u, a=decay * state.a + rise * spike), {"spike": spike, "u": u}


def nan_gradient(state: State, x: Any, *, decay: Any, rise: float) -> Any:
    state, out = adaptive_twin(state, x, decay=decay, rise=rise)
    return state, out | {"u": out["u"] + 0 * jnp.sqrt(0 * x)}


@pytest.mark.parametrize(
    ("twin", "named"), [(wrong_value, "state.a"), (wrong_gradient, "d xs"), (nan_gradient, "d xs")], ids=by_name
)
def test_a_wrong_twin_is_found(twin: Any, named: str) -> None:
    state, xs, params = inputs()
    with pytest.raises(AssertionError, match=f"adaptive and its twin differ in .*{re.escape(named)}"):
        check_twin(adaptive, twin, state, xs, params=params)


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "biolif"], ids=by_name)
def test_smooth_version_of_every_neuron(case: Case) -> None:
    xs, params = case.draw(3)
    # an integrator without spikes is smooth as it is
    check_smooth(case.step, case.initial(xs), xs, params=params, smooth=None if case.spikes else case.step)


def test_a_detached_decay_is_found() -> None:
    # the decay of BioLIF carries no gradient on purpose: finite differences see that, the twin agrees with it
    case = next(case for case in CASES if case.name == "biolif")
    xs, params = case.draw(3)
    with pytest.raises(AssertionError, match="biolif_step: its gradient is not that of its smooth version"):
        check_smooth(case.step, case.initial(xs), xs, params=params)


def test_smooth_needs_a_surrogate() -> None:
    def hard(state: F.LIFState, x: Tensor) -> Any:
        return state, F.heaviside(x)

    xs = torch.rand(3, 2, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"hard takes no surrogate with a primitive\. Pass smooth="):
        check_smooth(hard, F.LIFState(xs[0]), xs)
    check_smooth(hard, F.LIFState(xs[0]), xs, smooth=lambda state, x: (state, x.tanh()))


def test_relative_error() -> None:
    one = torch.ones(2, dtype=torch.float64)
    assert relative_error(one, one) == 0.0
    assert relative_error(1.5 * one, one) == 0.5
    assert relative_error(one, 0 * one) == torch.inf
    assert relative_error(torch.nan * one, one) == torch.inf
    assert relative_error(one, torch.nan * one) == torch.inf
    assert relative_error(one.float(), one) == torch.inf
    assert relative_error(one[:1], one) == torch.inf
    assert relative_error(one[:0], one[:0]) == 0.0


def test_assert_close() -> None:
    one = torch.ones(2, dtype=torch.float64)
    assert_close((one, one), (one, one))
    for wrong in (one + 1e-9, one.float(), one[:1], torch.nan * one):
        with pytest.raises(AssertionError, match=r"spikes"):
            assert_close(wrong, one, "spikes")
    with pytest.raises(AssertionError, match="trees differ"):
        assert_close((one,), [one])
    with pytest.raises(AssertionError, match="nothing to compare"):
        assert_close((), ())


def test_verify_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--only", "li", "Sigmoid"]) == 0
    assert "0 rows out of tolerance" in capsys.readouterr().out


def test_verify_fails_on_a_wrong_twin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = CASES[-1]._replace(twin=lambda state, x, *, decay, gain: J.li_step(state, x, decay=decay, gain=-gain))
    monkeypatch.setattr(table, "CASES", (wrong,))
    assert table.main(["--only", "li"]) == 1
    text = capsys.readouterr().out
    assert "OUT OF TOLERANCE" in text
    assert "1 rows out of tolerance" in text


def test_commands() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "spikingtorch", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert run().returncode == 2
    assert "verify" in run("--help").stderr
    assert run("verify", "--only", "nothing").returncode == 2
    assert run("verify", "--only", "decay_from_tau").returncode == 0
