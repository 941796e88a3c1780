"""Networks on the device: folded and step by step, recurrent, padded, watched and recorded, and what they warn of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fused import draw
from tests.gpu.device import DEVICE, placed

N, T, C = 3, 13, 5


def network(*layers: nn.Module) -> st.SpikingNet:
    return st.SpikingNet(nn.Sequential(*layers), warn_silent=False).double().to(DEVICE)


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return draw(*(shape or (N, T, C)), high=1.5, seed=seed).to(DEVICE)


NETWORKS: dict[str, Any] = {
    "linear": lambda: network(nn.Linear(C, 7), st.LIF(learnable=True), nn.Linear(7, 4), st.LI()),
    "convolutional": lambda: network(nn.Conv2d(2, 4, 3), st.LIF(), nn.Conv2d(4, 3, 3), st.IF()),
    "dense": lambda: network(nn.Linear(C, 4), st.LIF(recurrent=nn.Linear(4, 4, bias=False), learnable=True)),
    "per neuron": lambda: network(nn.Linear(C, 4), st.LIF(recurrent=torch.full((4,), 0.3))),
    "refractory": lambda: network(nn.Linear(C, 4), st.LIF(refractory=2.0)),
}


def named(name: str) -> st.SpikingNet:
    """Return a network, with the same weights each time."""
    torch.manual_seed(0)
    return NETWORKS[name]()


def shape_of(name: str) -> tuple[int, ...]:
    return (N, T, 2, 7, 7) if name == "convolutional" else (N, T, C)


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_is_step_by_step(name: str) -> None:
    for call in range(3):  # the first finds out how the others are run
        found = []
        for mode in ("auto", "step"):
            model = named(name)
            model.mode = mode
            x = inputs(*shape_of(name), seed=call).requires_grad_()
            out = model(x)
            grads = torch.autograd.grad((out * out.detach().cos()).sum(), [x, *model.parameters()], allow_unused=True)
            found.append([out.detach(), *[grad for grad in grads if grad is not None]])
        assert_close(found[0], found[1], f"{name}, call {call}")


def test_every_scan_is_fused_and_nothing_warns() -> None:
    """Warnings are errors in these tests."""
    model = named("linear")
    model(inputs())
    assert str(model.explain()).count("fused: one compiled time loop") == 2


def test_channels_last_stays_so() -> None:
    model = network(st.LIF())
    x = inputs(N, T, 4, 3, 5).movedim(2, -1).contiguous().movedim(-1, 2)
    out = model(x)
    assert out.stride() == x.stride()
    assert_close(out, model(x.contiguous()), "channels-last")


def test_a_stream_goes_on() -> None:
    model, whole = named("linear"), inputs()
    want = model(whole)
    parts = [model(part, init=(k == 0)) for k, part in enumerate(whole.split(7, dim=1))]
    assert_close(torch.cat(parts, 1), want, "in parts")


def test_lengths() -> None:
    model, x = named("linear"), inputs()
    lengths = [T, 7, 12]
    out = model(x, lengths=lengths)
    for n, length in enumerate(lengths):
        assert_close(out[n, :length], model(x[n : n + 1, :length])[0], f"sample {n}")
        assert not out[n, length:].any()


def test_record_and_monitor() -> None:
    model, x = named("linear"), inputs()
    with st.SpikeMonitor(model) as monitor:
        # the second call goes on counting, and the third in memory that is used again
        out = [model(x) for _ in range(4)][-1]
    metrics = monitor.metrics()
    recording = st.record(model, x, ("spikes", "v"))
    assert torch.equal(recording.out, out)
    spikes = recording["1"]["spikes"]
    assert (spikes.device.type, spikes.shape) == (DEVICE.type, (N, T, 7))
    assert metrics["1/rate"] == pytest.approx(spikes.mean().item())


def test_a_network_that_moves_between_devices() -> None:
    model, x = named("linear"), inputs()
    there = model(x).cpu()
    # products round in another order, and a spike may be one of the roundings
    assert_close(model.cpu()(x.cpu()), there, "the CPU")
    assert_close(placed(model.to(DEVICE)(x)), placed(there), "and back")


def test_training_goes_down() -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(nn.Sequential(nn.Linear(C, 64), st.LIF(learnable=True), nn.Linear(64, 3), st.LI())).to(DEVICE)
    x, target = inputs(9, T, C).float(), torch.arange(9, device=DEVICE) % 3
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x).mean(1), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses
