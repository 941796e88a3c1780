"""A step that changes what is outside of it, or reads what no snapshot holds, runs on the loop, once for each step."""

import itertools
import operator
import types
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F

T, N = 9, 4
X = torch.rand(T, N, generator=torch.Generator().manual_seed(0))
COUNT = 0
LAST: Tensor | None = None
pytestmark = pytest.mark.usefixtures("warn_anew")


def rest() -> F.IFState:
    return F.IFState(torch.zeros(N))


def integrate(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
    v = 0.5 * state.v + x
    return F.IFState(v), v


def that(effect: Callable[[Tensor], Any]) -> Callable[..., Any]:
    def step(state: F.IFState, x: Tensor) -> Any:
        effect(x)
        return integrate(state, x)

    return step


class Counting(nn.Module):
    """What a step may change in an object, or in itself."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Any] = []
        self.count = 0

    def keep(self, x: Tensor) -> None:
        self.log.append(x)

    def forward(self, state: F.IFState, x: Tensor) -> Any:
        self.count += 1
        return integrate(state, x)


class Logging(Counting):
    def __call__(self, state: F.IFState, x: Tensor) -> Any:
        self.keep(x)
        return integrate(state, x)


def keep_in(kept: list[Any], x: Tensor) -> None:
    kept.append(x)


def tick(counting: Any) -> None:
    counting.count += 1


def outside() -> tuple[Callable[[], float], dict[str, Callable[..., Any]]]:
    """Return steps that change what is outside of them, and how often any of them has."""
    log: list[Any] = []
    table: dict[int, Any] = {}
    queue, numbers, module, logging = deque[Any](), itertools.count(), Counting(), Logging()
    tensor, array, count, start = torch.zeros(N), np.zeros(1), 0, COUNT
    inside = {"logs": [log]}
    owner: Any = type("Total", (), {"count": 0})

    def ran() -> float:
        lengths = sum(map(len, (log, table, queue, module.log, logging.log)))
        counts = count + COUNT - start + module.count + owner.count + int(repr(numbers)[6:-1])
        return float(lengths + counts + tensor[-1] + array[0])

    def closure(state: F.IFState, x: Tensor) -> Any:
        log.append(x)
        return integrate(state, x)

    def default_of_an_argument(state: F.IFState, x: Tensor, kept: Any = log) -> Any:
        kept.append(x)
        return integrate(state, x)

    def list_under_another_name(x: Tensor) -> None:
        kept = []
        if x is not None:
            kept = log
        kept.append(x)

    def list_under_another_name_is_added_to(x: Tensor) -> None:
        kept = log
        kept += [x]

    def global_variable(x: Tensor) -> None:
        global COUNT
        COUNT += 1

    def nonlocal_variable(x: Tensor) -> None:
        nonlocal count
        count += 1

    def attribute(x: Tensor) -> None:
        module.count += 1

    def item(x: Tensor) -> None:
        table[len(table)] = x

    def item_of_a_tensor(x: Tensor) -> None:
        tensor[-1] += 1

    in_functions: list[Any] = [list_under_another_name, global_variable, nonlocal_variable, attribute, item]
    in_functions += [item_of_a_tensor, list_under_another_name_is_added_to]
    return ran, {
        "closure": closure,
        "default of an argument": default_of_an_argument,
        **{effect.__name__: that(effect) for effect in in_functions},
        "called object": logging,
        "called module": module,
        "bound method": logging.__call__,
        "method of an object": that(lambda x: module.keep(x)),
        "method of a list": that(log.append),
        "left of a deque": that(lambda x: queue.appendleft(x)),
        "tensor in place": that(lambda x: tensor.add_(1.0)),
        "part of a tensor": that(lambda x: tensor[1:].add_(1.0)),
        "tensor for a result": that(lambda x: torch.add(tensor.clone(), 1.0, out=tensor)),
        "data of a tensor": that(lambda x: setattr(tensor, "data", tensor.data + 1.0)),
        "tensor through numpy": that(lambda x: np.add(tensor.numpy(), 1.0, out=tensor.numpy())),
        "iterator": that(lambda x: next(numbers)),
        "list handed to a function": that(lambda x: keep_in(log, x)),
        "list in a list in a dict": that(lambda x: inside["logs"][0].append(x)),
        "object handed to a function": that(lambda x: tick(module)),
        "class handed to a function": that(lambda x: tick(owner)),
        "function of the library": that(lambda x: operator.setitem(table, len(table), x)),
        "array": that(lambda x: np.add(array, 1.0, out=array)),
    }


# what no trace follows is said of these, and of the others that something outside of them changes
NOT_FOLLOWED = {
    "part of a tensor": "takes a part of its neurons by their number",
    "data of a tensor": r"puts other numbers into a tensor, by \.data",
    "tensor through numpy": "leaves torch, with numpy",
}


@pytest.mark.parametrize("name", outside()[1])
def test_it_runs_once_for_each_step_and_not_to_be_explained_or_refused(name: str) -> None:
    ran, steps = outside()
    step = steps[name]
    assert F.explain_scan(step, rest(), X).backend == "loop"
    assert F.explain_scan(step, F.IFState(torch.zeros(1)), X).backend == "loop"
    said = NOT_FOLLOWED.get(name, "(outside of it|change itself|its parameters)")
    with pytest.raises(ValueError, match=rf"backend='fused' cannot run.*{said}"):
        F.scan(step, rest(), X, backend="fused")
    assert ran() == 0
    advice = "" if name in NOT_FOLLOWED else "one more output, or carry it in the state"
    with pytest.warns(RuntimeWarning, match=f"on the Python loop.*{advice}"):
        got = F.scan(step, rest(), X)[1]
    assert ran() == T
    assert torch.equal(got, F.scan(integrate, rest(), X, backend="loop")[1])
    F.scan(step, rest(), X)
    assert ran() == 2 * T
    if name == "closure":
        with warnings.catch_warnings(action="ignore"):
            torch.compile(lambda xs: F.scan(step, rest(), xs)[1], backend="eager")(X)
        assert ran() == 3 * T


def test_a_network_with_such_a_layer_steps_without_a_trial() -> None:
    ran, steps = outside()
    model = st.SpikingNet(nn.Sequential(st.StepLayer(steps["closure"], F.IFState)), N)
    with pytest.warns(RuntimeWarning, match="a StepLayer, whose step changes a list outside of it"):
        model(torch.rand(2, T, N))
    assert ran() == T


@pytest.mark.parametrize("bound", [False, True])
def test_a_parameter_that_a_step_appends_to(bound: bool) -> None:
    def step(state: F.IFState, x: Tensor, *, log: list[float]) -> Any:
        log.append(1.0)
        return integrate(state, x * len(log))

    def run(backend: Any) -> Tensor:
        params: dict[str, Any] = {"log": [1.0]}
        given: Any = partial(step, **params) if bound else step
        return F.scan(given, rest(), X, params={} if bound else params, backend=backend)[1]

    with pytest.raises(ValueError, match=r"backend='fused' cannot run.*among its parameters"):
        run("fused")
    with pytest.warns(RuntimeWarning, match="changes a list or a dict among its parameters"):
        got = run("auto")
    assert torch.equal(got, run("loop"))
    assert got[-1].mean() > 4 * got[0].mean()


# --- what a step changes that is its own, or reads of others ----------------------------------------------------------


@dataclass(frozen=True)
class Gains:
    high: float = 0.5

    def double(self) -> float:
        return 2 * self.high


class Kinetics:
    def __init__(self) -> None:
        self.gain = 0.5

    def set_gain(self, gain: float) -> None:
        self.gain = gain


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.factor = 2.0
        return 2.0 * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * float(ctx.factor)


WEIGHTS, KINETICS, GAINS = [0.5, 0.25], Kinetics(), Gains()


def with_local_containers(state: F.IFState, x: Tensor) -> Any:
    found, names, currents = {"a": x}, {"a"}, []
    found.update(b=2 * x)
    names.add("b")
    found["c"] = 3 * x
    currents.append(found.pop("a"))
    return integrate(state, currents[0] + found["c"])


def beside_objects_that_are_read(state: F.IFState, x: Tensor) -> Any:
    total: Any = Doubled.apply(x)  # type: ignore[no-untyped-call]
    total += (KINETICS.gain + GAINS.double()) * x
    total.mul_(0.5)

    def add(more: Tensor) -> None:
        nonlocal total
        total = total + more

    add(0.5 * x)
    currents = [total]
    for weight in WEIGHTS:
        currents.append(weight * x)  # noqa: PERF401
    return integrate(state, total.add(state.v).add(currents[2]))


@pytest.mark.parametrize("step", [with_local_containers, beside_objects_that_are_read])
def test_a_step_may_change_what_it_has_made_itself(step: Any) -> None:
    got = F.scan(step, rest(), X, backend="fused")[1]
    assert torch.equal(got, F.scan(step, rest(), X, backend="loop")[1])


# --- what a trace leaves as it was ------------------------------------------------------------------------------------


def test_what_a_trace_has_changed_is_put_back() -> None:
    """Order and identity included: whoever holds a list sees its own items, and no examples."""
    first, queue, names = torch.ones(1), deque([0.5, 0.5, 0.9]), {"a"}
    kept: dict[str, Any] = {"b": [first], "a": {"c": 1}}

    def change(kept: dict[str, Any]) -> None:
        kept["b"].insert(0, kept.pop("a"))
        kept.setdefault("new", 0)
        queue.rotate(1)
        names.add("new")

    assert F.explain_scan(that(lambda x: change(kept)), rest(), X).backend == "loop"
    assert [*kept] == ["b", "a"]
    assert kept["a"] == {"c": 1}
    assert kept["b"][0] is first
    assert [*queue] == [0.5, 0.5, 0.9]
    assert names == {"a"}


SETTINGS = types.ModuleType("settings")


def keeps_the_last(state: F.IFState, x: Tensor) -> Any:
    global LAST
    LAST = x  # without a look at it before
    return integrate(state, x)


def sets_the_last(state: F.IFState, x: Tensor) -> Any:
    SETTINGS.last = x  # type: ignore[attr-defined]
    return integrate(state, x)


@pytest.mark.parametrize(("step", "name"), [(keeps_the_last, "LAST"), (sets_the_last, "last")])
def test_a_variable_that_is_changed_is_named_and_put_back(step: Any, name: str) -> None:
    def found() -> Any:
        return LAST if name == "LAST" else getattr(SETTINGS, "last", None)

    assert F.explain_scan(step, rest(), X).backend == "loop"
    assert found() is None
    with pytest.warns(RuntimeWarning, match=f"it changes {name}, a variable outside of it"):
        F.scan(step, rest(), X)
    assert torch.equal(found(), X[-1])
