"""A scan that has run before skips checks and choices: nothing that would change them may be missed.

The fuzzer of scan draws other numbers, shapes, dtypes, layouts and trees from call to call; here is one change of each
part of a request.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import bind, signature
from spikingtorch.testing import assert_close
from tests.fused import Scan, assert_same_bits, draw
from tests.fused_steps import leaky
from tests.surroundings import calls_of, saved_by

pytestmark = pytest.mark.usefixtures("afresh")
T = N = 9  # so that time may be either axis
M = 33


def scan(**changes: Any) -> Scan:
    """Return a plain scan of ``leaky`` with some of its arguments changed."""
    return Scan(leaky, F.IFState(draw(N, M)), draw(T, N, M), {"decay": 0.5})._replace(**changes)


def everything(given: Scan, backend: Any = "auto") -> Any:
    """Return what a scan gives, and the gradients for random cotangents."""
    return given.run(backend), given.gradients(backend)


def valued(state: F.IFState, x: Tensor, tau: float = 7.0) -> Any:
    return leaky(state, x, decay=math.exp(-1.0 / tau))


CHANGES: dict[str, dict[str, Any]] = {
    "a float": {"params": {"decay": 0.75}},
    "one more float": {"params": {"decay": 0.5, "threshold": 0.25}},
    "a tensor for a float": {"params": {"decay": draw(M)}},
    "time second": {"dim": 1},
    "strides": {"xs": draw(T, M, N).movedim(1, 2), "state": F.IFState(draw(M, N).T), "params": {"decay": draw(N, 1)}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_and_the_second_call_is_the_first(name: str) -> None:
    other = scan(**CHANGES[name])
    want, found = everything(other, "loop"), []
    for _ in range(3):
        everything(scan())
        found.append(everything(other))
        assert_same_bits(found[-1], found[0])
    assert_close(found[0], want)


def test_the_default_dtype_is_part_of_a_request() -> None:
    given = scan(step=lambda state, x: (state, torch.where(x > 0.5, 1.0, 0.1) + 0.1 * (x > 2.0)), params={})
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
    walked, ran = calls_of(monkeypatch, signature, "whole_snapshot"), calls_of(monkeypatch, bind.Bound, "run")
    for _ in range(2):
        given.run("auto")
    assert (len(walked), len(ran)) == (0, runs) or runs == 0 == len(ran)
