"""What only a card has: streams, graphs, memory of its own, several devices; and how often it is asked to compile."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.fused.build import triton_kernel
from tests.functional.fused.runtime.recorder import forget_kernels
from tests.fused import assert_same_bits, draw
from tests.gpu.device import DEVICE, only_on_a_card
from tests.surroundings import calls_of, forget

pytestmark = only_on_a_card
two_cards = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs in one process")
LARGE = 2**20


def run(x: Tensor, decay: Any = 0.9, backend: Any = "fused") -> tuple[Tensor, Tensor]:
    state, out = F.scan(F.lif_step, F.LIFState(torch.zeros_like(x[0])), x, params={"decay": decay}, backend=backend)
    return state.v, out


def gradient(x: Tensor, backend: Any = "fused") -> tuple[Tensor, Tensor]:
    v, out = run(x, backend=backend)
    return out.detach(), torch.autograd.grad((v.sum() + out.sum()), x)[0]


def inputs(*shape: int, seed: int = 0, device: Any = DEVICE) -> Tensor:
    return draw(*shape, dtype=torch.float32, high=1.3, seed=seed).to(device)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Forget all kernels, and name each that is compiled."""
    forget(monkeypatch)
    forget_kernels()
    yield calls_of(monkeypatch, triton_kernel, "compiled", lambda result, source, *others: source.name)
    forget_kernels()


def test_one_kernel_for_all_lengths_sizes_and_strides(counted: list[str]) -> None:
    for sizes in ((2, 3), (17, 1000), (64, 5, 7), (1000, 4)):
        gradient(inputs(*sizes).requires_grad_())
        gradient(inputs(*sizes).transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_())
    assert sorted(counted) == ["backward", "forward"]


def test_a_launch_each_way() -> None:
    x = inputs(17, 100).requires_grad_()
    gradient(x)
    with torch.profiler.profile() as profile:
        gradient(x)
    keys = {event.key: event.count for event in profile.key_averages()}
    assert keys["spikingtorch::scan_forward"] == keys["spikingtorch::scan_backward"] == 1
    kernels = {event.key: event.count for event in profile.key_averages() if event.key in ("forward", "backward")}
    assert kernels == {"forward": 1, "backward": 1}


def test_on_a_stream_of_its_own() -> None:
    """A long computation in front on the stream: a kernel on another one would read before it has come to its end."""
    x = inputs(17, LARGE)
    want = run(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late = torch.zeros_like(x).copy_(x)
        got = run(late)
    torch.cuda.current_stream().wait_stream(stream)
    assert_same_bits(got, want)


def test_backward_runs_on_the_stream_of_its_forward_pass() -> None:
    x = inputs(17, LARGE).requires_grad_()
    want = gradient(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        v, out = run(x)
    torch.cuda.current_stream().wait_stream(stream)
    assert_same_bits((out.detach(), torch.autograd.grad(v.sum() + out.sum(), x)[0]), want)


def test_a_call_does_not_wait_for_the_device() -> None:
    x = inputs(17, 100).requires_grad_()
    net = nn.Sequential(nn.Linear(100, 40), st.LIF(learnable=True), nn.Linear(40, 9), st.LIF(tau=4.0))
    model = st.SpikingNet(net, warn_silent=False).to(DEVICE)
    for _ in range(2):
        gradient(x)
        model(x[None]).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradient(x)
        model(x[None]).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_graph_is_captured_and_replayed() -> None:
    static = inputs(17, 1000)
    run(static)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        v, out = run(static)
    for seed in (1, 2):
        static.copy_(inputs(17, 1000, seed=seed))
        graph.replay()
        assert_same_bits((v, out), run(static))


def test_a_training_step_in_a_graph() -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(nn.Sequential(nn.Linear(50, 40), st.LIF(learnable=True)), warn_silent=False).to(DEVICE)
    sample = inputs(8, 20, 50).requires_grad_()
    eager = {seed: _trained(model, inputs(8, 20, 50, seed=seed)) for seed in (1, 2)}
    graphed = torch.cuda.make_graphed_callables(model, (sample,))
    for seed, want in eager.items():
        got = _trained(graphed, inputs(8, 20, 50, seed=seed))
        for mine, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(mine, theirs)


def _trained(model: Any, x: Tensor) -> list[Tensor]:
    for parameter in model.parameters():
        parameter.grad = None
    out = model(x.requires_grad_())
    out.sum().backward()
    return [out.detach().clone(), *[p.grad.clone() for p in model.parameters()]]


def test_a_recurrent_scan_in_a_graph() -> None:
    torch.manual_seed(0)
    x, weight = inputs(17, 8, 30), torch.randn(30, 30, device=DEVICE) / 6
    step: Any = F.Recurrent(F.lif_step, F.dense)

    def recurrent() -> Tensor:
        state = F.RecurrentState(F.LIFState(torch.zeros_like(x[0])), torch.zeros_like(x[0]))
        return F.scan(step, state, x, params={"decay": 0.9, "recurrent_weight": weight}, backend="fused")[1]

    recurrent()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = recurrent()
    x.copy_(inputs(17, 8, 30, seed=1))
    graph.replay()
    torch.testing.assert_close(out, recurrent())


def test_what_is_new_cannot_be_captured() -> None:
    x = inputs(11, 77)
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match=r"Call it once.*before the capture"), torch.cuda.graph(graph):
        run(x)


def test_memory_for_the_backward_pass() -> None:
    """A state of one step in eight, and of what a call made nothing stays."""
    x = inputs(64, LARGE).requires_grad_()
    size = x.numel() * 4
    gradient(x)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        v, out = run(x)
        kept = torch.cuda.memory_allocated() - before - out.numel() * 4 - v.numel() * 4
        assert kept <= size / 8 + 2 * x[0].numel() * 4 + 2**21
        torch.autograd.grad(out.sum(), x)
        del v, out
    assert torch.cuda.memory_allocated() == before


def test_more_numbers_than_32_bits_count() -> None:
    free = torch.cuda.mem_get_info()[0]
    neurons, steps = 2**28 + 3, 9
    if free < 3 * 2 * neurons * steps:
        pytest.skip("needs 16 GB of free memory on the card")
    x = torch.zeros(steps, neurons, dtype=torch.float16, device=DEVICE)
    x[:, -1] = 0.6
    out = run(x)[1]
    assert out[:, -1].sum() == 4
    assert out[:, :-1].sum(dtype=torch.float32) == 0


@two_cards
def test_two_devices() -> None:
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        x = inputs(17, 100, device=device).requires_grad_()
        found, grad = gradient(x)
        assert found.device == grad.device == torch.device(device)
        assert_same_bits(found, gradient(x, "loop")[0])
        torch.testing.assert_close(grad, gradient(x, "loop")[1])
        assert torch.cuda.current_device() == 0


@two_cards
def test_tensors_on_two_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="mixed devices"):
        run(inputs(5, 7), inputs(7, device="cuda:1"))
