"""Calls that are interrupted at any instruction: the next one computes what it did before, and nothing stays behind."""

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

import spikingtorch as st
from spikingtorch.fold.proof import prove
from spikingtorch.functional.core import freed_memory
from spikingtorch.functional.core.surroundings import python_random_state
from tests.interrupts import Point, interrupted, points_of

X = (torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()
LENGTHS = torch.tensor([6, 3, 1])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.l1, self.lif = nn.Linear(8, 8), st.LIF(tau=3.0, v0=0.3)
        self.l2, self.rnn = nn.Linear(8, 4), st.LIF(tau=2.0, v0=0.2, recurrent=nn.Linear(4, 4, bias=False))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes: Tensor = self.rnn(self.l2(self.lif(self.l1(x))), init)
        return spikes.reshape(x.shape[0], 4)  # who asks for a size is looked at for each number of samples


@pytest.fixture(autouse=True)
def kept_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep freed memory at every call, whatever ran before: it decides which instructions a call runs."""
    state = freed_memory._State()
    state.keeps = True
    monkeypatch.setattr(freed_memory, "_state", state)
    monkeypatch.setattr(freed_memory, "CALLS", 2**62)


def plain(model: Any, x: Tensor) -> list[Tensor]:
    return [model(x)]


def trained(model: Any, x: Tensor) -> list[Tensor]:
    out = model(x)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), list(model.parameters()))]


def monitored(model: Any, x: Tensor) -> list[Tensor]:
    """Return outputs, and what a monitor has counted that is opened once."""
    monitor = model.net.lif._monitor or st.SpikeMonitor(model, every=1).__enter__()
    monitor.reset()
    out = model(x)
    return [out, torch.tensor([*monitor.metrics().values()])]


def recorded(model: Any, x: Tensor) -> list[Tensor]:
    recording = st.record(model, x, ("spikes", "v"))
    return [recording.out, *[each for records in recording.values() for each in records.values()]]


def streamed(model: Any, x: Tensor) -> list[Tensor]:
    return [model(x[:, :4]), model(x[:, 4:], init=False)]


class Way(NamedTuple):
    """How a network is called.

    Attributes:
        call: the model.
        first: whether it is called for the first time, and proven to fold.
        options: of the model.
    """

    call: Callable[[Any, Tensor], list[Tensor]] = plain
    first: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012

    def model(self) -> Any:
        """Return a model, called until all is known that a call finds out, unless it is for the first time."""
        net = Net()
        if self.options.get("hooks"):
            net.l1.register_forward_hook(looks)
        model = st.SpikingNet(net, **self.options).eval()
        for _ in range(0 if self.first else 2):
            self.call(model, X)
        return model


def looks(*_: Any) -> None:
    """Look, as a hook does."""


WAYS = {
    "again": Way(),
    "in steps": Way(options={"mode": "step"}),
    "folded": Way(options={"mode": "fold"}),
    "trained": Way(trained),
    "in chunks": Way(trained, options={"time_chunk": 2}),
    "monitored": Way(monitored),
    "recorded": Way(recorded),
    "summed": Way(lambda model, x: [torch.tensor([st.summary(model, x).synops])]),
    "streamed": Way(streamed),
    "of lengths": Way(lambda model, x: [model(x, lengths=LENGTHS)]),
    "hooked": Way(options={"hooks": "sequence"}),
    "first": Way(first=True),
    "first, trained": Way(trained, first=True),
}


def of_torch() -> tuple[Any, ...]:
    """Return what of torch no call is to change."""
    stacks = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # pyright: ignore[reportAttributeAccessIssue]
    modes = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()
    return *stacks, hooks, torch.is_grad_enabled(), *modes, is_in_torch_dispatch_mode()


def drawn() -> tuple[Any, ...]:
    """Return where random numbers are."""
    return *python_random_state(), torch.get_rng_state().numpy().tobytes()


def is_free(model: Any) -> bool:
    """Say whether another thread may call a model."""
    found: list[bool] = []

    def ask() -> None:
        with contextlib.ExitStack() as stack:
            found.append(model._lock.acquire(timeout=5))
            if found[0]:
                stack.callback(model._lock.release)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def left_behind(model: Any) -> list[str]:
    """Return what of a call has stayed in a model."""
    layers = [layer for layer in model.modules() if isinstance(layer, st.StepLayer)]
    names = ("_frame", "_recorder")
    found = [name for layer in layers for name in names if getattr(layer, name) is not None]
    found += ["a hook" for hook in model.net.l1._forward_hooks.values() if hook is not looks]
    found += ["a mode"] if model._watching is not None else []
    return found + (["what is to be undone"] if model._lock._undos else [])


def attempt(way: Way, model: Any, point: Point) -> tuple[bool, Any]:
    """Interrupt a call at a point; say whether it was interrupted there, and refer weakly to its input."""
    x = X.clone()
    return interrupted(partial(way.call, model, x), point), weakref.ref(x)


def check(way: Way, model: Any, point: Point, want: list[Tensor]) -> bool:
    """Interrupt a call at a point, and look what stays of it; say whether it was interrupted there."""
    before = of_torch(), drawn()
    came, alive = attempt(way, model, point)
    assert (of_torch(), drawn()) == before, point
    assert not left_behind(model), f"{left_behind(model)} {point}"
    assert is_free(model), point
    assert all(map(torch.equal, way.call(model, X), want)), point
    assert model.explain(X).mode == ("step" if model.mode == "step" else "fold"), point
    assert alive() is None or (gc.collect() >= 0 and alive() is None), point
    return came


def points_in(way: Way) -> list[Point]:
    """Return the instructions that a call runs, at the first or the last time that it runs each."""
    runs = points_of(partial(way.call, way.model(), X))
    return [point._replace(time=(times - 1) * (place % 2)) for place, (point, times) in enumerate(runs.items())]


def interrupt(way: Way, points: list[Point]) -> None:
    """Interrupt a call at each of some points."""
    want, model = way.call(way.model(), X), way.model()
    came = [check(way, way.model() if way.first else model, point, want) for point in points]
    missed = [point for point, each in zip(points, came, strict=True) if not each]
    # a first call may not come there again: what the one before has left in the process's caches it finds made
    assert len(missed) <= (0.1 * len(points) + 1 if way.first else 0), [*map(str, missed)]


class Lazy(Net):
    """A network that makes something for itself at its first call."""

    made: Tensor | None = None

    def forward(self, x: Tensor, init: Any) -> Tensor:
        if self.made is None:
            self.made = torch.tensor(2.0)
        return super().forward(self.made * x, init)


@pytest.mark.filterwarnings("error")  # of a network that changes at each call
def test_a_first_call_that_is_interrupted_before_it_changes_the_network_counts_for_nothing() -> None:
    want = st.SpikingNet(Lazy())(X)
    model = st.SpikingNet(Lazy())
    assert interrupted(partial(model, X), Point(Lazy.forward.__code__, -1, time=2))  # behind the proof
    assert model.net.made is None
    assert all(torch.equal(model(X), want) for _ in range(3))
    assert model.explain().mode == "fold"


class Scaled(Net):
    scale = 1.0

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return super().forward(self.scale * x, init)


@pytest.mark.filterwarnings("error")  # of a network that is another one at each call, and not proven to fold
def test_proofs_that_are_interrupted_count_for_nothing() -> None:
    model = st.SpikingNet(Scaled())
    for _ in range(20):
        assert interrupted(partial(model, X), Point(prove.__code__, -1))
    for scale in (1.0, 2.0, 3.0):
        model.net.scale = scale  # type: ignore[assignment]
        out = model(X)
        assert model.explain().mode == "fold"
        model.mode = "step"
        assert torch.equal(model(X), out)
        model.mode = "auto"


@pytest.mark.sampled
@pytest.mark.parametrize("name", WAYS)
def test_an_interrupted_call_leaves_everything_as_it_was(name: str) -> None:
    points = points_in(WAYS[name])
    interrupt(WAYS[name], points[:: len(points) // 3])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "share", [pytest.param(12, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.night)], ids=["some", "all"]
)
def test_calls_are_interrupted_at_thousands_of_instructions(share: int) -> None:
    """At each that no way to call before has run; but of first calls, which take long, at three hundred."""
    known: set[tuple[CodeType, int]] = set()
    number = 0
    for way in WAYS.values():
        points = points_in(way)
        new = [point for point in points if point[:2] not in known]
        chosen = (points[:: len(points) // 300] if way.first else new)[::share]
        known.update(point[:2] for point in new)
        number += len(chosen)
        interrupt(way, chosen)
    assert number > 2000 // share
