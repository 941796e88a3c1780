"""A number that changes after a call changes the result as it does on the loop, wherever the number lives."""

import gc
import math
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.fused.trace import programs
from spikingtorch.functional.fused.trace.examples import SIZES, Examples, Spec
from tests.functional.fused.trace.distant_places import DISTANT
from tests.functional.fused.trace.places import (
    GAIN,
    NEAR,
    NUMBER,
    VALUES,
    Cell,
    Place,
    Plain,
    advance,
    around,
    rebound,
    with_number,
)
from tests.fused_steps import T, draw, loop, rest, value
from tests.processes import at_once
from tests.surroundings import calls_of

X = draw()
STEPS = NEAR | {name: around(*row) for name, row in DISTANT.items()}


def outcome(run: Callable[..., Any], step: Any, params: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    leaves = [X.clone().requires_grad_(), *[leaf for leaf in params.values() if leaf is GAIN]]
    results = run(step, rest(), leaves[0], params=params)
    return pytree.tree_leaves(results), [*torch.autograd.grad(value(results), leaves)]


def agrees(place: Place, values: tuple[Any, ...] = VALUES, *, runs_fused: bool = True) -> int:
    """Assert that a place gives what the loop gives for each value; return how often it was traced."""
    seen, traced = {}, list[str]()
    for number in values:
        step, params = place(number)
        want, slopes = outcome(loop, step, params)
        with pytest.MonkeyPatch.context() as patch:
            found = calls_of(patch, programs, "trace", lambda result, *_: result.program.to_text())
            got, gradients = outcome(F.scan, step, params)
        told = F.explain_scan(step, rest(), X, params=params)
        assert (told.backend == "fused") == runs_fused, told
        assert all(map(torch.equal, got, want)), f"with {number!r} the result is not that of the loop"
        torch.testing.assert_close(gradients, slopes, rtol=1e-10, atol=1e-12)
        seen[repr(number)] = torch.stack([want[-1], slopes[0]])
        traced += found
    assert not torch.equal(*[*seen.values()][:2]), "the number does not matter, so nothing was tested"
    # a float is a slot to fill in, and any other number one that the step holds itself
    assert len({*traced}) <= len({type(number) is float for number in values}), "the number is part of the kernel"
    return len(traced)


# what no snapshot holds runs on the loop; some of it wherever it lives
ON_THE_LOOP = {
    f"{name} {where}"
    for where in ("in a cell", "in another cell", "that changes in place")
    for name in (
        *("defaultdict", "Counter", "MappingProxy", "dict with an attribute", "integer of its own class"),
        *("string of its own class", "Fraction", "bound method", "numbers of a tensor"),
        *("array", "bytearray", "weakref", "object that hides what it has", "beside a sparse tensor"),
    )
} | {
    *("global by name", "global by a descriptor", "import in the step", "context variable"),
    *("attribute of a module by another getattr", "attribute of a module by a bound getattr"),
    *("attribute of a module, asked", "global by another globals", "global by a frame"),
    "a name that comes and goes, computed",
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", STEPS)
def test_a_number_is_read_where_it_lives_and_an_equal_one_is_not_traced_again(name: str) -> None:
    fused = name not in ON_THE_LOOP
    with warnings.catch_warnings():
        warnings.filterwarnings("error" if fused else "ignore", "scan: .* ran on the Python loop")
        agrees(STEPS[name], runs_fused=fused)
        again = agrees(STEPS[name], runs_fused=fused)
    assert not again or name == "growing list that changes in place", "the step is traced at each call"


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["float", "number in another cell", "surrogate"])
def test_a_sweep_compiles_once(name: str) -> None:
    agrees(STEPS[name], tuple(0.2 + 0.007 * k for k in range(100)))


# steps to which numbers matter that are hardly told apart, or that no kernel can do with what they do
PARTICULAR: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "zeros": (lambda state, x, n: advance(state, x / n, 0.5), (0.0, -0.0, 0.0)),
    "types": (
        lambda state, x, n: advance(state, x, 0.1 if n is True else 0.2 if isinstance(n, int) else n),
        (1, True, 1.0, 1, True),
    ),
    "types in a set": (
        lambda state, x, n: advance(state, x, 0.5 if any(type(each) is int for each in n) else 0.9),
        ({1}, {1.0}, {1}),
    ),
    "branch": (lambda state, x, n: advance(state, x, 0.5 if n > 1 else 0.25 * n), (0.5, 2.0, 0.7, 0.5, 3.0)),
    "math": (lambda state, x, n: advance(state, x, math.exp(-1.0 / n)), (2.0, 5.0, 2.0, 7.0)),
}


@pytest.mark.parametrize("name", PARTICULAR)
def test_numbers_to_which_the_step_is_particular(name: str) -> None:
    step, values = PARTICULAR[name]
    agrees(lambda number: (step, {"n": number}), values)
    agrees(lambda number: (partial(step, n=number), {}), values)
    agrees(lambda number: (lambda state, x: step(state, x, number), {}), values)


# --- what a step asks of its surroundings, and what is kept of it -----------------------------------------------------


def test_a_branch_on_the_number_of_axes() -> None:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 / x.ndim)

    for shape in ((4,), (2, 4), (4,)):
        xs, state = draw(T, *shape), rest(*shape)
        assert torch.equal(F.scan(step, state, xs, backend="fused")[1], loop(step, state, xs)[1])


def test_the_trace_of_many_axes_is_small() -> None:
    one = Spec.of(torch.float32, [2] * 12)
    assert all(math.prod(Examples((one, one, {}), False, sizes).shape) < 100_000 for sizes in SIZES)


def test_a_step_is_not_kept_alive_nor_mistaken_for_one_that_died() -> None:
    places, contents = set[int](), list[Any]()
    while len(contents) < 8 or (len(places) == len(contents) and len(contents) < 500):
        number = 0.5 + len(contents) / 1000
        content = Plain(number)
        step = rebound({number: content}.get, NUMBER)(number)[0]
        places.add(id(step))
        contents.append(weakref.ref(content))
        assert torch.equal(F.scan(step, rest(), X)[1], loop(step, rest(), X)[1])
        del step, content
    gc.collect()
    assert not any(content() for content in contents)
    assert len(places) < len(contents), "no step has the address of another, so nothing was tested"


# --- what a number does not tell --------------------------------------------------------------------------------------


def is_the_loop(step: Any) -> bool:
    """Assert that a step gives what the loop gives, and say whether it is fused."""
    assert torch.equal(F.scan(step, rest(), X)[1], loop(step, rest(), X)[1])
    return F.explain_scan(step, rest(), X).backend == "fused"


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
def test_what_each_thread_has_for_itself() -> None:
    local = threading.local()

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, local.number)

    def run(number: float) -> None:
        local.number = number
        is_the_loop(step)

    run(0.5)
    at_once(partial(run, 0.9))


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
def test_hooks_of_all_modules_are_called() -> None:
    step, called = with_number(Cell(), 0.5), list[int]()
    assert is_the_loop(step)

    def hook(module: Any, args: Any, result: Any) -> Any:
        called.append(1)
        return result[0], 3 * result[1]

    with register_module_forward_hook(hook):
        assert not is_the_loop(step)
    assert len(called) == 2 * len(X)
    assert is_the_loop(step)


def test_tensors_of_transforms_in_a_closure() -> None:
    def of(weight: Tensor, run: Callable[..., Any] = F.scan) -> Tensor:
        return run(lambda state, x: advance(state, x * weight, 0.5), rest(), X)[1]

    weights = X[:2]
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        assert torch.equal(torch.func.vmap(of)(weights), torch.stack([of(weight, loop) for weight in weights]))
        slopes = torch.func.grad(lambda weight: of(weight).sum())(weights[0])
    assert torch.equal(slopes, torch.func.grad(lambda weight: of(weight, loop).sum())(weights[0]))
