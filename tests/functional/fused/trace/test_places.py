"""Numbers of a step: one that changes after a call is seen wherever it lives; one that is looked at is compiled in."""

import gc
import math
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils import _pytree as pytree

from spikingtorch import SpikingNet, StepLayer
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
from tests.fused import assert_same_bits
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


XS = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))


class Odd:
    """Something that asks for the type of what it is called with."""

    def __call__(self, gain: Any, surrogate: Any) -> bool:
        return isinstance(gain, float)


def matched(gain: Any, surrogate: Any) -> bool:
    match gain:
        case float():
            return True
    return False


LOOKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda gain, surrogate: type(gain) is float,
    "isinstance": lambda gain, surrogate: isinstance(gain, float),
    "class": lambda gain, surrogate: gain.__class__.__name__ == "float",
    "of a field": lambda gain, surrogate: isinstance(surrogate.alpha, float),
    "hash": lambda gain, surrogate: hash(gain) == hash(2.5),
    "hash of a surrogate": lambda gain, surrogate: hash(surrogate) == hash(F.Arctan(3.0)),
    "text": lambda gain, surrogate: str(gain) == "2.5",
    "format": lambda gain, surrogate: f"{gain}" == "2.5",
    "repr": lambda gain, surrogate: repr(surrogate) == "Arctan(alpha=3.0)",
    "key": lambda gain, surrogate: {2.5: True}.get(gain, False),
    "set": lambda gain, surrogate: gain in {2.5, 3.5},
    "method": lambda gain, surrogate: hasattr(gain, "hex"),
    "pattern": matched,
    "object": Odd(),
    "inside": lambda gain, surrogate: any(isinstance(each, float) for each in (gain,)),
}


def step_of(looks: Callable[[Any, Any], bool]) -> Any:
    def step(state: Any, x: Tensor, gain: Any, surrogate: Any) -> Any:
        fired = F.fire(state.v + gain * (x if looks(gain, surrogate) else -x), 1.0, surrogate, F.to_zero)
        return F.IFState(fired.v), fired.out

    return step


def run(step: Any, backend: Any, gain: float = 2.5, surrogate: Any = F.Arctan(3.0)) -> Tensor:  # noqa: B008
    params = {"gain": gain, "surrogate": surrogate}
    return F.scan(step, F.IFState(torch.zeros(3)), XS, params=params, backend=backend)[1]


def kept(x: Tensor, a: float) -> Tensor:
    leak = 1 - a
    gain = leak
    gain *= 0.1
    return leak * x + gain


# what drives a neuron, of an input and a float
COMPUTED: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "numpy": lambda x, a: x * np.exp(-1 / a),
    "over a tensor": lambda x, a: a / (1 + x.abs()),
    "over floats": lambda x, a: x * (2 / a),
    "as a tensor": lambda x, a: (1 - torch.as_tensor(a)) * x + torch.tensor(a) * 3,
    "as a tensor of a dtype": lambda x, a: torch.as_tensor(a, dtype=x.dtype) * x + a,
    "a tensor of a list": lambda x, a: x * torch.tensor([a]),
    "a new tensor of a list": lambda x, a: x * x.new_tensor([a]) + x.new([a]),
    "a tensor of the class": lambda x, a: x * torch.Tensor([a]),
    "a power": lambda x, a: x * a**3 + a**-2,
    "the rest": lambda x, a: x * ((-a) % 1.0),
    "comparisons": lambda x, a: x * ((a > 0.1) + (a > 0.2)),
    "kept": kept,
    "is_tensor": lambda x, a: x * (a.clamp(0, 1) if torch.is_tensor(a) else a),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_with_floats_has_the_bits_of_the_loop(name: str) -> None:
    def step(state: Tensor, x: Tensor, a: float) -> Any:
        v = 0.5 * state + COMPUTED[name](x, a)
        return v, v

    for a in (0.3, 0.45, 0.123, 0.9, 1.0, 10.0):
        for xs in (XS - 0.5, XS.double() - 0.5):
            backends: list[Any] = ["fused", "loop"]
            got, want = (F.scan(step, torch.zeros_like(xs[0]), xs, params={"a": a}, backend=b) for b in backends)
            assert_same_bits(got, want)


@pytest.mark.parametrize("name", LOOKS)
def test_a_float_is_a_float(name: str) -> None:
    step = step_of(LOOKS[name])
    want = run(step, "loop")
    assert want.any()
    assert torch.equal(run(step, "fused"), want)


@pytest.mark.parametrize("name", ["hash", "key", "of a field"])
def test_another_value_is_another_program(name: str) -> None:
    step = step_of(LOOKS[name])
    for gain, surrogate in ((2.5, F.Arctan(3.0)), (0.75, F.Arctan(3.0)), (2.5, F.Arctan(torch.tensor(3.0)))):
        for _ in range(2):
            assert torch.equal(run(step, "auto", gain, surrogate), run(step, "loop", gain, surrogate))


def test_none_is_compared_by_identity() -> None:
    """And so are other constants."""

    def step(state: Any, x: Tensor, gain: Any, surrogate: Any) -> Any:
        v = state.v + gain * x
        v = v if surrogate is None else v + surrogate
        v = v if gain is not None else x
        return F.IFState(v), v

    for shift in (None, 0.25):
        assert torch.equal(run(step, "fused", 0.5, shift), run(step, "loop", 0.5, shift))


# what drives a neuron, and gains by which its loop cannot divide
DIVISIONS: dict[str, tuple[Callable[[float, Any], Any], tuple[float, ...]]] = {
    "by a parameter": (lambda gain, x: 1.0 / gain * x, (0.0,)),
    "by a negative zero": (lambda gain, x: (2.0 - 1 / gain) * x, (-0.0,)),
    "of floats": (lambda gain, x: (gain + 1.0) / gain * x, (0.0,)),
    "by what is computed": (lambda gain, x: 1.0 / (gain - 0.5) * x, (0.5,)),
    "by nothing": (lambda gain, x: x * (gain / 0), (0.0, 2.5, 3.5)),
    "of neurons, as torch divides tensors": (lambda gain, x: x / gain, ()),
}


@pytest.mark.parametrize("layer", [False, True], ids=["scan", "layer"])
@pytest.mark.parametrize("name", DIVISIONS)
def test_a_float_is_not_divided_by_zero(name: str, layer: bool) -> None:
    divided, wrong = DIVISIONS[name]

    def step(state: Any, x: Tensor, gain: Any, rest: float) -> Any:
        v = 0.5 * state.v + divided(gain, x) + rest
        return F.IFState(v), v

    made = StepLayer(step, F.IFState, gain=1.0, rest=0.0)
    model = SpikingNet(nn.Sequential(made))

    def out(gain: float, mode: Any) -> Any:
        if layer:
            made.gain, model.mode = gain, mode
            return model(XS.unsqueeze(0))
        backend: Any = "auto" if mode == "fold" else "loop"
        return F.scan(step, F.IFState(torch.zeros(3)), XS, params={"gain": gain, "rest": 0.0}, backend=backend)[1]

    zero = wrong[0] if wrong else -0.0
    for gain in (2.5, 3.5, zero, 3.5, zero):
        if gain not in wrong:
            assert torch.equal(out(gain, "fold"), out(gain, "step"))
            continue
        for mode in ("step", "fold"):
            with pytest.raises(ZeroDivisionError):
                out(gain, mode)
