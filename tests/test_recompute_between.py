"""Changes between a call and its backward pass, in which chunks run again, beside networks that keep everything."""

import itertools
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import spikingtorch as st
from spikingtorch import functional as F
from tests.folded_layer import Lambda
from tests.test_recompute import T, agree, around, of, slopes

pytestmark = [pytest.mark.sampled, pytest.mark.filterwarnings("ignore:SpikingNet.* runs step by step:RuntimeWarning")]


def network(*middle: Any, **options: Any) -> tuple[Any, Tensor]:
    return of(around(*middle), **options)


def gains() -> nn.Module:
    """Return what scales its input by a tensor that is no buffer, and drops some of it."""
    parts = {"gain": torch.linspace(0.5, 2.0, 6, dtype=torch.float64), "sparse": nn.Buffer(torch.eye(6).to_sparse())}
    return Lambda(lambda own, x: own.drop(x * own.gain), drop=nn.Dropout(0.3), **parts)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a time constant": lambda model: setattr(model.net[2], "tau", 9.0),
    "a surrogate": lambda model: setattr(model.net[2], "surrogate", F.Triangular()),
    "a tensor that is no buffer": lambda model: setattr(model.net[1], "gain", torch.full((6,), 3.0)),
    "a dropout that drops more": lambda model: setattr(model.net[1].drop, "p", 0.9),
    "a layer": lambda model: model.net.__setitem__(3, nn.Linear(6, 2).double()),
    "a layer less": lambda model: model.net.__delitem__(4),
    "a parametrization": lambda model: parametrizations.weight_norm(model.net[3]),
    "frozen": lambda model: model.requires_grad_(False),
    "the mode": lambda model: setattr(model, "mode", "step"),
    "a hook": lambda model: model.net[3].register_forward_hook(lambda module, given, out: 2 * out),
}


@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_chunk_runs_again_as_it_was(change: str, mode: Any) -> None:
    def act(again: bool) -> Any:
        model, x = network(gains, recompute=again, mode=mode)
        weights = [*model.parameters()]
        model(x.detach())
        torch.manual_seed(2)
        starts = torch.tensor([True, False, True, False])
        out = model(x, init=starts)
        starts.fill_(True)  # which is the caller's
        CHANGES[change](model)
        now = {name: (dict(vars(each)), [*each.named_children()]) for name, each in model.net.named_modules()}
        found = slopes(out, [x] if change == "frozen" else [x, *weights])
        for name, each in model.net.named_modules():  # and everything is afterwards as it is now
            after = {key: value for key, value in vars(each).items() if not key.startswith("_")}
            assert all(value is now[name][0][key] for key, value in after.items())
            assert [*each.named_children()] == now[name][1]
        assert all(weight.requires_grad is (change != "frozen") for weight in model.parameters())
        return found

    agree(act)


class Keeps(nn.Module):
    """A module that keeps something of its own from step to step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.count, self.v = kind, 1, torch.zeros(1)
        self.line: deque[Any] = deque([0.0, 0.0])
        self.held: dict[str, Any] = {"v": 0.0}

    def forward(self, x: Tensor) -> Any:
        if self.kind == "a counter":
            self.count += 1
            return x * self.count
        if self.kind == "a tensor":
            self.v = 0.5 * self.v + x
            return self.v
        if self.kind == "a name that comes later":
            self.later = 0.5 * getattr(self, "later", 0.0) + x
            return self.later
        if self.kind == "a dict":
            v: Tensor = 0.5 * self.held["v"] + x
            self.held["v"] = v
            return v
        self.line.append(x)
        return x + self.line.popleft()


class Noise(nn.Module):
    """Scales its input by random numbers of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.own = kind, torch.Generator().manual_seed(3)
        self.list, self.numpy, self.old = [self.own], np.random.default_rng(3), np.random.RandomState(3)
        self.python = random.Random(3)
        if kind == "list":
            del self.own

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("own", "list"):
            return x * torch.rand(x.shape, generator=self.list[0], dtype=x.dtype)
        if self.kind == "python":
            return x * self.python.random()
        return x * torch.from_numpy(self.numpy.random(x.shape) if self.kind == "numpy" else self.old.rand(*x.shape))


class Writes(nn.Module):
    """Writes on a buffer that another module reads, and on a tensor that is no buffer."""

    seen: Tensor

    def __init__(self, apart: bool = False) -> None:
        super().__init__()
        self.register_buffer("seen", torch.ones(1))
        self.apart, self.counted = apart, torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        if self.apart:
            self.counted.add_(1.0)
            return x * self.counted.clone()
        self.seen.add_(0.25)
        return x


def averages(own: Any, x: Tensor) -> Tensor:
    """Write on a buffer through ``.data``, and do not read it."""
    own.mean.data.mul_(0.9).add_(x.detach().mean())
    return x


class Reads(nn.Module):
    """Writes on the buffer of another module, and reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = Writes()
        self.register_buffer("seen", self.writes.seen)

    def forward(self, x: Tensor) -> Tensor:
        return self.writes(x) * x * self.seen.clone()  # type: ignore[operator]


OWN: dict[str, Callable[[], nn.Module]] = {
    **{
        kind: lambda kind=kind: Keeps(kind)  # type: ignore[misc]
        for kind in ("a counter", "a tensor", "a name that comes later", "a dict", "a delay line in a deque")
    },
    **{
        f"a generator, {kind}": lambda kind=kind: Noise(kind)  # type: ignore[misc]
        for kind in ("own", "list", "numpy", "old", "python")
    },
    "a buffer of two modules": Reads,
    "a statistic through .data": lambda: Lambda(averages, mean=nn.Buffer(torch.zeros((), dtype=torch.float64))),
    "a lazy layer": lambda: nn.LazyLinear(6),
}


@pytest.mark.parametrize("kind", OWN)
def test_modules_that_keep_something_of_their_own(kind: str) -> None:
    def act(again: bool) -> Any:
        model, x = network(OWN[kind], recompute=again, mode="step")
        torch.manual_seed(1)
        out = model(x)
        found, own = slopes(out, [x, *model.parameters()]), model.net[1]
        kept = (own.count, own.v, [*own.line], {**own.held}) if isinstance(own, Keeps) else ()
        return found, kept, dict(model.named_buffers()), model(x)

    agree(act)


def test_a_backward_pass_in_inference_mode() -> None:
    def act(again: bool) -> Any:
        model, x = network(recompute=again)
        total = model(x).square().sum()
        with torch.inference_mode():
            found = torch.autograd.grad(total, [x, *model.parameters()])
        return [each.clone() for each in found]

    agree(act)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_tensors_that_were_written_on_are_an_error() -> None:
    model, x = network(recompute=True, mode="step")
    model(x)
    v = model.net[1].v
    out = model(x, init=False)
    v.zero_()
    with pytest.raises(RuntimeError, match=r"the state of a layer of shape \(4, 6\) has changed .*layer.v.clone\(\)"):
        out.sum().backward()
    params = {name: each.detach().clone().requires_grad_() for name, each in model.named_parameters()}
    weight = model.net[2].weight
    changes: list[tuple[Any, Any]] = [
        (lambda: st.run(model, None, x, params=params)[2], lambda: params["net.2.weight"].mul_(2.0)),
        (lambda: model(x), lambda: setattr(weight, "data", weight.data.clone())),
        (lambda: model(x), lambda: model.net[2].bias.mul_(0.5)),
    ]
    for call, change in changes:
        out = call()
        with torch.no_grad():
            change()
        with pytest.raises(
            RuntimeError,
            match=r"(weight|bias), a parameter of shape .* has changed .*backward\(\) before optimizer\.step",
        ):
            out.sum().backward()
    model(x).sum().backward()
    model, x = network(lambda: Writes(apart=True), recompute=True, mode="step")
    with pytest.raises(RuntimeError, match=r"counted, a tensor of shape .* has changed .*register_buffer\('counted'"):
        model(x).sum().backward()


def test_cached_parametrizations_are_refused() -> None:
    model, x = network(lambda: parametrizations.weight_norm(nn.Linear(6, 6)), recompute=True)
    with parametrize.cached(), pytest.raises(ValueError, match=r"does not work inside .*parametrize.cached\(\)"):
        model(x)


GLOBAL: dict[str, Any] = {}


class Outside(nn.Module):
    """Depends on what no module holds."""

    total = 0

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.array, self.steps, self.held = kind, np.zeros(1), itertools.count(), SimpleNamespace(count=0)
        GLOBAL.update(count=0, torch=torch.Generator().manual_seed(3), numpy=np.random.default_rng(3))

    def forward(self, x: Tensor) -> Tensor:
        GLOBAL["count"] += 1
        self.array += 1
        self.held.count += 1
        Outside.total += 1
        if self.kind in MOVES:  # in the second runs
            return x.roll(GLOBAL["count"] // (T + 1), MOVES[self.kind])
        return x * (1 + 0.1 * float(OUTSIDE[self.kind](self)))


MOVES = {"neurons change places": 1, "spikes of samples change places": 0}
OUTSIDE: dict[str, Callable[[Outside], Any]] = {
    "a global variable": lambda own: GLOBAL["count"],
    "a generator of torch": lambda own: torch.rand((), generator=GLOBAL["torch"]),
    "a generator of NumPy": lambda own: GLOBAL["numpy"].random(),
    "an iterator": lambda own: next(own.steps),
    "an array": lambda own: own.array[0],
    "an object": lambda own: own.held.count,
    "a class attribute": lambda own: Outside.total,
}


@pytest.mark.parametrize("place", [1, 3])
@pytest.mark.parametrize("kind", [*OUTSIDE, *MOVES])
def test_a_second_run_that_differs_is_an_error(kind: str, place: int) -> None:
    model, x = network(recompute=True, mode="step")
    model.net.insert(place, Outside(kind))
    reader = r"the inputs of 2 \(LIF\)" if place == 1 else r"the inputs of 4 \(LI\)"
    with pytest.raises(RuntimeError, match=f"{reader} are not those of the first run.*Keep it in a buffer"):
        model(x).sum().backward()


def test_a_second_run_after_an_edit_of_memory_is_an_error() -> None:
    edits: dict[str, Callable[[Any], Any]] = {
        r"inputs of 1 \(LIF\)": lambda model: model.net[0].weight.data.mul_(2.0),
        r"outputs of Sequential|inputs of 3": lambda model: model.net[2].weight.detach().numpy().__imul__(2.0),
        r"parameters of 1 \(LIF\)": lambda model: model.net[1].tau.data.add_(0.1),
    }
    for said, edit in edits.items():
        model, x = network(recompute=True)
        model.net[1] = st.LIF(tau=3.0, threshold=0.3, learnable="tau").double()
        out = model(x)
        edit(model)
        with pytest.raises(RuntimeError, match=f"the ({said}).* are not those of the first run"):
            out.sum().backward()


class Slotted:
    """A surrogate without a ``__dict__``, whose slope an array holds."""

    __slots__ = ("slope",)

    def __init__(self) -> None:
        self.slope = np.array([5.0])

    def __call__(self, u: Tensor) -> Tensor:
        return sloped(u, SimpleNamespace(slope=self.slope.item()))


def sloped(u: Tensor, settings: Any) -> Tensor:
    return F.FastSigmoid(settings.slope)(u)


SLOTTED, GIVEN = Slotted(), SimpleNamespace(slope=5.0)
SLOPES: dict[str, tuple[Any, Any]] = {  # the surrogate, and what changes its slope
    "a global": (lambda: F.Sigmoid(GLOBAL["slope"]), lambda: GLOBAL.update(slope=4.0)),
    "an array in a slot": (lambda: SLOTTED, lambda: SLOTTED.slope.__isub__(1.0)),
    "a partial": (lambda: F.FromDerivative(partial(sloped, settings=GIVEN)), lambda: setattr(GIVEN, "slope", 4.0)),
    "a method": (lambda: F.FromDerivative(SLOTTED.__call__), lambda: SLOTTED.slope.__isub__(1.0)),
}


class Annealed(st.LIF):
    """Reads the slope of its surrogate from elsewhere: outputs are equal, gradients are not."""

    kind: str

    def step_params(self) -> dict[str, Any]:
        return {**super().step_params(), "surrogate": SLOPES[self.kind][0]()}


@pytest.mark.parametrize("kind", SLOPES)
def test_a_slope_that_has_changed_is_an_error(kind: str) -> None:
    GLOBAL["slope"] = 5.0
    model, x = network(lambda: Annealed(tau=3.0, threshold=0.3), recompute=True, mode="step")
    model.net[1].kind = kind
    out = model(x)
    model(x).sum().backward()
    SLOPES[kind][1]()
    with pytest.raises(RuntimeError, match=r"the parameters of 1 \(Annealed\) are not those"):
        out.sum().backward()


class Anew(st.LIF):
    """Makes its surrogate anew in each step."""

    def step_params(self) -> dict[str, Any]:
        slope = 5.0
        return {**super().step_params(), "surrogate": F.FromDerivative(lambda u: 1 / (1 + slope * u * u))}


def test_a_function_that_is_made_anew_is_no_difference() -> None:
    agree(lambda again: slopes(*_called(lambda: Anew(tau=3.0, threshold=0.3), again)))


def _called(make: Callable[[], nn.Module], again: bool) -> tuple[Tensor, list[Tensor]]:
    model, x = network(make, recompute=again, mode="step")
    return model(x), [x, *model.parameters()]
