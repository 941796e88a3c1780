"""A scan that has run before skips checks and choices: nothing that would change them may be missed."""

import functools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.core import tree
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.fused.runtime import executable
from spikingtorch.functional.fused.runtime.targets import target_of
from spikingtorch.testing import assert_close
from tests.caches import forget
from tests.fused_steps import counting

T, N, M = 9, 4, 33


class Pair(NamedTuple):
    """A state that holds another one."""

    first: Any
    second: Any


class Given(NamedTuple):
    """The arguments of a scan."""

    step: Any
    state: Any
    xs: Any
    params: Any = None
    dim: int = 0


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def known() -> int:
    """Return how many scans are remembered."""
    return sum(isinstance(entry, bind.Bound) for entry in bind._bound._entries.values())


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def run(given: Given, backend: Any = "auto") -> tuple[Any, Any]:
    return F.scan(given.step, given.state, given.xs, params=given.params, dim=given.dim, backend=backend)


def both(given: Given, backend: Any = "auto") -> list[Tensor]:
    """Return what a scan gives and, where a gradient is wanted, the gradients for random cotangents."""
    final, outs = run(given, backend)
    found = pytree.tree_leaves((final, outs))
    leaves = [leaf for leaf in pytree.tree_leaves(given[1:4]) if isinstance(leaf, Tensor) and leaf.requires_grad]
    floating = [out for out in found if out.requires_grad]
    if leaves and floating:
        cotangents = [draw(*out.shape, dtype=out.dtype, seed=7 + k) for k, out in enumerate(floating)]
        found += torch.autograd.grad(floating, leaves, cotangents, allow_unused=True)
    return [leaf.detach() for leaf in found if leaf is not None]


def leaky(state: F.LIFState, x: Tensor, decay: Any, threshold: Any = 1.0) -> Any:
    u = decay * state.v + x
    spike = F.Sigmoid(3.0)(u - threshold)
    return F.LIFState(u - spike * threshold), spike


def valued(state: F.LIFState, x: Tensor, tau: float) -> Any:
    return leaky(state, x, math.exp(-1.0 / tau))


def nested(state: Any, x: Any, decay: Any) -> Any:
    u = decay * state.first["v"] + x[0]
    return Pair({"v": u}, [state.second[0] + x[1], *state.second[1:]]), (u, {"w": x[1] > 0.5})


CALLS: dict[str, Callable[[], Given]] = {
    "tensor parameter": lambda: Given(leaky, F.LIFState(draw(N, M)), draw(T, N, M, seed=1), {"decay": draw(M, seed=2)}),
    "float parameters": lambda: Given(
        leaky,
        F.LIFState(draw(N, M)),
        draw(T, N, M, seed=1),
        {"decay": 0.5, "threshold": 0.8},
    ),
    "a float that is looked at": lambda: Given(valued, F.LIFState(draw(N, M)), draw(T, N, M, seed=1), {"tau": 3.0}),
    "partial": lambda: Given(functools.partial(leaky, decay=0.5), F.LIFState(draw(N, M)), draw(T, N, M, seed=1)),
    "time second": lambda: Given(leaky, F.LIFState(draw(N, M)), draw(N, T, M, seed=1), {"decay": 0.5}, 1),
    "time last": lambda: Given(leaky, F.LIFState(draw(N, M)), draw(N, M, T, seed=1), {"decay": 0.5}, -1),
    "few neurons in a row": lambda: Given(leaky, F.LIFState(draw(M, 3)), draw(M, T, 3, seed=1), {"decay": draw(3)}, 1),
    "strides": lambda: Given(
        leaky, F.LIFState(draw(M, N).T), draw(T, M, N, seed=1).movedim(1, 2), {"decay": draw(N, 1)}
    ),
    "a state at rest for all": lambda: Given(
        leaky,
        F.LIFState(torch.zeros(()).double().expand(N, M)),
        draw(T, N, M),
        {"decay": 0.5},
    ),
    "an input for all": lambda: Given(leaky, F.LIFState(draw(N, M)), draw(T, 1, M, seed=1), {"decay": 0.5}),
    "an input of fewer axes": lambda: Given(leaky, F.LIFState(draw(N, M)), draw(T, M, seed=1), {"decay": 0.5}),
    "half": lambda: Given(leaky, F.LIFState(draw(N, M).float()), draw(T, N, M).half(), {"decay": 0.5}),
    "all half": lambda: Given(leaky, F.LIFState(draw(N, M).half()), draw(T, N, M).half(), {"decay": draw(M).half()}),
    "nested trees": lambda: Given(
        nested,
        Pair({"v": draw(N, M)}, [draw(N, M, seed=3), torch.arange(N * M).reshape(N, M)]),
        (draw(T, N, M, seed=1), draw(T, N, M, seed=2)),
        {"decay": 0.5},
    ),
    "no neurons": lambda: Given(leaky, F.LIFState(draw(0, M)), draw(T, 0, M), {"decay": 0.5}),
}


@pytest.mark.parametrize("differentiates", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CALLS)
def test_the_second_call_is_the_first(name: str, differentiates: bool) -> None:
    def require(leaf: Any) -> Any:
        floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return leaf.detach().requires_grad_() if floating and differentiates else leaf

    given = CALLS[name]()
    given = given._replace(
        **{field: pytree.tree_map(require, getattr(given, field)) for field in ("state", "xs", "params")}
    )
    want = both(given, "loop")
    found = [both(given) for _ in range(3)]
    for got in found:
        assert all(torch.equal(a, b) for a, b in zip(got, found[0], strict=True))
        for a, b in zip(got, want, strict=True):
            if a.dtype == torch.float16:  # the last digit of what is rounded may differ
                torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)
            else:
                assert_close(a, b)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"an input of fewer axes", "all half"}))
def test_is_remembered(name: str) -> None:
    given = CALLS[name]()
    run(given)
    assert known() == 1
    with counting() as counts:
        final, out = run(given)
    assert (counts.forward, counts.traces, known()) == (name != "no neurons", 0, 1)
    assert pytree.tree_structure(final) == pytree.tree_structure(given.state)
    assert pytree.tree_structure(out) == pytree.tree_structure(run(given, "loop")[1])


def change(**changes: Any) -> Given:
    """Return the arguments of a plain call of ``leaky`` with some of them changed."""
    return Given(leaky, F.LIFState(draw(N, M)), draw(T, N, M, seed=1), {"decay": 0.5})._replace(**changes)


OTHERS: dict[str, dict[str, Any]] = {
    "values of the input": {"xs": draw(T, N, M, seed=5)},
    "values of the state": {"state": F.LIFState(draw(N, M, seed=5))},
    "a float": {"params": {"decay": 0.75}},
    "one more float": {"params": {"decay": 0.5, "threshold": 0.25}},
    "a tensor for a float": {"params": {"decay": draw(M)}},
    "a number for all, as a tensor": {"params": {"decay": torch.tensor(0.75, dtype=torch.float64)}},
    "a shape": {"xs": draw(T, N, 7), "state": F.LIFState(draw(N, 7))},
    "a length": {"xs": draw(T + 1, N, M)},
    "strides of the input": {"xs": draw(M, N, T).permute(2, 1, 0)},
    "strides of the state": {"state": F.LIFState(draw(M, N).T)},
    "an offset": {"xs": draw(T + 1, N, M)[1:]},
    "every other step": {"xs": draw(2 * T, N, M)[::2]},
    "a dtype": {"xs": draw(T, N, M).float(), "state": F.LIFState(draw(N, M).float())},
    "the axis of time": {"xs": draw(T, T, M), "state": F.LIFState(draw(T, M)), "dim": 1},
    "a gradient": {"xs": draw(T, N, M, seed=1).requires_grad_()},
    "an integer parameter": {"params": {"decay": 1}},
    "an array's number": {"params": {"decay": draw(3).numpy()[0]}},
    "a negated view": {"xs": torch._neg_view(draw(T, N, M))},  # pyright: ignore[reportPrivateImportUsage]
    "a conjugated part": {"xs": torch.complex(draw(T, N, M), draw(T, N, M, seed=2)).conj().imag},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_change_is_seen(name: str) -> None:
    other = change(**OTHERS[name])
    want = both(other, "loop")
    for _ in range(2):
        both(change())
        assert_close(both(other), want)


def test_the_values_of_a_float_that_is_looked_at() -> None:
    for tau in (3.0, 5.0, 3.0, 1e9, 5.0):
        given = CALLS["a float that is looked at"]()._replace(params={"tau": tau})
        assert_close(both(given), both(given, "loop"))
    assert known() == 3


def test_a_sign_of_zero_is_a_value() -> None:
    def signed(state: F.LIFState, x: Tensor, sign: float) -> Any:
        return state, x * math.copysign(1.0, sign)

    given = change(step=signed)
    assert_close(both(given._replace(params={"sign": 0.0}))[1], given.xs)
    assert_close(both(given._replace(params={"sign": -0.0}))[1], -given.xs)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a length": ({"xs": draw(T, N, M), "state": F.LIFState(draw(N, M + 1))}, "broadcast|shape|must match"),
    "dtypes": ({"xs": draw(T, N, M).float()}, "mixed dtypes"),
    "no floating input": ({"xs": torch.ones(T, N, M, dtype=torch.int64)}, "no input is floating"),
    "no time": ({"dim": 3}, "no time axis"),
    "a parameter that is unknown": ({"params": {"decay": 0.5, "tau": 1.0}}, "unexpected keyword"),
    "a number for a state": ({"state": F.LIFState(0.0)}, "expected a tensor"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_raised_though_the_like_has_run(name: str) -> None:
    both(change())
    changes, message = WRONG[name]
    for _ in range(2):
        with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
            both(change(**changes))


def test_an_unknown_backend_is_an_error_though_the_like_has_run() -> None:
    both(change())
    with pytest.raises(ValueError, match="backend='quick' is not one of"):
        both(change(), "quick")


def test_the_default_dtype_is_part_of_a_request() -> None:
    def promoted(state: F.LIFState, x: Tensor) -> Any:
        return state, torch.where(x > 0.5, 1.0, 0.1) + 0.1 * (x > 2.0)

    given = change(step=promoted, params=None)
    found = []
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            found.append((both(given)[1], both(given, "loop")[1]))
        finally:
            torch.set_default_dtype(torch.float32)
    assert all(got.dtype == want.dtype and torch.equal(got, want) for got, want in found)


def test_transforms_take_no_notice() -> None:
    given = change()
    weights = draw(T, N, M, seed=3), draw(N, M, seed=4)

    def total(x: Tensor) -> Tensor:
        final, out = run(given._replace(xs=x))
        result: Tensor = (out * weights[0]).sum() + (final.v * weights[1]).sum()
        return result

    leaf = given.xs.clone().requires_grad_()
    batch = torch.stack([given.xs, draw(T, N, M, seed=9)])
    for _ in range(2):
        (want,) = torch.autograd.grad(total(leaf), leaf)
        assert_close(torch.func.grad(total)(given.xs), want)
        assert_close(torch.func.vmap(torch.func.grad(total))(batch)[0], want)
        value, tangent = torch.func.jvp(total, (given.xs,), (given.xs,))[:2]
        assert_close(value, total(given.xs))
        assert_close(tangent, (want * given.xs).sum())


def test_second_derivative_of_a_scan_that_has_run_before() -> None:
    given = change(xs=draw(T, N, M).requires_grad_())

    def second(backend: Any) -> Tensor:
        (first,) = torch.autograd.grad(run(given, backend=backend)[1].sum(), given.xs, create_graph=True)
        (found,) = torch.autograd.grad(first.square().sum(), given.xs)
        assert isinstance(found, Tensor)
        return found

    want = second("loop")
    assert want.abs().max() > 0
    for _ in range(2):
        assert_close(second("auto"), want)


def test_inference_mode_before_and_after() -> None:
    given = change()
    want = both(given, "loop")
    with torch.inference_mode():
        for _ in range(2):
            assert_close(both(given), want)
            assert run(given)[1].is_inference()
    assert_close(both(given), want)


def test_what_was_saved_may_not_be_overwritten() -> None:
    for _ in range(2):
        xs = draw(T, N, M).requires_grad_()
        x = xs * 1.0
        out = run(change(xs=x))[1]
        x.add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_a_profile_shows_the_operators() -> None:
    given = change(xs=draw(T, N, M).requires_grad_())
    both(given)
    with torch.profiler.profile() as profile:
        both(given)
    names = {event.key for event in profile.key_averages()}
    assert {"spikingtorch::scan_forward", "spikingtorch::scan_backward"} <= names
    assert in_eager()


def test_hooks_on_saved_tensors_are_called() -> None:
    packed = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor.shape)
        return tensor

    given = change(xs=draw(T, N, M).requires_grad_())
    want = both(given)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        assert_close(both(given), want)
    assert (T, N, M) in packed


def test_a_subclass_is_no_ordinary_tensor() -> None:
    class Mine(Tensor):
        pass

    assert not target_of([draw(3).as_subclass(Mine)])
    assert not target_of([torch.ones(3, device="meta")])
    assert not target_of([torch.ones(3).to_sparse()])
    assert target_of([torch.nn.Parameter(torch.ones(3)), torch.arange(3)])
    assert not target_of([torch.ones(3), None])
    assert not torch.func.vmap(lambda x: x * float(target_of([x]) is not None))(draw(3)).any()
    assert not torch.func.vmap(lambda x: x * float(in_eager()))(draw(3)).any()


# --- trees ------------------------------------------------------------------------------------------------------------

TREES: list[Any] = [
    1.0,
    None,
    (),
    {},
    [draw(2), (1, "a")],
    {"b": 1, "a": [2.0, {"c": None}]},
    Pair(draw(1), Pair({1: draw(2)}, ())),
    OrderedDict(b=1, a=(2,)),
    {"x": OrderedDict(a=[1])},
    torch.Size([1, 2]),
    F.Sigmoid(2.0),
    {"rule": F.to_zero, "surrogate": F.Arctan(3.0), "kind": int},
    torch.return_types.max((draw(1), draw(1))),
]


@pytest.mark.parametrize("given", TREES, ids=range(len(TREES)))
def test_trees_are_those_of_pytree(given: Any) -> None:
    leaves, form = tree.flatten(given)
    others, spec = pytree.tree_flatten(given)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in others]
    hash(form)
    numbered = list(range(len(leaves)))
    made, want = tree.unflatten(numbered, form), pytree.tree_unflatten(numbered, spec)
    assert type(made) is type(want)
    assert repr(made) == repr(want)
    mapped = tree.tree_map(lambda leaf: [leaf], given)
    assert pytree.tree_structure(mapped) == pytree.tree_structure(pytree.tree_map(lambda leaf: [leaf], given))


def test_forms_tell_kinds_apart() -> None:
    flat: list[Any] = [(1, 2), [1, 2], {"a": 1, "b": 2}, {"b": 1, "a": 2}, Pair(1, 2), (1, 2, 3), 1]
    alike = [*flat, ((1,), 2), (1, (2,))]
    assert len({tree.flatten(each)[1] for each in alike}) == len(alike)
    kinds = set(tree.types_of(tree.flatten({"a": Pair(1, [OrderedDict(b=2)])})[1]))
    assert kinds >= {dict, Pair, list, OrderedDict}


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_the_oldest_is_forgotten() -> None:
    recent: LRUCache[int] = LRUCache(2)
    for key in "abac":
        recent.keep(key, ord(key))
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (97, None, 99)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind, "_bound", LRUCache(3))
    monkeypatch.setattr(executable, "_executables", LRUCache(3))
    for length in range(1, 9):
        given = change(xs=draw(length, N, M))
        assert_close(both(given), both(given, "loop"))
    assert known() == len(executable._executables._entries) == 3
