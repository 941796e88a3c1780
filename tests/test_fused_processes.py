"""The fused scan in threads and processes, and with any number of threads."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.testing import assert_close
from tests.caches import forget
from tests.fused_steps import counting, draw, gradients, leaky, loop, stack, value

ROOT = Path(__file__).parent.parent
T, SIZE = 20, 2048  # so much that a team of threads works on it


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Put back the number of threads."""
    number = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(number)


def arguments(seed: int, shape: tuple[int, ...] = (SIZE,)) -> tuple[Any, ...]:
    return draw(T, *shape, seed=seed), draw(*shape[-1:], seed=seed + 1), draw(seed=seed + 2)[0, 0], draw(*shape)


def results(run: Callable[..., Any], step: Any, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Return outputs, final states and all gradients of a scan."""
    leaves = [leaf.clone().requires_grad_() for leaf in inputs]
    xs, decay, threshold, v = leaves
    found = run(step, F.IFState(v), xs, {"decay": decay, "threshold": threshold})
    return [found[1].detach(), found[0].v.detach(), *torch.autograd.grad(value(found), leaves)]


def fused(step: Any, state: Any, xs: Tensor, params: Any) -> Any:
    return F.scan(step, state, xs, params=params, backend="fused")


# --- threads of the user ----------------------------------------------------------------------------------------------


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """Run functions in as many threads, all starting at once, and return what they return."""
    barrier, found = threading.Barrier(len(works)), dict[int, Any]()

    def run(index: int) -> None:
        try:
            barrier.wait(30)
            found[index] = works[index]()
        except BaseException as error:
            found[index] = error

    team = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(120)
        assert not thread.is_alive(), "a thread hangs"
    for each in found.values():
        if isinstance(each, BaseException):
            raise each
    return [found[index] for index in range(len(works))]


def made(number: int) -> Callable[..., Any]:
    """Return one of several different steps."""
    functions = [torch.tanh, torch.sigmoid, torch.sin, torch.exp, torch.abs, torch.neg]

    def step(state: F.IFState, x: Tensor, *, decay: Any, threshold: Any) -> Any:
        u = decay * state.v + functions[number](x)
        spike = F.Arctan(1.5)(u - threshold)
        return F.IFState(u * (1.0 - spike)), spike

    return step


@pytest.mark.parametrize("shape", [(3,), (SIZE,)], ids=["small", "large"])
def test_one_step_in_many_threads(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    cpu.forward_kernel.cache_clear()
    cpu.backward_kernel.cache_clear()
    inputs = [arguments(seed, shape) for seed in range(6)]

    def work(index: int) -> list[Tensor]:
        return [results(fused, leaky, inputs[index]) for _ in range(3)][-1]

    found = at_once([lambda index=index: work(index) for index in range(6)])  # type: ignore[misc]
    for got, given in zip(found, inputs, strict=True):
        assert_close(got, results(loop, leaky, given))


def test_different_steps_in_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    inputs = arguments(0)
    found = at_once([lambda k=k: results(fused, made(k), inputs) for k in range(6)])  # type: ignore[misc]
    for number, got in enumerate(found):
        assert_close(got, results(loop, made(number), inputs))


def test_transforms_in_many_threads() -> None:
    func: Any = torch.func

    def each(decay: Tensor, x: Tensor) -> Tensor:
        return value(fused(leaky, F.IFState(torch.zeros_like(x[0])), x, {"decay": decay}))

    def plain(decay: Tensor, x: Tensor) -> Tensor:
        return value(loop(leaky, F.IFState(torch.zeros_like(x[0])), x, {"decay": decay}))

    batches, decay = [draw(3, T, 5, seed=seed) for seed in range(4)], draw(5)
    works = [lambda xs=xs: func.vmap(func.grad(each), (None, 0))(decay, xs) for xs in batches]
    for got, xs in zip(at_once(works), batches, strict=True):  # type: ignore[arg-type]
        assert_close(got, stack([gradients(plain, decay, x)[0] for x in xs]))


def test_backward_in_another_thread() -> None:
    inputs = arguments(3)
    leaves = [leaf.clone().requires_grad_() for leaf in inputs]
    xs, decay, threshold, v = leaves
    found = fused(leaky, F.IFState(v), xs, {"decay": decay, "threshold": threshold})
    (got,) = at_once([lambda: torch.autograd.grad(value(found), leaves)])
    assert_close(list(got), results(loop, leaky, inputs)[2:])


# --- threads of the kernel --------------------------------------------------------------------------------------------

SHAPES = [(SIZE,), (3, 1000), (2000, 3), (7, 5, 31), (1, SIZE), (20000,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, ...]) -> None:
    given = arguments(1, shape)
    found = []
    for number in (1, 2, 3, 2, 1):
        torch.set_num_threads(number)
        found.append(results(fused, leaky, given))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)
    assert_close(found[0], results(loop, leaky, given))


def test_the_number_of_threads_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = cpu.CLaunch._fields

    def fields(self: cpu.CLaunch) -> Any:
        found = real(self)
        seen.append(found[0])
        return found

    monkeypatch.setattr(cpu.CLaunch, "_fields", fields)
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        results(fused, leaky, arguments(0))
        assert seen == [number, number]
        seen.clear()
    # a team takes longer to wake than these few neurons take
    results(fused, leaky, arguments(0, (3,)))
    assert seen == [1, 1]


def test_a_thread_of_the_user_has_the_same_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = cpu.CLaunch._fields

    def fields(self: cpu.CLaunch) -> Any:
        found = real(self)
        seen.append(found[0])
        return found

    monkeypatch.setattr(cpu.CLaunch, "_fields", fields)
    torch.set_num_threads(2)
    at_once([lambda: results(fused, leaky, arguments(0))])
    assert seen == [2, 2]


# --- processes --------------------------------------------------------------------------------------------------------


def python(*command: str, timeout: float = 150) -> str:
    """Run Python in a process group of its own, and end all of it if it hangs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"hangs: {out}\n{err}")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_processes(way: str) -> None:
    assert python("-m", "tests.fused_worker", way).split() == ["done"]


def test_a_forked_child_is_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu._Process, "forked", True)
    with counting() as counts:
        found = results(fused, leaky, arguments(0))
    assert cpu.threads_for(10**9) == 1
    assert (counts.forward, counts.backward) == (1, 1)
    monkeypatch.undo()
    for a, b in zip(found, results(fused, leaky, arguments(0)), strict=True):
        assert torch.equal(a, b)


FORK_WHILE_RUNNING = """
import os, signal, threading, torch
from tests.fused_steps import leaky
from tests.fused_worker import fresh, gradient, right
torch.set_num_threads(2)
# what torch imports in its first gradient, a child could wait for for ever
gradient(leaky, 0)
stop = threading.Event()
def work():
    while not stop.is_set():
        gradient(leaky, 0)
thread = threading.Thread(target=work)
thread.start()
codes = []
for seed in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        os._exit(7 if right(seed) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
thread.join(40)
print(codes)
"""


def test_fork_while_another_thread_runs_kernels() -> None:
    assert python("-W", "ignore", "-c", FORK_WHILE_RUNNING).strip() == str([7] * 5)


FORK_WHILE_LOCKED = """
import os, signal
from contextlib import ExitStack
from spikingtorch.functional.core import lru
from tests.fused_worker import right
right(0)
# as threads that look something up do
with ExitStack() as stack:
    for cache in lru._all:
        stack.enter_context(cache._lock)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(7 if right(0) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_fork_while_another_thread_looks_for_a_plan() -> None:
    assert python("-W", "ignore", "-c", FORK_WHILE_LOCKED).strip() == "7"
