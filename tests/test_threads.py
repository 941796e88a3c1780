"""One network, called from several threads: right numbers, or an error at the call."""

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.fold.policy import Mode


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.neurons = nn.Linear(10, 64), st.LIF(tau=4.0, v0=0.3)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.neurons(self.linear(x), init)  # type: ignore[no-any-return]


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


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
def test_whole_sequences_at_once_are_right(mode: Mode) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(Net(), 64, mode=mode).eval()
    xs = [torch.rand(4, 10, 10) for _ in range(24)]
    with torch.no_grad():
        want = [model(x) for x in xs]

    def work(index: int) -> list[bool]:
        with torch.no_grad():
            return [torch.equal(model(xs[k]), want[k]) for k in range(index, 24, 3)]

    assert all(all(found) for found in together(work))


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_training_at_once_gives_each_thread_its_gradient(mode: Mode) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(Net(), 64, mode=mode)
    xs = [torch.rand(4, 10, 10) for _ in range(12)]

    def gradient(x: Tensor) -> Tensor:
        weights = list(model.parameters())
        return torch.cat([g.flatten() for g in torch.autograd.grad(model(x).square().sum(), weights)])

    want = [gradient(x) for x in xs]
    assert all(together(lambda index: all(torch.equal(gradient(xs[k]), want[k]) for k in range(index, 12, 3))))


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_a_stream_of_another_thread_does_not_go_on_unseen(mode: Mode) -> None:
    model = st.SpikingNet(Net(), 64, mode=mode)
    layer: Any = model.net.neurons
    x = torch.rand(4, 10, 10)
    model(x)
    started, ends = threading.Event(), threading.Event()

    def other() -> None:
        model(x)
        started.set()
        ends.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert started.wait(30)
        uses: list[Callable[[], Any]] = [
            lambda: model(x, init=False),
            lambda: layer.v,
            lambda: layer(torch.ones(4, 64)),
        ]
        for use in uses:
            with pytest.raises(RuntimeError, match=r"another thread has begun.*init=True.*copy.deepcopy"):
                use()
        with pytest.raises(RuntimeError, match="another thread"):
            model(x, init=torch.tensor([True, False, True, True]))
        model(x)  # a sequence of this thread
        model(x, init=False)
    finally:
        ends.set()
        thread.join()


@pytest.mark.parametrize("before", [False, True], ids=["first", "after a sequence of its own"])
def test_what_a_thread_reads_does_not_end_the_fold_of_another(before: bool) -> None:
    class Waits(Net):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                assert read.wait(30)
            return super().forward(x, init)

    inside, read = threading.Event(), threading.Event()
    torch.manual_seed(0)
    model, x = st.SpikingNet(Waits(), 64, mode="fold"), torch.rand(4, 10, 10)
    want = copy.deepcopy(model)(x)
    if before:
        model(x)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(model, x)
        assert inside.wait(30)
        if before:
            with pytest.raises(RuntimeError, match="another thread has begun"):
                model.net.neurons.v  # type: ignore[union-attr, unused-ignore] # noqa: B018
        else:
            assert model.net.neurons.v is None  # type: ignore[union-attr, unused-ignore]
        read.set()
        assert torch.equal(running.result(30), want)


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
    model = st.SpikingNet(Net(), 64)
    x = torch.rand(4, 20, 10)
    want = copy.deepcopy(model)(x)
    first = elsewhere(lambda: model(x[:, :7]))
    assert torch.equal(torch.cat([first, model(x[:, 7:], init=False)], 1), want)


def test_a_state_of_a_thread_that_came_in_between_is_not_taken_for_the_own() -> None:
    model = st.SpikingNet(Net(), 64)
    layer: Any = model.net.neurons
    x = torch.rand(4, 20, 10)
    model(x)
    elsewhere(lambda: model(x))  # and that thread has ended
    uses: list[Callable[[], Any]] = [lambda: layer.v, lambda: model(x, init=False)]
    for use in uses:
        with pytest.raises(RuntimeError, match="another thread has begun"):
            use()
    model(x)
    assert layer.v is not None


def test_a_state_that_another_thread_has_forgotten_is_not_shown_as_none() -> None:
    model = st.SpikingNet(Net(), 64)
    layer: Any = model.net.neurons
    model(torch.rand(4, 20, 10))
    elsewhere(model.reset)
    with pytest.raises(RuntimeError, match="another thread has begun"):
        print(layer.v)


def test_a_thread_that_never_called_may_look() -> None:
    model = st.SpikingNet(Net(), 64)
    model(torch.rand(4, 20, 10))
    layer: Any = model.net.neurons
    assert torch.equal(elsewhere(lambda: layer.v), layer.v)


def test_layers_by_themselves_refuse_to_mix_two_sequences() -> None:
    layer = st.LIF(tau=4.0)
    turns = [threading.Event(), threading.Event()]
    layer(torch.ones(1, 3), init=True)

    def other() -> None:
        layer(torch.ones(1, 3), init=True)
        turns[0].set()
        turns[1].wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    assert turns[0].wait(30)
    with pytest.raises(RuntimeError, match="another thread"):
        layer(torch.ones(1, 3))
    turns[1].set()
    thread.join()


def test_a_layer_without_memory_has_nothing_to_mix() -> None:
    layer = st.McPitts(0.5, learnable="thr")
    x = torch.rand(4, 10)
    assert torch.equal(layer(x), torch.stack(together(lambda _: layer(x)))[0])
    leaf = x.clone().requires_grad_()
    checkpoint(layer, leaf, use_reentrant=True).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0


def test_copies_have_locks_of_their_own() -> None:
    model = st.SpikingNet(Net(), 64)
    x = torch.rand(2, 5, 10)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    with model._lock:
        want = model(x)
        assert all(torch.equal(elsewhere(partial(other, x)), want) for other in copies)


def test_a_copy_goes_on_in_any_thread() -> None:
    model = st.SpikingNet(Net(), 64)
    x = torch.rand(2, 20, 10)
    want = model(x)
    model(x[:, :9])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(elsewhere(partial(other, x[:, 9:], init=False)), want[:, 9:])


def test_a_call_that_fails_gives_the_lock_back() -> None:
    model = st.SpikingNet(Net(), 64)
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 5, 11))
    assert elsewhere(lambda: model(torch.rand(2, 5, 10))).shape == (2, 5, 64)
