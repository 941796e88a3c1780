"""One network, called from several threads: right numbers, or an error at the call."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from tests.every_layer import COPIES
from tests.processes import python

REFUSES = r"another thread has begun.*init=True.*copy.deepcopy"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.neurons = nn.Linear(10, 64), st.LIF(tau=4.0, v0=0.3)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.neurons(self.linear(x), init)  # type: ignore[no-any-return]


def network(mode: Mode = "auto", net: type[Net] = Net) -> tuple[Any, Any]:
    """Return a model and its layer."""
    torch.manual_seed(0)
    model = st.SpikingNet(net(), 64, mode=mode)
    return model, model.net.neurons


def train(seed: int = 0, T: int = 20) -> Tensor:
    return torch.rand(4, T, 10, generator=torch.Generator().manual_seed(seed))


def together(work: Callable[[int], Any], threads: int = 3) -> list[Any]:
    """Run the work in several threads that start at the same moment."""
    barrier = threading.Barrier(threads)

    def run(index: int) -> Any:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def elsewhere(work: Callable[[], Any]) -> Any:
    """Run the work in another thread, and raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@contextmanager
def while_another_lives(work: Callable[[], Any]) -> Iterator[None]:
    """Run the work in another thread that goes on to live."""
    done, ends = threading.Event(), threading.Event()

    def other() -> None:
        work()
        done.set()
        ends.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert done.wait(30)
        yield
    finally:
        ends.set()
        thread.join()


def refuses(*uses: Callable[[], Any]) -> None:
    for use in uses:
        with pytest.raises(RuntimeError, match=REFUSES):
            use()


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_a_call_that_fails_in_another_thread_leaves_a_sequence_to_the_thread_that_began_it(mode: Mode) -> None:
    model, layer = network(mode)
    model(train())
    twin = COPIES["deepcopy"](model)
    model.Nout = (63,)
    with pytest.raises(ValueError, match="net returned shape"):
        elsewhere(lambda: model(train(1)))
    model.Nout = (64,)
    assert torch.equal(layer.v, twin.net.neurons.v)
    assert torch.equal(model(train(2), init=False), twin(train(2), init=False))


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
def test_whole_sequences_at_once_are_right(mode: Mode, trains: bool) -> None:
    model, _ = network(mode)
    xs = [train(k, 10) for k in range(12)]

    def found(x: Tensor) -> Tensor:
        with torch.set_grad_enabled(trains):
            out: Tensor = model(x)
        if not trains:
            return out
        return torch.cat([g.flatten() for g in torch.autograd.grad(out.square().sum(), list(model.parameters()))])

    want = [found(x) for x in xs]
    assert all(together(lambda index: all(torch.equal(found(xs[k]), want[k]) for k in range(index, 12, 3))))


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_a_stream_of_another_thread_does_not_go_on_unseen(mode: Mode) -> None:
    model, layer = network(mode)
    x = train()
    model(x)
    with while_another_lives(lambda: model(x)):
        refuses(
            lambda: model(x, init=False),
            lambda: layer.v,
            lambda: layer(torch.ones(4, 64)),
            lambda: model(x, init=torch.tensor([True, False, True, True])),
        )
        model(x)  # a sequence of this thread
        model(x, init=False)


def test_layers_by_themselves_refuse_to_mix_two_sequences() -> None:
    layer = st.LIF(tau=4.0)
    layer(torch.ones(1, 3), init=True)
    with while_another_lives(lambda: layer(torch.ones(1, 3), init=True)):
        refuses(lambda: layer(torch.ones(1, 3)))


@pytest.mark.parametrize("before", [False, True], ids=["first", "after a sequence of its own"])
def test_what_a_thread_reads_does_not_end_the_fold_of_another(before: bool) -> None:
    class Waits(Net):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                assert read.wait(30)
            return super().forward(x, init)

    inside, read = threading.Event(), threading.Event()
    (model, layer), x = network("fold", Waits), train()
    want = network()[0](x)
    if before:
        model(x)
    shown = layer.v
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(model, x)
        assert inside.wait(30)
        assert layer.v is shown  # of this thread, until the other one's call has come to its end
        read.set()
        assert torch.equal(running.result(30), want)
        if before:
            refuses(lambda: layer.v)


def test_to_read_a_state_writes_nothing_back() -> None:
    """The thread whose state it is may have gone on between the look at it and the write."""
    layer = st.LIF(tau=4.0)
    with torch.inference_mode():
        layer(torch.rand(2, 3), init=True)
    kept = layer._memory
    assert layer.v is not None
    assert not layer.v.is_inference()
    assert layer._memory is kept


def test_a_stream_whose_thread_has_ended_goes_on() -> None:
    (model, _), x = network(), train()
    first = elsewhere(lambda: model(x[:, :7]))
    assert torch.equal(torch.cat([first, model(x[:, 7:], init=False)], 1), network()[0](x))


def test_a_state_of_a_thread_that_came_in_between_is_not_taken_for_the_own() -> None:
    (model, layer), x = network(), train()
    model(x)
    assert torch.equal(elsewhere(lambda: layer.v), layer.v)  # a thread that never called may look
    elsewhere(lambda: model(x))  # and that thread has ended
    refuses(lambda: layer.v, lambda: model(x, init=False))
    model(x)
    assert layer.v is not None
    elsewhere(model.reset)  # what another has forgotten is not shown as None
    refuses(lambda: layer.v)


def test_a_layer_without_memory_has_nothing_to_mix() -> None:
    layer, x = st.McPitts(0.5, learnable="thr"), torch.rand(4, 10, requires_grad=True)
    assert torch.equal(layer(x), torch.stack(together(lambda _: layer(x)))[0])
    checkpoint(layer, x, use_reentrant=True).sum().backward()
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_goes_on_in_any_thread_and_has_its_own_lock(way: str) -> None:
    (model, _), x = network(), train()
    want = model(x)
    model(x[:, :9])
    copied = COPIES[way](model)
    with model._lock:
        assert torch.equal(elsewhere(partial(copied, x[:, 9:], init=False)), want[:, 9:])


def test_a_call_that_fails_gives_the_lock_back() -> None:
    model, _ = network()
    with pytest.raises(ValueError, match=r"x has shape \(2, 5, 11\)"):
        model(torch.rand(2, 5, 11))
    assert elsewhere(lambda: model(train())).shape == (4, 20, 64)


# each thread makes rings of tensors, which are collected whenever something is made, and be it the state
COLLECTED = """
import gc, os, threading, torch
from spikingtorch.functional.core.surroundings import random_state, set_random_state

def work():
    for _ in range(300):
        x = torch.ones(8, requires_grad=True)
        ring = [x, (2 * x).exp()]
        ring.append(ring)
        set_random_state(x.device, random_state(x.device))

gc.set_threshold(50, 2, 2)
threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("through", flush=True)
os._exit(0)
"""


def test_random_states_are_read_while_garbage_is_collected() -> None:
    assert python("-c", COLLECTED, timeout=120) == "through\n"
