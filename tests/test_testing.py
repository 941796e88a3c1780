"""The public helpers find what is wrong, and say where."""

import re
import subprocess
import sys
from typing import Any, NamedTuple

import jax
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


def infinite_gradient(state: State, x: Any, *, decay: Any, rise: float) -> Any:
    state, out = adaptive_twin(state, x, decay=decay, rise=rise)
    zero = jnp.sqrt(jnp.abs(x - jax.lax.stop_gradient(x) + 0.0))  # whose derivative at zero is infinite, or NaN
    return state, out | {"u": out["u"] + zero}


def test_an_infinite_gradient_is_found() -> None:
    state, xs, params = inputs()
    with pytest.raises(AssertionError, match="d xs"):
        check_twin(adaptive, infinite_gradient, state, xs, params=params)


def test_rows_with_nan_or_infinities_are_out_of_tolerance() -> None:
    finite, infinite = torch.ones(2), torch.tensor([1.0, torch.inf])
    for got, want in ((finite, infinite), (infinite, finite), (finite, finite * torch.nan)):
        row = table.Row("x", "", "", {"a": {"first": 0.0, "second": relative_error(got, want)}})
        assert row.worst()[0] == torch.inf


class Slopes(NamedTuple):
    decay: Any
    gain: Any


def test_tensors_deep_inside_params_are_compared() -> None:
    def step(state: F.LIFState, x: Tensor, *, slopes: Slopes, surrogate: F.Surrogate) -> Any:
        return F.lif_step(state, x, decay=slopes.decay, gain=slopes.gain, surrogate=surrogate)

    def twin(state: Any, x: Any, *, slopes: Slopes, surrogate: Any) -> Any:
        return J.lif_step(state, x, decay=slopes.decay, gain=slopes.gain, surrogate=surrogate)

    def broken(state: Any, x: Any, *, slopes: Slopes, surrogate: Any) -> Any:
        return J.lif_step(state, x, decay=jax.lax.stop_gradient(slopes.decay), gain=slopes.gain, surrogate=surrogate)

    def detaching(state: F.LIFState, x: Tensor, *, slopes: Slopes, surrogate: F.Surrogate) -> Any:
        return F.lif_step(state, x, decay=slopes.decay.detach(), gain=slopes.gain, surrogate=surrogate)

    _, xs, _ = inputs()
    rest = F.zeros_state(F.LIFState, xs[0])
    slopes = Slopes(torch.full((5,), 0.9, dtype=torch.float64), torch.full((5,), 1.1, dtype=torch.float64))
    params = {"slopes": slopes, "surrogate": F.Sigmoid(torch.tensor(5.0, dtype=torch.float64))}
    errors = check_twin(step, twin, rest, xs, params=params)
    assert {"d params.slopes.decay", "d params.slopes.gain", "d params.surrogate.beta"} <= errors.keys()
    check_smooth(step, rest, xs[:4], params=params)
    with pytest.raises(AssertionError, match=r"d params\.slopes\.decay"):
        check_twin(step, broken, rest, xs, params=params)
    with pytest.raises(AssertionError, match="detaching: its gradient"):
        check_smooth(detaching, rest, xs[:4], params=params)


def test_twin_params_may_not_replace_a_tensor() -> None:
    state, xs, params = inputs()
    with pytest.raises(ValueError, match=r"twin_params replaces \['params\.decay'\]"):
        check_twin(adaptive, adaptive_twin, state, xs, params=params, twin_params={"decay": 0.1})


class Refractory(NamedTuple):
    v: Any
    rest: Any


@pytest.mark.parametrize("count", [torch.int32, torch.int64])
def test_a_counter_in_the_state_is_compared_exactly(count: torch.dtype) -> None:
    def step(state: Refractory, x: Tensor, *, surrogate: F.Surrogate = F.Arctan()) -> Any:  # noqa: B008
        u = state.v + x * (state.rest == 0)
        spike = surrogate(u - 1.0)
        fired = spike > 0
        left = torch.where(fired, 2, (state.rest - 1).clamp(min=0)).to(count)
        return Refractory((1 - spike) * u, left), (spike, fired)

    def twin(state: Refractory, x: Any, *, pause: int = 2) -> Any:
        u = state.v + x * (state.rest == 0)
        spike = J.Arctan()(u - 1.0)
        fired = spike > 0
        left = jnp.where(fired, pause, jnp.maximum(state.rest - 1, 0)).astype(state.rest.dtype)
        return Refractory((1 - spike) * u, left), (spike, fired)

    _, xs, _ = inputs()
    rest = Refractory(torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=count))
    errors = check_twin(step, twin, rest, xs)
    assert {"state.rest", "output[0]", "output[1]"} <= errors.keys()
    check_smooth(step, rest, xs[:4])
    with pytest.raises(AssertionError, match=r"state\.rest"):
        check_twin(step, lambda state, x: twin(state, x, pause=3), rest, xs[:1] + 1.0)


def test_a_twin_of_another_form_is_named() -> None:
    state, xs, params = inputs()
    with pytest.raises(AssertionError, match=r"the step returns .*output\.spike.*, its twin .*'output'"):
        check_twin(adaptive, lambda s, x, **p: (s, adaptive_twin(s, x, **p)[1]["u"]), state, xs, params=params)


def test_precisions_without_a_tolerance() -> None:
    state, xs, params = inputs(torch.bfloat16)
    with pytest.raises(TypeError, match="gradients are compared in float64 or float32"):
        check_twin(adaptive, adaptive_twin, state, xs, params=params)
    with pytest.raises(TypeError, match=r"finite differences need float64, and these are not: .*xs"):
        check_smooth(F.if_step, F.zeros_state(F.IFState, xs[0].float()), xs.float())
    with pytest.raises(TypeError, match="bfloat16 has no tolerance"):
        assert_close(xs, xs)


class Backward(NamedTuple):
    """A surrogate whose gradient is not that of its primitive."""

    beta: float = 5.0

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * u)

    def __call__(self, u: Tensor) -> Tensor:
        phi = self.primitive(u)
        return F.heaviside(u) - (phi - phi.detach())


class Late(NamedTuple):
    """A surrogate that does not fire at the threshold."""

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(u)

    def __call__(self, u: Tensor) -> Tensor:
        return F.Sigmoid(1.0)(u - 0.5)


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        (Backward(), r"the derivative of Backward\(beta=5\.0\), which is to be that of its primitive"),
        (Late(), r"Late\(\) is not 0 below the threshold and 1 from it on"),
    ],
)
def test_smooth_looks_at_the_surrogate_too(surrogate: F.Surrogate, message: str) -> None:
    _, xs, _ = inputs()
    with pytest.raises(AssertionError, match=message):
        check_smooth(F.if_step, F.zeros_state(F.IFState, xs[0]), xs[:3], params={"surrogate": surrogate})


def test_smooth_needs_a_surrogate() -> None:
    def hard(state: F.LIFState, x: Tensor) -> Any:
        return state, F.heaviside(x)

    xs = torch.rand(3, 2, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"hard takes no surrogate with a primitive\. Name it in params"):
        check_smooth(hard, F.LIFState(xs[0]), xs)
    check_smooth(hard, F.LIFState(xs[0]), xs, smooth=lambda state, x: (state, x.tanh()))


def test_relative_error() -> None:
    one = torch.ones(2, dtype=torch.float64)
    assert relative_error(one, one) == 0.0
    assert relative_error(1.5 * one, one) == 0.5
    assert relative_error(one, 0 * one) == torch.inf
    assert relative_error(torch.nan * one, one) == torch.inf
    assert relative_error(one, torch.nan * one) == torch.inf
    assert relative_error(one, torch.inf * one) == relative_error(torch.inf * one, one) == torch.inf
    assert relative_error(torch.inf * one, torch.inf * one) == 0.0
    assert relative_error(one.int(), one.int()) == 0.0
    assert relative_error(one.int(), 2 * one.int()) == torch.inf
    assert relative_error(one.float(), one) == torch.inf
    assert relative_error(one[:1], one) == torch.inf
    assert relative_error(one[:0], one[:0]) == 0.0


def test_assert_close() -> None:
    one = torch.ones(2, dtype=torch.float64)
    assert_close((one, one), (one, one))
    assert_close({"a": [1.0, one.int(), one > 0]}, {"a": [1.0, one.int(), one > 0]})
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
    assert "2 cells in 2 rows; 2 rows out of tolerance" in text


def test_commands() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "spikingtorch", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert run().returncode == 2
    assert "verify" in run("--help").stderr
    assert run("verify", "--only", "nothing").returncode == 2
    assert run("verify", "--only", "decay_from_tau").returncode == 0
