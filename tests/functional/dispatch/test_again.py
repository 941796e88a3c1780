"""A scan that has run before skips checks and choices: nothing that would change them may be missed.

The fuzzer of scan draws other numbers, shapes, dtypes, layouts and trees from call to call; here is what it does not.
"""

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import bind, signature
from spikingtorch.testing import assert_close
from tests.fused import Scan, assert_same_bits, draw
from tests.fused_steps import leaky
from tests.noted import calls_of, saved_by

pytestmark = pytest.mark.usefixtures("afresh")
T, N, M = 9, 4, 33


def scan(**changes: Any) -> Scan:
    """Return a plain scan of ``leaky`` with some of its arguments changed."""
    return Scan(leaky, F.IFState(draw(N, M)), draw(T, N, M), {"decay": 0.5})._replace(**changes)


def everything(given: Scan, backend: Any = "auto") -> Any:
    """Return what a scan gives, and the gradients for random cotangents."""
    return given.run(backend), given.gradients(backend)


def valued(state: F.IFState, x: Tensor, tau: float = 7.0) -> Any:
    return leaky(state, x, decay=math.exp(-1.0 / tau))


CHANGES: dict[str, dict[str, Any]] = {
    "values": {"xs": draw(T, N, M, seed=5), "state": F.IFState(draw(N, M, seed=5))},
    "a float": {"params": {"decay": 0.75}},
    "one more float": {"params": {"decay": 0.5, "threshold": 0.25}},
    "a float that is looked at": {"step": valued, "params": {"tau": 3.0}},
    "a default": {"step": valued, "params": {}},
    "a tensor for a float": {"params": {"decay": draw(M)}},
    "an integer parameter": {"params": {"decay": 1}},
    "an array's number": {"params": {"decay": draw(3).numpy()[0]}},
    "partial": {"step": functools.partial(leaky, decay=0.75), "params": {}},
    "a length": {"xs": draw(T + 1, N, M)},
    "time second, of the same shape": {"xs": draw(T, T, M), "state": F.IFState(draw(T, M)), "dim": 1},
    "few neurons in a row": {"xs": draw(M, T, 3), "state": F.IFState(draw(M, 3)), "dim": 1},
    "strides of all": {
        "xs": draw(T, M, N).movedim(1, 2),
        "state": F.IFState(draw(M, N).T),
        "params": {"decay": draw(N, 1)},
    },
    "a state at rest for all": {"state": F.IFState(torch.zeros(()).double().expand(N, M))},
    "an input of fewer axes": {"xs": draw(T, M)},
    "no neurons": {"xs": draw(T, 0, M), "state": F.IFState(draw(0, M))},
    "all half": {
        "xs": draw(T, N, M).half(),
        "state": F.IFState(draw(N, M).half()),
        "params": {"decay": draw(M).half()},
    },
    "a conjugated part": {"xs": torch.complex(draw(T, N, M), draw(T, N, M, seed=2)).conj().imag},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_and_the_second_call_is_the_first(name: str) -> None:
    other = scan(**CHANGES[name])
    want, found = everything(other, "loop"), []
    for _ in range(3):
        everything(scan())
        found.append(everything(other))
        assert_same_bits(found[-1], found[0])
    for a, b in zip(pytree.tree_leaves(found[0]), pytree.tree_leaves(want), strict=True):
        exact = a.dtype == torch.float64
        # the last digit of what is rounded may differ
        assert_close(a, b) if exact else torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)


def with_a_sign(state: F.IFState, x: Tensor, number: float) -> Any:
    return state, x * math.copysign(1.0, number)


@pytest.mark.parametrize(
    ("step", "name", "numbers"),
    [(valued, "tau", (3.0, 5.0, 3.0, 1e9, 5.0)), (with_a_sign, "number", (0.0, -0.0, 0.0))],
    ids=["a number", "a sign of zero"],
)
def test_the_values_of_a_float_that_is_looked_at(step: Any, name: str, numbers: tuple[float, ...]) -> None:
    for number in numbers:
        given = scan(step=step, params={name: number})
        assert_close(given.run("auto"), given.run("loop"))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a length": ({"state": F.IFState(draw(N, M + 1))}, "broadcast|shape|must match"),
    "dtypes": ({"xs": draw(T, N, M).float()}, "mixed dtypes"),
    "no floating input": ({"xs": torch.ones(T, N, M, dtype=torch.int64)}, "no input is floating"),
    "no time": ({"dim": 3}, "no time axis"),
    "a parameter that is unknown": ({"params": {"decay": 0.5, "tau": 1.0}}, "unexpected keyword"),
    "a number for a state": ({"state": F.IFState(0.0)}, "expected a tensor"),  # type: ignore[arg-type]
    "an unknown backend": ({}, "backend='quick' is not one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_raised_though_the_like_has_run(name: str) -> None:
    everything(scan())
    changes, message = WRONG[name]
    for _ in range(2):
        with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
            scan(**changes).run("auto" if changes else "quick")


def test_the_default_dtype_is_part_of_a_request() -> None:
    def promoted(state: F.IFState, x: Tensor) -> Any:
        return state, torch.where(x > 0.5, 1.0, 0.1) + 0.1 * (x > 2.0)

    given = scan(step=promoted, params={})
    try:
        for dtype in (torch.float32, torch.float64, torch.float32):
            torch.set_default_dtype(dtype)
            got, want = given.run("auto")[1], given.run("loop")[1]
            assert got.dtype == want.dtype == dtype
            assert torch.equal(got, want)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # of torch 2.12
def test_a_profile_shows_the_operators_and_hooks_what_is_saved() -> None:
    want = everything(scan())
    with torch.profiler.profile() as profile:
        saved = saved_by(lambda: assert_close(everything(scan()), want))
    names = {event.key for event in profile.key_averages()}
    assert {"spikingtorch::scan_forward", "spikingtorch::scan_backward"} <= names
    assert (T, N, M) in [tensor.shape for tensor in saved]


# --- what is remembered -----------------------------------------------------------------------------------------------


def holding(gain: Any) -> Any:
    return lambda state, x: leaky(state, x, decay=gain[0])


@pytest.mark.parametrize(
    ("step", "params", "runs"),
    [(leaky, {"decay": 0.5}, 2), (holding([0.5]), {}, 2), (valued, {}, 2), (leaky, {"decay": draw(3).numpy()[0]}, 0)],
    ids=["a parameter", "a list in a cell", "a default", "an array's number"],
)
def test_a_step_that_has_run_is_not_walked_through_again(
    step: Any, params: dict[str, Any], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = scan(step=step, params=params)
    given.run("auto")
    walked, ran = calls_of(monkeypatch, signature, "held"), calls_of(monkeypatch, bind.Bound, "run")
    for _ in range(2):
        given.run("auto")
    assert (len(walked), len(ran)) == (0, runs) or runs == 0 == len(ran)
