"""What a step may ask of its surroundings, and what is kept of it."""

import gc
import importlib
import pkgutil
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import fused
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.dispatch import signature
from spikingtorch.functional.fused.trace import programs
from tests.functional.fused.trace.places import NUMBER, Plain, advance, rebound
from tests.fused_steps import Pair, T, counting, draw, loop, rest

X = draw()
# what a step asks, and the name of it in the warning
ASKING: dict[str, Any] = {
    "the size of": lambda state, x: advance(state, x, 0.5 if x.shape[-1] > 50 else 0.25),
    "is_grad_enabled": lambda state, x: advance(state, x, 0.5 if torch.is_grad_enabled() else 0.25),
    "requires_grad": lambda state, x: advance(state, x, 0.5 if x.requires_grad else 0.25),
}


@pytest.mark.parametrize("name", ASKING)
def test_a_branch_on_what_no_trace_can_tell_takes_the_loop(name: str) -> None:
    step = ASKING[name]
    with pytest.warns(RuntimeWarning, match=f"ran on the Python loop .slower. because it .*{name}"):  # noqa: PT031
        for size in (2, 7, 60):
            for xs in (draw(T, size), draw(T, size).requires_grad_()):
                for enabled in (True, False):
                    with torch.set_grad_enabled(enabled):
                        assert torch.equal(F.scan(step, rest(size), xs)[1], loop(step, rest(size), xs)[1])


def test_a_branch_on_the_number_of_axes() -> None:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 / x.ndim)

    for shape in ((4,), (2, 4), (4,)):
        xs, state = draw(T, *shape), rest(*shape)
        assert torch.equal(F.scan(step, state, xs, backend="fused")[1], loop(step, state, xs)[1])


def test_a_state_of_a_type_of_my_own_is_traced_once() -> None:
    def step(state: Pair, x: Tensor) -> tuple[Pair, Tensor]:
        v = 0.5 * state.v + state.i + x
        return Pair(v, 0.9 * state.i), v

    F.scan(step, Pair(*rest(), *rest()), X)
    with counting() as counts:
        F.scan(step, Pair(*rest(), *rest()), X)
    assert (counts.forward, counts.traces) == (1, 0)


def test_the_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_recent", LRUCache(4))
    for number in [0.1 * k for k in range(8)] * 2:
        step: Any = lambda state, x, number=number: advance(state, x, number)  # noqa: E731
        assert torch.equal(F.scan(step, rest(), X)[1], loop(step, rest(), X)[1])
        assert len(programs._recent._entries) <= 4


def test_every_cache_of_the_package_is_bounded() -> None:
    found = {}
    for module in pkgutil.walk_packages(fused.__path__, f"{fused.__name__}."):
        for name, item in vars(importlib.import_module(module.name)).items():
            if hasattr(item, "cache_info") and item.__module__.startswith("spikingtorch"):
                code = item.__wrapped__.__code__
                found[name] = item.cache_info().maxsize if code.co_argcount else 1
    assert {"forward_kernel", "backward_kernel"} <= found.keys()
    assert all(found.values()), found


def test_a_step_is_not_kept_alive_and_one_that_died_is_forgotten() -> None:
    content, before = Plain(0.5), len(signature._parameters._entries)
    step = rebound({0.5: content}.get, NUMBER)(0.5)[0]
    gone = weakref.ref(content)
    F.scan(step, rest(), X)
    assert len(signature._parameters._entries) == before + 1
    del step, content
    assert len(signature._parameters._entries) == before
    gc.collect()
    assert gone() is None
