"""What is said of a call that cannot run: what came, what is expected, how to fix it."""

from typing import Any

import jax.numpy as jnp
import pytest

from spikingtorch import jax as snn
from spikingtorch.jax import handler, primitives
from tests.jax.neurons import QUIET, START, XS, V, lif, stepping
from tests.jax.oracle import assert_same, plain

WHOLE = jnp.zeros((2, 3), jnp.int32)
# a call, and its error with the words of spikingtorch.functional.scan: what came, what is expected
WRONG: dict[str, tuple[Any, Any, Any, dict[str, Any], type[Exception]]] = {
    r"returned .*; a step returns the pair \(state, output\)": (lambda s, x: s + x, V, XS, {}, TypeError),
    r"was given the state LIFState.* and returned": (lambda s, x: ((s.v,), x), START, XS, {}, TypeError),
    r"turned state of shape \(2, 3\) into \(3,\)": (lambda s, x: (s[0], x), V, XS, {}, ValueError),
    r"turned state from .*float32 into .*float16": (lambda s, x: (s.astype("float16"), x), V, XS, {}, TypeError),
    r"turned state from .*int32 into .*float32": (lambda s, x: (s + x, x), WHOLE, XS, {}, TypeError),
    r"xs holds no (array|tensor)": (lif, START, (), {}, ValueError),
    r"xs has shape \(\), which has no time axis dim=0": (lif, START, jnp.asarray(1.0), {}, ValueError),
    r"xs has shape \(7, 2, 3\), which has no time axis dim=3": (lif, START, XS, {"dim": 3}, ValueError),
    r"inputs differ in length along dim=0": (lambda s, x: (s, x[0]), START, (XS, XS[:3]), {}, ValueError),
    r"no input is floating: xs is .*int32": (lif, START, jnp.ones((3, 2, 3), jnp.int32), {}, TypeError),
    r".*backend.*quick": (lif, START, XS, {"backend": "quick"}, ValueError),
}


@QUIET
@pytest.mark.parametrize("message", WRONG)
def test_messages(message: str) -> None:
    step, state, xs, more, error = WRONG[message]
    scan: Any = snn.scan
    for backend in ("auto", "fused", "loop"):
        with pytest.raises(error, match=f"scan: .*{message}"):
            scan(step, state, xs, **{"backend": backend, **more})


def test_a_refused_step_on_request_names_the_primitive() -> None:
    step = stepping(lambda x: jnp.sort(x, -1))
    with pytest.raises(ValueError, match=r"scan: backend='fused' cannot run .*sort.*backend='auto'"):
        snn.scan(step, V, XS, backend="fused")
    told = snn.explain_scan(step, V, XS)
    assert told.backend == "loop"
    assert "sort" in told.reason


def test_without_a_compiler_lax_scan_runs_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a process of its own is a long test (test_processes.py)."""
    monkeypatch.setattr(handler, "why_none", lambda: "there is no C compiler. To get one: ...")
    primitives.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"run by jax\.lax\.scan \(slower\) because there is no C compiler"):
        found = snn.scan(lif, START, XS)
    assert_same(found, plain(lif, START, XS))
    with pytest.raises(ValueError, match="there is no C compiler"):
        snn.scan(lif, START, XS, backend="fused")
    assert snn.explain_scan(lif, START, XS).backend == "loop"


def test_a_compiler_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in torch: auto warns once, whatever the number of kernels, a request is an error, and the reason is told."""
    monkeypatch.setenv("CC", "false")
    with pytest.warns(RuntimeWarning, match=r"run by jax\.lax\.scan \(slower\) because the C compiler failed"):
        snn.scan(lif, START, XS)
    snn.scan(lambda s, x: lif(s, x, 0.7), START, XS)  # a second warning would be an error
    with pytest.raises(ValueError, match="cannot run lif, which cannot be compiled: the C compiler failed"):
        snn.scan(lif, START, XS, backend="fused")
    assert str(snn.explain_scan(lif, START, XS)).startswith("loop: ")


def test_second_derivatives_say_who_runs_them() -> None:
    told = snn.explain_scan(lif, START, XS)
    assert (told.backend, told.exactness) in {("fused", "E"), ("fused", "T")}
    assert "lax.scan" in snn.explain_scan(lif, START, XS, backend="loop").reason
