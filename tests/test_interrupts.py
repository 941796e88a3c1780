"""Calls that are interrupted at any instruction, or forked: the next one computes what it did, and nothing stays."""

import gc
import random
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack
from torch._C._autograd import _top_saved_tensors_default_hooks
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS, Two
from tests.contract.oracle import draw
from tests.contract.test_ways import assert_as_the_oracle
from tests.contract.ways import WAYS
from tests.interrupts import Point, interrupted, points_of
from tests.processes import child

pytestmark = pytest.mark.usefixtures("one_thread")
# a whole call while a monitor is open: an interrupt within ``with`` itself may leave it open, as Python has it
WATCHED = "whole, watched"
# networks, ways to call them, modes; and whether it is their first call, in which a network is proven to fold
CASES = [
    ("two", "whole", "auto", False),
    ("two", "whole", "step", False),
    ("recurrent", "whole", "fold", False),
    ("two", "parts", "auto", False),
    ("recurrent", "chunks", "auto", False),
    ("two", "run again", "auto", False),
    ("recurrent", WATCHED, "auto", False),
    ("two", "recorded", "auto", False),
    ("two", "looked at", "auto", False),
    ("two", "lengths", "auto", False),
    ("branches", "checkpointed", "step", False),
    ("two", "whole", "auto", True),
    ("recurrent", "whole", "auto", True),
]
cases = pytest.mark.parametrize(("name", "way", "mode", "first"), CASES)
Work = Callable[[Any, Tensor], Any]


def of_torch() -> tuple[Any, ...]:
    """Return what of torch no call is to change."""
    stacks = _len_torch_function_stack(), _len_torch_dispatch_stack(), _top_saved_tensors_default_hooks(True)
    modes = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()
    return *stacks, torch.is_grad_enabled(), *modes, is_in_torch_dispatch_mode()


def drawn() -> tuple[Any, ...]:
    """Return where random numbers are."""
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # type: ignore[index]


def is_free(model: Any) -> bool:
    """Say whether another thread may call a model."""
    thread = threading.Thread(target=model, args=(draw(3),))
    thread.start()
    thread.join(30)
    return not thread.is_alive()


def made(name: str, way: str, mode: Any, first: bool) -> tuple[Any, Work]:
    """Return a model, called until all is known that a call finds out, unless it is for the first time; and a call."""
    called = WAYS[way.partition(",")[0]]
    model = NETWORKS[name].model(mode=mode, **called.options)
    if way == WATCHED:
        st.SpikeMonitor(model, every=1).__enter__()

    def work(model: Any, x: Tensor) -> None:
        out, _ = called.run(model, x)
        if called.cuts is not None:
            out.sum().backward()
        model.zero_grad()

    for _ in range(0 if first else 2):
        work(model, draw(1).requires_grad_())
    return model, work


def points_in(case: tuple[str, str, str, bool]) -> list[Point]:
    """Return the instructions that a call runs, at the first or the last time that it runs each."""
    model, work = made(*case)
    runs = points_of(partial(work, model, draw(1).requires_grad_()))
    # a mode that the test's own code enters is not the library's to leave
    runs = {point: times for point, times in runs.items() if not point.code.co_filename.endswith("ways.py")}
    times = [(times - 1) * (place % 2) for place, times in enumerate(runs.values())]
    return [Point(point.code, point.place, time) for point, time in zip(runs, times, strict=True)]


def check(case: tuple[str, str, str, bool], model: Any, work: Work, point: Point) -> bool:
    """Interrupt a call at a point, and look what stays of it; say whether it was interrupted there."""
    name, way, mode, _ = case
    before, x = (of_torch(), drawn()), draw(1).requires_grad_()
    came, alive = interrupted(partial(work, model, x), point), weakref.ref(x)
    del x
    assert (of_torch(), drawn()) == before, point
    assert is_free(model), point
    model.reset()
    model.zero_grad()
    assert_as_the_oracle(NETWORKS[name], WAYS[way.partition(",")[0]], mode, model)
    assert model.explain(draw(1)).mode == ("step" if mode == "step" else "fold"), point
    if alive() is not None:  # not within the assertion, which would keep it
        gc.collect()
    assert alive() is None, point
    return came


def interrupt(case: tuple[str, str, str, bool], points: list[Point]) -> None:
    """Interrupt a call at each of some points."""
    model, work = made(*case)
    came = [check(case, made(*case)[0] if case[3] else model, work, point) for point in points]
    # what an earlier call has left in caches or in freed memory is found made, so that a few points are not come to
    assert sum(came) >= 0.75 * len(points), [*map(str, points)]


@pytest.mark.sampled
@cases
def test_an_interrupted_call_leaves_everything_as_it_was(name: str, way: str, mode: str, first: bool) -> None:
    case = name, way, mode, first
    points = points_in(case)
    interrupt(case, points[:: len(points) // 3])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "share", [pytest.param(12, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.night)], ids=["some", "all"]
)
def test_calls_are_interrupted_at_thousands_of_instructions(share: int) -> None:
    """At each that no way to call before has run; but of first calls, which take long, at three hundred."""
    known: set[tuple[CodeType, int]] = set()
    number = 0
    for case in CASES:
        points = points_in(case)
        new = [point for point in points if point[:2] not in known]
        chosen = (points[:: len(points) // 300] if case[3] else new)[::share]
        known.update(point[:2] for point in new)
        number += len(chosen)
        interrupt(case, chosen)
    assert number > 2000 // share


class Lazy(Two):
    """A network that makes something for itself at its first call."""

    made: Tensor | None = None

    def forward(self, x: Tensor, init: Any) -> Tensor:
        if self.made is None:
            self.made = torch.tensor(2.0)
        return super().forward(self.made * x, init)


@pytest.mark.filterwarnings("error")  # of a network that changes at each call
def test_a_first_call_that_is_interrupted_before_it_changes_the_network_counts_for_nothing() -> None:
    x = draw(1).float()
    torch.manual_seed(0)
    model = st.SpikingNet(Lazy())
    assert interrupted(partial(model, x), Point(Lazy.forward.__code__, -1, time=2))  # behind the proof
    assert model.net.made is None
    outs = [model(x) for _ in range(3)]
    torch.manual_seed(0)
    assert torch.equal(outs[0], st.SpikingNet(Lazy(), mode="step")(x))
    assert all(torch.equal(out, outs[0]) for out in outs[1:])
    assert model.explain().mode == "fold"


class Scaled(Two):
    scale = 1.0

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return super().forward(self.scale * x, init)


@pytest.mark.filterwarnings("error")  # of a network that is another one at each call, and not proven to fold
def test_proofs_that_are_interrupted_count_for_nothing() -> None:
    model, x = st.SpikingNet(Scaled()), draw(1).float()
    for time in range(20):
        assert interrupted(partial(model, x), Point(Scaled.forward.__code__, -1, time=time % 3))  # within the proof
    for scale in (1.0, 2.0, 3.0):
        model.net.scale = scale  # type: ignore[assignment]
        out = model(x)
        assert model.explain().mode == "fold"
        model.mode = "step"
        assert_close(model(x), out)
        model.mode = "auto"


# a thread is held in a layer of the network while another one forks; what the child does has a time limit. Each case
# runs in a process of its own
HELD = """
import os, signal, sys, threading, warnings, torch
from torch import nn
import spikingtorch as st
from spikingtorch.fold.proof_fold import ProofFold

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
inside, go, held = threading.Event(), threading.Event(), False

def hold():
    if threading.current_thread() is thread and held:
        inside.set()
        assert go.wait(60)

class Holds(nn.Module):
    def forward(self, x):
        hold()
        return x.clone()

def run(*given):
    hold()
    return rehearse(*given)

rehearse, ProofFold.run = ProofFold.run, run

thread = None
for case in [(mode, held_in) for mode in ("fold", "step") for held_in in ("call", "proof", "record", "monitor")]:
    tried = os.fork()
    if tried == 0:
        break
    print(*case, os.waitstatus_to_exitcode(os.waitpid(tried, 0)[1]))
else:
    sys.exit()
mode, held_in = case
model = st.SpikingNet(nn.Sequential(st.LIF(), Holds(), st.LIF(v0=0.2)), mode=mode, hooks="sequence")
model.net[1].register_forward_hook(lambda *_: None)
x = torch.rand(4, 6, 8)
layer, fresh = st.LIF(), st.LIF()
with torch.no_grad():
    want, more = model(x), model(x, init=False)
    alone = fresh(x[:, 0], init=True)
    spikes = st.record(model, x)["0"]["spikes"]
held = True
work = {
    "call": lambda: model(x),
    "proof": lambda: st.SpikingNet(nn.Sequential(st.LIF()))(x),
    "record": lambda: st.record(model, x),
    "monitor": lambda: st.SpikeMonitor(model).__enter__() and model(x),
}[held_in]
thread = threading.Thread(target=lambda: torch.no_grad()(work)())
thread.start()
assert inside.wait(60)
forked = os.fork()
if forked == 0:
    signal.alarm(60)
    with torch.no_grad():
        assert torch.equal(model(x, init=False), more), "goes on from the last call that came to its end"
        assert torch.equal(model.net[0](x[:, 0], init=True), alone), "a layer by itself"
        assert torch.equal(model(x), want), "the model"
        assert torch.equal(model(x, init=False), more), "the model, going on"
        assert torch.equal(st.record(model, x)["0"]["spikes"], spikes), "record"
        assert torch.equal(st.SpikingNet(nn.Sequential(st.LIF(), st.LIF(v0=0.2)))(x), want), "a model of its own"
        assert model.explain().mode == mode and model.get_state()
        state, out = st.functional.scan(st.functional.if_step, st.functional.IFState(torch.zeros(4, 8)), x, dim=1)
        assert out.shape == x.shape
    os._exit(7)
_, status = os.waitpid(forked, 0)
go.set()
thread.join()
os._exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.long
def test_a_child_is_right_whose_parent_was_inside_a_call() -> None:
    said = child(HELD).splitlines()
    assert len(said) == 8
    assert all(line.endswith(" 7") for line in said), said
