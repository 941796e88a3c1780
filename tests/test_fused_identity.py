"""A number that changes after a fused call changes the result as it does on the loop, wherever the number lives."""

import array
import collections
import contextvars
import dataclasses
import enum
import fractions
import functools
import gc
import importlib
import math
import pkgutil
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import tests.fused_steps
from spikingtorch import functional as F
from spikingtorch.functional import fused
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.functional.fused.trace import programs
from tests import fused_steps
from tests.fused_steps import N, Pair, T, counting, draw, gradients, leaky, loop, rest, value

X = draw()
VALUES = (0.5, 0.6, 0.5, 0.7)
# what holds a number: it returns a step and the params to call it with
Place = Callable[[Any], tuple[Any, dict[str, Any]]]

SLOPE = 0.5


def advance(state: F.IFState, x: Tensor, number: Any) -> tuple[F.IFState, Tensor]:
    v = number * state.v + x
    return F.IFState(v), 2 * v


def agrees(place: Place, values: tuple[Any, ...] = VALUES) -> list[int]:
    """Assert that a place gives the results of the loop for each value; return how often each was traced."""
    seen, traces = {}, []
    for number in values:
        step, params = place(number)
        want = loop(step, rest(), X, params)
        with counting() as counts:
            got = F.scan(step, rest(), X, params=params)
        assert counts.forward == 1, F.explain_scan(step, rest(), X, params=params).reason
        for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(want), strict=True):
            assert torch.equal(a, b), f"with {number!r} the result is not that of the loop"
        seen[repr(number)] = want[1]
        traces.append(counts.traces)
    assert not torch.equal(*list(seen.values())[:2]), "the number does not matter, so nothing was tested"
    return traces


# --- places -----------------------------------------------------------------------------------------------------------

PLACES: dict[str, Place] = {}


def place(function: Place) -> Place:
    PLACES[function.__name__] = function
    return function


def reading(number_of: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    """Return a place from a function that reads the number from what a step has in its closure."""

    def with_content(content: Any) -> tuple[Any, dict[str, Any]]:
        def step(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
            return advance(state, x, number_of(content))

        return step, {}

    return with_content


@place
def param_float(number: float) -> Any:
    return leaky, {"decay": number}


@place
def param_integer(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, power: int) -> Any:
        return advance(state, x, 0.9**power)

    return step, {"power": int(number * 10)}


@place
def param_tree(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, numbers: Any) -> Any:
        return advance(state, x, numbers["a"][0])

    return step, {"numbers": {"a": [number]}}


@place
def default_positional(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, decay: float = number) -> Any:
        return advance(state, x, decay)

    return step, {}


@place
def default_keyword(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, *, decay: float = number) -> Any:
        return advance(state, x, decay)

    return step, {}


@place
def default_positional_only(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, decay: float = number, /) -> Any:
        return advance(state, x, decay)

    return step, {}


@place
def default_changed(number: float) -> Any:
    _with_default.__kwdefaults__ = {"decay": number}
    return _with_default, {}


def _with_default(state: F.IFState, x: Tensor, *, decay: float = 0.0) -> Any:
    return advance(state, x, decay)


@place
def default_of_a_helper(number: float) -> Any:
    def helper(v: Tensor, decay: float = number) -> Tensor:
        return decay * v

    def step(state: F.IFState, x: Tensor) -> Any:
        v = helper(state.v) + x
        return F.IFState(v), v

    return step, {}


@place
def keyword_default_of_a_helper(number: float) -> Any:
    def helper(v: Tensor, *, decay: float = number) -> Tensor:
        return decay * v

    def step(state: F.IFState, x: Tensor) -> Any:
        v = helper(state.v) + x
        return F.IFState(v), v

    return step, {}


@place
def closure(number: float) -> Any:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, number)

    return step, {}


@place
def global_number(number: float) -> Any:
    global SLOPE
    SLOPE = number
    return _reads_global, {}


def _reads_global(state: F.IFState, x: Tensor) -> Any:
    return advance(state, x, SLOPE)


@place
def global_of_a_nested_helper(number: float) -> Any:
    global SLOPE
    SLOPE = number
    return _calls_helper, {}


def _calls_helper(state: F.IFState, x: Tensor) -> Any:
    return advance(state, x, _outer_helper())


def _outer_helper() -> float:
    numbers = [(lambda: _inner_helper())() for _ in range(1)]
    return numbers[0]


def _inner_helper() -> float:
    return SLOPE


@place
def global_by_name(number: float) -> Any:
    global SLOPE
    SLOPE = number

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, globals()["SLOPE"])

    return step, {}


@place
def helper_redefined(number: float) -> Any:
    global _helper
    _helper = {0.5: lambda v: 0.5 * v, 0.6: lambda v: 0.6 * v, 0.7: lambda v: 0.7 * v}[number]
    return _calls_redefined, {}


_helper: Any = None


def _calls_redefined(state: F.IFState, x: Tensor) -> Any:
    v = _helper(state.v) + x
    return F.IFState(v), v


@place
def attribute_of_a_module(number: float) -> Any:
    fused_steps.DECAY = number

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, fused_steps.DECAY)

    return step, {}


@place
def attribute_of_a_module_in_a_package(number: float) -> Any:
    fused_steps.DECAY = number

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, tests.fused_steps.DECAY)

    return step, {}


@place
def attribute_of_a_module_by_name(number: float) -> Any:
    fused_steps.DECAY = number
    name = "DECAY"

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, getattr(fused_steps, name))

    return step, {}


@place
def imported_in_the_step(number: float) -> Any:
    fused_steps.DECAY = number

    def step(state: F.IFState, x: Tensor) -> Any:
        from tests.fused_steps import DECAY

        return advance(state, x, DECAY)

    return step, {}


class Numbers:
    decay = 0.5

    @classmethod
    def get(cls) -> float:
        return cls.decay

    @staticmethod
    def global_one() -> float:
        return SLOPE

    def own(self) -> float:
        return self.decay

    @property
    def seen(self) -> float:
        return SLOPE


class Inheriting(Numbers):
    pass


def number_place(name: str, set_to: Callable[[float], None], number_of: Callable[[], float]) -> None:
    def changed(number: float) -> Any:
        set_to(number)

        def step(state: F.IFState, x: Tensor) -> Any:
            return advance(state, x, number_of())

        return step, {}

    PLACES[name] = changed


def set_class(number: float) -> None:
    Numbers.decay = number


def set_global(number: float) -> None:
    global SLOPE
    SLOPE = number


class Descriptor:
    def __get__(self, instance: Any, owner: Any) -> float:
        return SLOPE


class Described:
    number = Descriptor()


DESCRIBED: Any = Described()
INSTANCE, TABLE = Numbers(), {"numbers": Numbers}
number_place("class_attribute", set_class, lambda: Numbers.decay)
number_place("class_attribute_inherited", set_class, lambda: Inheriting.decay)
number_place("class_attribute_by_instance", set_class, lambda: INSTANCE.decay)
number_place("class_attribute_by_method", set_class, lambda: INSTANCE.own())
number_place("class_attribute_by_classmethod", set_class, lambda: Numbers.get())
number_place("class_attribute_in_a_dict", set_class, lambda: TABLE["numbers"].decay)
number_place("global_by_staticmethod", set_global, lambda: Numbers.global_one())
number_place("global_by_property", set_global, lambda: INSTANCE.seen)
number_place("global_by_descriptor", set_global, lambda: DESCRIBED.number)


class Plain:
    def __init__(self, number: Any) -> None:
        self.number = number


class Nested:
    def __init__(self, number: Any) -> None:
        self.inner = [Plain(number)]


@dataclasses.dataclass
class Data:
    number: float


@dataclasses.dataclass(frozen=True)
class Frozen:
    number: float


class Kind(enum.Enum):
    HALF = 0.5
    MORE = 0.6
    MOST = 0.7


class Settings(NamedTuple):
    number: float


class Attributed(dict[str, float]):
    number: Any


def attributed(number: float) -> Attributed:
    content = Attributed()
    content.number = number
    return content


def attached(number: float) -> Any:
    content: Any = torch.zeros(2)
    content.number = number
    return content


class Integer(int):
    pass


class Text(str):
    __slots__ = ()


NUMBER: Callable[[Any], Any] = lambda content: content.number  # noqa: E731
FIRST: Callable[[Any], Any] = lambda content: content[0]  # noqa: E731
NAMED: Callable[[Any], Any] = lambda content: content["number"]  # noqa: E731
# objects in a closure: how one is made of a number, and how the step reads it
OBJECTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "plain object": (Plain, NUMBER),
    "nested object": (Nested, lambda content: content.inner[0].number),
    "dataclass": (Data, NUMBER),
    "frozen dataclass": (Frozen, NUMBER),
    "SimpleNamespace": (lambda number: types.SimpleNamespace(number=number), NUMBER),
    "NamedTuple": (Settings, NUMBER),
    "Enum": (Kind, lambda content: content.value),
    "list": (lambda number: [number], FIRST),
    "tuple": (lambda number: (number,), FIRST),
    "dict": (lambda number: {"number": number}, NAMED),
    "set": (lambda number: {number}, max),
    "OrderedDict": (lambda number: collections.OrderedDict(number=number), NAMED),
    "defaultdict": (lambda number: collections.defaultdict(float, number=number), NAMED),
    "Counter": (lambda number: collections.Counter(number=number), NAMED),
    "deque": (lambda number: collections.deque([number]), FIRST),
    "MappingProxy": (lambda number: types.MappingProxyType({"number": number}), NAMED),
    "dict with an attribute": (attributed, NUMBER),
    "integer of its own class": (lambda number: Integer(10 * number), lambda content: content / 10),
    "string of its own class": (lambda number: Text(number), float),
    "string": (str, float),
    "Fraction": (fractions.Fraction, float),
    "numpy scalar": (np.float64, lambda content: content),
    "range": (lambda number: range(int(10 * number)), lambda content: len(content) / 10),
    "partial": (lambda number: functools.partial(max, number), lambda content: content(0.0)),
    "keyword partial": (lambda number: functools.partial(Settings, number=number), lambda content: content().number),
    "bound method": (lambda number: functools.partial(Plain, number)().__getattribute__, lambda get: get("number")),
    "attribute of a tensor": (attached, NUMBER),
    "size of a tensor": (lambda number: torch.zeros(int(10 * number)), lambda content: content.shape[0] / 10),
    "nn module": (lambda number: torch.nn.LeakyReLU(number), lambda content: content.negative_slope),
}
for _name, (_make, _read) in OBJECTS.items():
    PLACES[_name] = lambda number, make=_make, read=_read: reading(read)(make(number))  # type: ignore[misc]


@place
def partial_keyword(number: float) -> Any:
    return functools.partial(leaky, decay=number), {}


@place
def partial_positional(number: float) -> Any:
    def step(decay: float, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, decay)

    return functools.partial(step, number), {}


@place
def partial_of_a_partial(number: float) -> Any:
    return functools.partial(functools.partial(leaky, decay=0.1, threshold=0.9), decay=number), {}


@place
def function_attribute(number: float) -> Any:
    _attributed.number = number  # type: ignore[attr-defined]
    return _attributed, {}


def _attributed(state: F.IFState, x: Tensor) -> Any:
    return advance(state, x, _attributed.number)  # type: ignore[attr-defined]


class Neuron:
    def __init__(self, decay: float) -> None:
        self.decay = decay

    def step(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, self.decay)

    def __call__(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, self.decay)


class Cell(torch.nn.Module):
    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def forward(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, self.decay)


class ClassNeuron:
    decay = 0.5

    def __call__(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, self.decay)


@place
def bound_method(number: float) -> Any:
    return Neuron(number).step, {}


@place
def callable_instance(number: float) -> Any:
    return Neuron(number), {}


@place
def callable_module(number: float) -> Any:
    return Cell(number), {}


@place
def callable_with_a_class_attribute(number: float) -> Any:
    ClassNeuron.decay = number
    return ClassNeuron(), {}


class Scaled(NamedTuple):
    """A surrogate of the user's own."""

    beta: float = 1.0

    def __call__(self, u: Tensor) -> Tensor:
        return self.beta * SLOPE * u


def scaled_step(state: F.IFState, x: Tensor, surrogate: Any) -> Any:
    v = surrogate(state.v) + x
    return F.IFState(v), v


@place
def namedtuple_in_params(number: float) -> Any:
    return scaled_step, {"surrogate": Scaled(number)}


@place
def namedtuple_in_a_default(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, surrogate: Any = Scaled(number)) -> Any:  # noqa: B008
        return scaled_step(state, x, surrogate)

    return step, {}


@place
def namedtuple_in_a_closure(number: float) -> Any:
    surrogate = Scaled(number)

    def step(state: F.IFState, x: Tensor) -> Any:
        return scaled_step(state, x, surrogate)

    return step, {}


@place
def namedtuple_that_reads_a_global(number: float) -> Any:
    global SLOPE
    SLOPE = number
    return scaled_step, {"surrogate": Scaled()}


@place
def namedtuple_in_a_closure_that_reads_a_global(number: float) -> Any:
    global SLOPE
    SLOPE = number
    surrogate = Scaled()

    def step(state: F.IFState, x: Tensor) -> Any:
        return scaled_step(state, x, surrogate)

    return step, {}


@place
def function_in_params(number: float) -> Any:
    return scaled_step, {"surrogate": lambda u: number * u}


@place
def object_in_params(number: float) -> Any:
    def step(state: F.IFState, x: Tensor, settings: Any) -> Any:
        return advance(state, x, settings.number)

    return step, {"settings": Plain(number)}


VARIABLE: contextvars.ContextVar[float] = contextvars.ContextVar("VARIABLE")


@place
def context_variable(number: float) -> Any:
    VARIABLE.set(number)

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, VARIABLE.get())

    return step, {}


class Slotted:
    __slots__ = ("number",)

    def __init__(self, number: float) -> None:
        self.number = number


class HalfSlotted(Slotted):
    """Has a dictionary, in which the number is not."""


# what keeps its content out of sight: right, and traced again each time if need be
OPAQUE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "slots": (Slotted, NUMBER),
    "slots of a base class": (HalfSlotted, NUMBER),
    "dataclass with slots": (dataclasses.make_dataclass("Slots", [("number", float)], slots=True), NUMBER),
    "numpy array": (lambda number: np.array([number]), lambda content: float(content[0])),
    "numpy array of no axes": (np.array, lambda content: content.item()),
    "array": (lambda number: array.array("d", [number]), FIRST),
    "bytearray": (lambda number: bytearray([int(10 * number)]), lambda content: content[0] / 10),
    "weak reference": (lambda number: weakref.ref(_kept(Plain(number))), lambda content: content().number),
    "numbers of a tensor": (lambda number: torch.tensor([number]), lambda content: content.tolist()[0]),
}
_alive: list[Any] = []


def _kept(value: Any) -> Any:
    _alive.append(value)
    return value


for _name, (_make, _read) in OPAQUE.items():
    PLACES[_name] = lambda number, make=_make, read=_read: reading(read)(make(number))  # type: ignore[misc]


# these too may be traced again at each call, as long as they are right
AGAIN = {
    *OPAQUE,
    "Counter",
    "Enum",
    "OrderedDict",
    "callable_module",
    "defaultdict",
    "nn module",
    "Fraction",
    "MappingProxy",
    "attribute of a tensor",
    "attribute_of_a_module_by_name",
    "bound method",
    "context_variable",
    "default_positional_only",
    "deque",
    "dict with an attribute",
    "function_attribute",
    "global_by_descriptor",
    "global_by_name",
    "imported_in_the_step",
    "integer of its own class",
    "range",
    "size of a tensor",
    "string of its own class",
}


@pytest.fixture(autouse=True)
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back every number that a place changes."""
    for owner, name in ((fused_steps, "DECAY"), (Numbers, "decay"), (ClassNeuron, "decay")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setitem(globals(), "SLOPE", 0.5)
    monkeypatch.setitem(globals(), "_helper", None)


@pytest.mark.parametrize("name", PLACES)
def test_a_changed_number_changes_the_result(name: str) -> None:
    agrees(PLACES[name])


@pytest.mark.parametrize("name", [name for name in PLACES if name not in AGAIN])
def test_an_equal_number_is_not_traced_again(name: str) -> None:
    agrees(PLACES[name], VALUES[:2])  # some places make one more trace when they are seen for the first time
    traces = agrees(PLACES[name], VALUES[:2])
    assert traces == [0, 0], "the step is traced at each call"


def test_a_state_of_a_type_of_my_own_is_traced_once() -> None:
    def step(state: Pair, x: Tensor) -> tuple[Pair, Tensor]:
        v = 0.5 * state.v + state.i + x
        return Pair(v, 0.9 * state.i), v

    state = Pair(rest().v, rest().v)
    F.scan(step, state, X)
    with counting() as counts:
        F.scan(step, state, X)
    assert (counts.forward, counts.traces) == (1, 0)


def test_an_object_that_changes_in_place() -> None:
    settings, table, items = Plain(0.5), {"a": 0.5}, [0.5]

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, settings.number + table["a"] * items[0])

    def changed(number: float) -> Any:
        settings.number = table["a"] = items[0] = number
        return step, {}

    agrees(changed)


def test_zero_and_minus_zero() -> None:
    def step(state: F.IFState, x: Tensor, number: Any) -> Any:
        v = x / number
        return F.IFState(v), v

    agrees(lambda number: (step, {"number": number}), (0.0, -0.0, 0.0))
    agrees(lambda number: (functools.partial(step, number=number), {}), (0.0, -0.0, 0.0))

    def closed(number: float) -> Any:
        def inside(state: F.IFState, x: Tensor) -> Any:
            return step(state, x, number)

        return inside, {}

    agrees(closed, (0.0, -0.0, 0.0))


def test_numbers_of_other_types_are_told_apart() -> None:
    def step(state: F.IFState, x: Tensor, number: Any) -> Any:
        return advance(state, x, 0.1 if number is True else 0.2 if isinstance(number, int) else number)

    agrees(lambda number: (step, {"number": number}), (1, True, 1.0, 1, True))


def test_the_default_dtype_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, torch.tensor(0.1).double() * torch.full_like(x, 0.3, dtype=torch.get_default_dtype()))

    def place(dtype: torch.dtype) -> Any:
        torch.set_default_dtype(dtype)
        return step, {}

    try:
        agrees(place, (torch.float64, torch.float32))
    finally:
        torch.set_default_dtype(torch.float32)


# --- what a step asks of its surroundings -----------------------------------------------------------------------------


def test_a_branch_on_the_size() -> None:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 if x.shape[-1] > 50 else 0.25)

    with pytest.warns(RuntimeWarning, match="ran on the Python loop .slower. because it reads the size of"):  # noqa: PT031
        for size in (2, 7, 60):
            xs, state = draw(T, size), rest(size)
            got = F.scan(step, state, xs)
            assert torch.equal(got[1], loop(step, state, xs)[1])


def test_a_branch_on_the_number_of_axes() -> None:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 / x.ndim)

    for shape in ((4,), (2, 4), (4,)):
        xs, state = draw(T, *shape), rest(*shape)
        assert torch.equal(F.scan(step, state, xs, backend="fused")[1], loop(step, state, xs)[1])


def test_a_branch_on_gradients() -> None:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 if torch.is_grad_enabled() else 0.25)

    def other(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 if x.requires_grad else 0.25)

    for each, name in ((step, "is_grad_enabled"), (other, "requires_grad")):
        with pytest.warns(RuntimeWarning, match=f"because it asks for {name}, which a trace answers"):  # noqa: PT031
            with torch.no_grad():
                assert torch.equal(F.scan(each, rest(), X)[1], loop(each, rest(), X)[1])
            xs = X.clone().requires_grad_()
            assert torch.equal(F.scan(each, rest(), xs)[1], loop(each, rest(), xs)[1])
            assert torch.equal(F.scan(each, rest(), X)[1], loop(each, rest(), X)[1])


def test_a_float_that_decides_a_branch() -> None:
    def step(state: F.IFState, x: Tensor, threshold: float) -> Any:
        return advance(state, x, 0.5 if threshold > 1 else 0.25 * threshold)

    agrees(lambda number: (step, {"threshold": number}), (0.5, 2.0, 0.7, 0.5, 3.0))


def test_a_float_that_goes_through_math() -> None:
    def step(state: F.IFState, x: Tensor, tau: float) -> Any:
        return advance(state, x, math.exp(-1.0 / tau))

    agrees(lambda number: (step, {"tau": number}), (2.0, 5.0, 2.0, 7.0))


def test_a_mixture_of_a_branch_and_a_tensor_parameter() -> None:
    def step(state: F.IFState, x: Tensor, tau: float, gain: Tensor) -> Any:
        return advance(state, gain * x, math.exp(-1.0 / tau))

    for tau in (2.0, 5.0, 2.0):
        gain = draw(N)
        want = gradients(lambda gain, tau=tau: value(loop(step, rest(), X, {"tau": tau, "gain": gain})), gain)
        got = gradients(
            lambda gain, tau=tau: value(F.scan(step, rest(), X, params={"tau": tau, "gain": gain}, backend="fused")),
            gain,
        )
        torch.testing.assert_close(got, want)


# --- sweeps compile once ----------------------------------------------------------------------------------------------


def compiled() -> int:
    """Return how many kernels were compiled or loaded so far."""
    return cpu.forward_kernel.cache_info().misses + cpu.backward_kernel.cache_info().misses


def sweep_params(number: float) -> Any:
    return leaky, {"decay": number}


def sweep_closure(number: float) -> Any:
    def step(state: F.IFState, x: Tensor) -> Any:
        return leaky(state, x, decay=number, threshold=0.9 * number)

    return step, {}


def sweep_partial(number: float) -> Any:
    return functools.partial(leaky, decay=number, threshold=0.8), {}


def sweep_partial_positional(number: float) -> Any:
    return functools.partial(_decay_first, number), {}


def _decay_first(decay: float, state: F.IFState, x: Tensor) -> Any:
    return leaky(state, x, decay=decay, threshold=0.7)


def sweep_object(number: float) -> Any:
    return Neuron(number).step, {}


def sweep_integer(number: float) -> Any:
    return PLACES["param_integer"](number * 100)


def sweep_surrogate(number: float) -> Any:
    return leaky, {"decay": 0.9, "surrogate": F.Sigmoid(beta=1.0 + 10 * number)}


def sweep_surrogate_closure(number: float) -> Any:
    surrogate = F.Arctan(1.0 + 10 * number)

    def step(state: F.IFState, x: Tensor) -> Any:
        return leaky(state, x, decay=0.9, surrogate=surrogate)

    return step, {}


def sweep_surrogate_lambda(number: float) -> Any:
    surrogate = F.FromPrimitive(lambda u: torch.tanh((1.0 + 10 * number) * u))

    def step(state: F.IFState, x: Tensor) -> Any:
        return leaky(state, x, decay=0.9, surrogate=surrogate)

    return step, {}


SWEEPS = [
    sweep_params,
    sweep_closure,
    sweep_partial,
    sweep_partial_positional,
    sweep_object,
    sweep_integer,
    sweep_surrogate,
    sweep_surrogate_closure,
    sweep_surrogate_lambda,
]


@pytest.mark.parametrize("place", SWEEPS)
def test_a_sweep_compiles_once(place: Place) -> None:
    before: int | None = None
    for k in range(100):
        step, params = place(0.2 + 0.007 * k)
        xs = X.clone().requires_grad_()
        results = F.scan(step, rest(), xs, params=params, backend="fused")
        (got,) = torch.autograd.grad(value(results), xs)
        if k % 33 == 0:
            (want,) = gradients(lambda xs, p=(step, params): value(loop(p[0], rest(), xs, p[1])), X)
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
        before = compiled() if before is None else before
    assert compiled() == before


def test_an_annealed_surrogate_changes_the_gradient() -> None:
    def gradient(beta: float, **backend: Any) -> Tensor:
        xs = X.clone().requires_grad_()
        params = {"decay": 0.9, "surrogate": F.Sigmoid(beta)}
        return torch.autograd.grad(value(F.scan(leaky, rest(), xs, params=params, **backend)), xs)[0]

    found = [gradient(beta) for beta in (1.0, 5.0, 25.0)]
    for beta, got in zip((1.0, 5.0, 25.0), found, strict=True):
        torch.testing.assert_close(got, gradient(beta, backend="loop"), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found[0], found[1])


# --- the caches -------------------------------------------------------------------------------------------------------


def test_the_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_recent", LRUCache(4))
    for _ in range(2):
        for k in range(8):
            step, params = closure(0.1 * k)
            assert torch.equal(F.scan(step, rest(), X, params=params)[1], loop(step, rest(), X, params)[1])
            assert len(programs._recent._entries) <= 4


def test_every_cache_of_the_package_is_bounded() -> None:
    found = {}
    for module in pkgutil.walk_packages(fused.__path__, f"{fused.__name__}."):
        content = vars(importlib.import_module(module.name))
        for name, item in content.items():
            if hasattr(item, "cache_info") and item.__module__.startswith("spikingtorch"):
                code = item.__wrapped__.__code__
                found[name] = item.cache_info().maxsize if code.co_argcount else 1
    assert {"forward_kernel", "backward_kernel"} <= found.keys()
    assert all(found.values()), found


def test_a_step_is_not_kept_alive() -> None:
    content = Plain(0.5)
    gone = weakref.ref(content)
    step, _ = reading(NUMBER)(content)
    F.scan(step, rest(), X)
    del step, content
    gc.collect()
    assert gone() is None
