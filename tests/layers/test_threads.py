"""Threads and the layers of one network: what is read while another calls, and what no error holds up."""

import copy
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.functional.core.surroundings import random_state, set_random_state
from tests.drawn import uniform
from tests.folded_layer import Coded
from tests.processes import at_once

REFUSES = r"another thread has begun.*init=True.*copy.deepcopy"


def fires(net: Any, x: Tensor, init: Any) -> Any:
    return net.neurons(net.linear(x), init)


def network(mode: Any = "auto", code: Callable[..., Any] = fires) -> tuple[Any, Any]:
    """Return a model and its layer."""
    torch.manual_seed(0)
    model = st.SpikingNet(Coded(code, linear=nn.Linear(10, 64), neurons=st.LIF(tau=4.0, v0=0.3)), 64, mode=mode)
    return model, model.net.neurons


def elsewhere(work: Callable[[], Any]) -> Any:
    """Run the work in another thread, and raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.mark.parametrize("before", [False, True], ids=["first", "after a sequence of its own"])
def test_what_a_thread_reads_does_not_end_the_fold_of_another(before: bool) -> None:
    def waits(net: Any, x: Tensor, init: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            assert read.wait(30)
        return fires(net, x, init)

    inside, read = threading.Event(), threading.Event()
    (model, layer), x = network("fold", waits), uniform(4, 20, 10)
    want = network()[0](x)
    if before:
        model(x)
    shown, copied = layer.v, copy.deepcopy(model)
    copied.net.code = fires
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(model, x)
        assert inside.wait(30)
        assert torch.equal(elsewhere(lambda: copied(x)), want)  # which has its own lock
        assert layer.v is shown  # of this thread, until the other one's call has come to its end
        read.set()
        assert torch.equal(running.result(30), want)
        if before:
            with pytest.raises(RuntimeError, match=REFUSES):
                _ = layer.v


def test_to_read_a_state_writes_nothing_back() -> None:
    """The thread whose state it is may have gone on between the look at it and the write."""
    layer: Any = st.LIF(tau=4.0)
    with torch.inference_mode():
        layer(torch.rand(2, 3), init=True)
    assert not layer.v.is_inference()
    assert layer.v is not layer.v


def test_a_layer_without_memory_has_nothing_to_mix() -> None:
    layer, x = st.McPitts(0.5, learnable="thr"), torch.rand(4, 10, requires_grad=True)
    assert torch.equal(layer(x), at_once(*[lambda: layer(x)] * 3)[0])
    checkpoint(layer, x, use_reentrant=True).sum().backward()
    assert x.grad is not None
    assert x.grad.any()


def test_random_states_are_read_while_garbage_is_collected() -> None:
    """Each thread makes rings of tensors, which are collected whenever something is made, and be it the state."""

    def work() -> None:
        for _ in range(300):
            x = torch.ones(8, requires_grad=True)
            ring: list[Any] = [x, (2 * x).exp()]
            ring.append(ring)
            set_random_state(x.device, random_state(x.device))

    before = gc.get_threshold()
    gc.set_threshold(50, 2, 2)
    at_once(*[work] * 6)
    gc.set_threshold(*before)


@pytest.mark.parametrize("fails", [False, True])
def test_a_layer_that_another_thread_s_network_runs_meanwhile(fails: bool) -> None:
    """Each call has its own states; the thread that ends last has the sequence."""
    shared = st.LIF(tau=4.0)

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = shared

        def forward(self, x: Tensor, init: Any) -> Tensor:
            out: Tensor = self.layer(x, init)
            if fails:
                raise KeyError(out.shape)
            return out

    class Waits(Other):
        def forward(self, x: Tensor, init: Any) -> Any:
            with pytest.raises(KeyError) if fails else nullcontext():
                elsewhere(lambda: other(torch.rand(2, 4, 3)))
            return self.layer(x, init)

    other, x = st.SpikingNet(Other(), mode="step"), torch.rand(2, 4, 3)
    out = st.SpikingNet(Waits(), mode="step")(x)
    assert torch.equal(out, st.SpikingNet(st.LIF(tau=4.0))(x))
    with pytest.raises(RuntimeError, match="holds the state of a sequence that another thread has begun"):
        elsewhere(lambda: shared(x[:, 0]))
