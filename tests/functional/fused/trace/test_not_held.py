"""What a trace may not do to what is outside of a step, and what no snapshot holds: it runs on the loop."""

import functools
import io
import re
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.functional.fused.trace.test_side_effects import T, X, integrate, rest, that, warn_anew

__all__ = ["warn_anew"]  # a fixture, for each test here as well
LAST: Tensor | None = None


SETTINGS = types.ModuleType("settings")
FILE, GENERATOR, LOCK = io.StringIO("text"), (each for each in range(100)), threading.Lock()
# what no snapshot holds: it runs on the loop, and the message says what to write in its place
NOT_HELD: dict[str, tuple[Callable[[], Any], str]] = {
    "clock": (time.monotonic, r"calls time.monotonic, .* Keep what it reads in numbers"),
    "file": (lambda: FILE.read(), "may use up a StringIO"),
    "generator": (lambda: next(GENERATOR), "may use up a generator"),
    "cache": (functools.lru_cache(lambda: 1.0), "_lru_cache_wrapper, whose content cannot be read"),
    "a name that is computed": (
        lambda: getattr(SETTINGS, "".join(["ga", "in"]), 1.0),
        "by a name that it computes. Write the names",
    ),
    "print": (lambda: print(end=""), "calls print"),
    "lock": (lambda: LOCK.locked(), "an object of class lock"),
}


@pytest.mark.parametrize("name", NOT_HELD)
def test_what_no_snapshot_holds_is_read_by_the_loop_alone(name: str) -> None:
    read, message = NOT_HELD[name]
    step = that(lambda _: read())
    assert re.search(message, str(F.explain_scan(step, rest(), X).reason))
    with pytest.warns(RuntimeWarning, match=message):
        got = F.scan(step, rest(), X)[1]
    assert torch.equal(got, F.scan(integrate, rest(), X, backend="loop")[1])
    assert FILE.tell() in (0, 4)
    assert name != "generator" or next(GENERATOR) == T


def keeps_the_last(state: F.IFState, x: Tensor) -> Any:
    global LAST
    LAST = x  # without a look at it before
    return integrate(state, x)


def sets_the_last(state: F.IFState, x: Tensor) -> Any:
    SETTINGS.last = x  # type: ignore[attr-defined]
    return integrate(state, x)


@pytest.mark.parametrize(("step", "name"), [(keeps_the_last, "LAST"), (sets_the_last, "last")])
def test_what_is_changed_is_named_and_put_back(step: Any, name: str) -> None:
    def found() -> Any:
        return LAST if name == "LAST" else getattr(SETTINGS, "last", None)

    assert F.explain_scan(step, rest(), X).backend == "loop"
    assert found() is None
    with pytest.warns(RuntimeWarning, match=f"it changes {name}, a variable outside of it"):
        F.scan(step, rest(), X)
    assert torch.equal(found(), X[-1])
