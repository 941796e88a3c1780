"""The fused scan in threads and processes, with any number of threads, which take subnormal numbers as their caller."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.core.threads import Process, threads_for
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.testing import assert_close
from tests.fused import Scan
from tests.fused_steps import counting, draw, gradients, leaky, loop, stack, value
from tests.processes import at_once, python
from tests.surroundings import calls_of, forget, on_threads

T, SIZE = 20, 4096  # so much that a team of threads works on it


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Begin with two threads, and put back their number and the mode of this one."""
    with on_threads(2):
        yield
    torch.set_flush_denormal(False)


def arguments(seed: int, *shape: int) -> list[Tensor]:
    shape = shape or (SIZE,)
    return [draw(T, *shape, seed=seed), draw(*shape[-1:], seed=seed + 1), draw(seed=seed + 2)[0, 0], draw(*shape)]


def fused(step: Any, state: Any, xs: Tensor, params: Any) -> Any:
    return F.scan(step, state, xs, params=params, backend="fused")


def scanned(run: Callable[..., Any], step: Any, inputs: list[Tensor]) -> tuple[Any, list[Tensor]]:
    """Return what a scan returns, and leaves for its gradients."""
    xs, decay, threshold, v = leaves = [leaf.clone().requires_grad_() for leaf in inputs]
    return run(step, F.IFState(v), xs, {"decay": decay, "threshold": threshold}), leaves


def results(run: Callable[..., Any], step: Any, inputs: list[Tensor]) -> list[Tensor]:
    """Return outputs, final states and all gradients of a scan."""
    found, leaves = scanned(run, step, inputs)
    return [found[1].detach(), found[0].v.detach(), *torch.autograd.grad(value(found), leaves)]


def made(function: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """Return one of several different steps."""

    def step(state: F.IFState, x: Tensor, *, decay: Any, threshold: Any) -> Any:
        u = decay * state.v + function(x)
        spike = F.Arctan(1.5)(u - threshold)
        return F.IFState(u * (1.0 - spike)), spike

    return step


STEPS = {
    "one step": [leaky] * 6,
    "six steps": [made(each) for each in (torch.tanh, torch.sigmoid, torch.sin, torch.exp, torch.abs, torch.neg)],
}


@pytest.mark.sampled
@pytest.mark.parametrize("size", [3, SIZE])
@pytest.mark.parametrize("kind", STEPS)
def test_scans_in_many_threads(kind: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    cpu.forward_kernel.cache_clear()
    cpu.backward_kernel.cache_clear()
    calls = [(step, arguments(seed, size)) for seed, step in enumerate(STEPS[kind])]

    def work(step: Any, inputs: list[Tensor]) -> list[Tensor]:
        return [results(fused, step, inputs) for _ in range(3)][-1]

    for got, call in zip(at_once(*(partial(work, *call) for call in calls)), calls, strict=True):
        assert_close(got, results(loop, *call))


def test_transforms_in_many_threads() -> None:
    func: Any = torch.func

    def total(run: Any, decay: Tensor, x: Tensor) -> Tensor:
        return value(run(leaky, F.IFState(torch.zeros_like(x[0])), x, {"decay": decay}))

    batches, decay = [draw(3, T, 5, seed=seed) for seed in range(4)], draw(5)
    mapped = func.vmap(func.grad(partial(total, fused)), (None, 0))
    for got, xs in zip(at_once(*(partial(mapped, decay, xs) for xs in batches)), batches, strict=True):
        assert_close(got, stack([gradients(partial(total, loop), decay, x)[0] for x in xs]))


def test_backward_in_another_thread() -> None:
    found, leaves = scanned(fused, leaky, arguments(3))
    (got,) = at_once(lambda: torch.autograd.grad(value(found), leaves))
    assert_close(list(got), results(loop, leaky, arguments(3))[2:])


@pytest.mark.parametrize("shape", [(SIZE,), (257,), (2, 5000), (2000, 3), (7, 5, 31), (1, SIZE), (20000,)], ids=str)
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, ...]) -> None:
    given, found = arguments(1, *shape), []
    for number in (1, 2, 3, 2, 1):
        torch.set_num_threads(number)
        found.append(results(fused, leaky, given))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    assert_close(found[0], results(loop, leaky, given))


def test_the_number_of_threads_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls_of(monkeypatch, cpu.CLaunch, "_fields", lambda fields, _: fields[0])
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        results(fused, leaky, arguments(0))
        # in a thread of the user as well
        at_once(lambda: results(fused, leaky, arguments(0)))
        # a team takes longer to wake than these few neurons take
        results(fused, leaky, arguments(0, 3))
        assert seen == [number] * 4 + [1] * 2
        seen.clear()


@pytest.mark.long
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_processes(way: str) -> None:
    assert python("-m", "tests.functional.fused.runtime.worker", way) == "done\n"


def test_a_forked_child_is_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as child, counting() as counts:
        child.setattr(Process, "forked", True)
        found = results(fused, leaky, arguments(0))
        assert threads_for(10**9) == 1
    assert (counts.forward, counts.backward) == (1, 1)
    assert all(map(torch.equal, found, results(fused, leaky, arguments(0))))


TINY = 1e-39  # subnormal in float32


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * TINY


def neurons() -> Scan:
    return Scan(F.lif_step, F.LIFState(drawn(SIZE)), drawn(T, SIZE), {"decay": 0.99})


def recurrence() -> Scan:
    """Return neurons that the loop in C takes through time, with outputs that are no spikes."""
    params = {"decay": 0.5, "recurrent_weight": torch.eye(128) * 0.1}
    step: Any = F.Recurrent(F.li_step)
    return Scan(step, F.RecurrentState(F.LIState(drawn(16, 128)), drawn(16, 128)), drawn(T, 16, 128), params)


def flush(on: bool) -> None:
    """Set the mode of this thread, and of no thread of the team."""
    if not torch.set_flush_denormal(on):
        pytest.skip("this processor keeps subnormal numbers")


def assert_small(found: Any, nothing: bool) -> None:
    """Assert that all numbers are zero, or none."""
    torch.set_flush_denormal(False)  # which takes them for zero as well
    assert {bool(number) for leaf in pytree.tree_leaves(found) for number in leaf.flatten()} == {not nothing}


@pytest.mark.parametrize("scan", [neurons(), recurrence()], ids=["neurons", "recurrence"])
def test_all_threads_follow_their_caller(scan: Scan) -> None:
    for on in (False, True, False):
        flush(on)
        assert_small(scan.run("fused")[0], nothing=on)


def test_gradients_follow_as_well() -> None:
    cotangent = drawn(SIZE)  # made before, because a flushing thread makes no subnormal numbers
    for on in (False, True, False):
        watched, leaves = neurons().watched(["['state'].v"])
        state, _ = watched.run("fused")
        flush(on)
        assert_small(torch.autograd.grad(state.v, [*leaves.values()], cotangent), nothing=on)
