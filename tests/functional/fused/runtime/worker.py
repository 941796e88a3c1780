"""Scans in forked and spawned processes: ``python -m tests.functional.fused.runtime.worker WAY``."""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spikingtorch import functional as F
from spikingtorch.functional.core import lru
from spikingtorch.functional.core.threads import threads_for
from tests.fused_steps import counting, draw, leaky

# so much that a team of threads works on it, and so little that torch's own operations, which hang after a fork, do not
# wake theirs; those that wake it for little, such as torch.cos, are not called here
SIZE = 1024
PATIENCE = 60


def fresh(state: F.IFState, x: Tensor, *, decay: Any) -> tuple[F.IFState, Tensor]:
    """A step that the parent process never runs."""
    u = decay * state.v + 0.5 * x
    spike = F.Sigmoid(2.0)(u - 0.3)
    return F.IFState(u * (1.0 - spike)), spike


def gradient(step: Callable[..., Any], seed: int, backend: Any = "fused") -> Tensor:
    """Return the gradients of a scan in its inputs and its parameter."""
    xs = draw(20, SIZE, seed=seed).requires_grad_()
    decay = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    state = F.IFState(torch.zeros(SIZE, dtype=torch.float64))
    after, out = F.scan(step, state, xs, params={"decay": decay}, backend=backend)
    total = (draw(SIZE, seed=seed + 1) * after.v).sum() + (draw(20, SIZE, seed=seed + 2) * out).sum()
    grads = torch.autograd.grad(total, [xs, decay])
    return torch.cat([grad.flatten() for grad in grads])


def right(seed: int) -> bool:
    """Whether a step that the parent knows, and one that it does not know, are right here."""
    signal.alarm(PATIENCE)
    with counting() as counts:
        found = [gradient(step, seed) for step in (leaky, fresh)]
    assert (counts.forward, counts.backward) == (2, 2)
    for step, got in zip((leaky, fresh), found, strict=True):
        torch.testing.assert_close(got, gradient(step, seed, "loop"), rtol=1e-10, atol=1e-12)
    signal.alarm(0)
    return True


class Trains(Dataset[Tensor]):
    """Spike trains, made by a scan on two threads, where other scans are right as well."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        torch.set_num_threads(2)
        assert right(index)
        signal.alarm(PATIENCE)
        state = F.IFState(torch.zeros(SIZE, dtype=torch.float64))
        with counting() as counts:
            out: Tensor = F.scan(leaky, state, draw(20, SIZE, seed=index), params={"decay": 0.8}, backend="fused")[1]
        assert counts.forward == 1
        signal.alarm(0)
        return out


def load(way: str) -> None:
    """Load trains in workers, and compare them with those made here."""
    number = 2 if way == "fork" else 1  # each that is spawned imports torch
    found = list(DataLoader(Trains(), batch_size=2, num_workers=number, multiprocessing_context=way, timeout=PATIENCE))
    assert torch.equal(torch.cat(found), torch.stack([Trains()[n] for n in range(6)]))


def pool() -> None:
    """Run scans in two processes."""
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map_async(right, range(4)).get(PATIENCE) == [True] * 4


def forked(seed: int, then: Callable[[], Any] = lambda: None) -> None:
    """Fork by hand: the child is right, and does more."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)  # a child that hangs
        assert threads_for(10**9) == 1
        code = 7 if right(seed) else 1
        then()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def forked_while_running() -> None:
    """Fork while another thread runs kernels."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            gradient(leaky, 0)

    thread = threading.Thread(target=work)
    thread.start()
    for seed in range(5):
        forked(seed)
    stop.set()
    thread.join()


def forked_while_locked() -> None:
    """Fork while all that is kept is locked, as threads that look something up do."""
    right(0)
    with ExitStack() as stack:
        for cache in lru._all:
            if isinstance(cache, lru.LRUCache):
                stack.enter_context(cache._lock)
        forked(0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of forks with threads around, which is what this is about
    torch.set_num_threads(2)
    # the team of threads of the kernels, and the one of torch
    gradient(leaky, 0)
    torch.rand(1000, 1000).exp().sum()
    load(sys.argv[1])
    if sys.argv[1] == "fork":
        forked(0, then=lambda: forked(1))
        assert threads_for(10**9) == 2
        pool()
        right(5)
        forked_while_running()
        forked_while_locked()
    print("done")
