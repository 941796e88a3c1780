"""First-spike times: by hand, their gradient by exact differences, and through a neuron."""

import math

import pytest
import torch
from torch import Generator

from spikingtorch.functional import LIFState, lif_step, scan
from spikingtorch.losses import first_spike_cross_entropy, first_spike_time


def test_by_hand() -> None:
    rows = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    spikes = torch.tensor(rows, dtype=torch.float64).T.expand(2, 4, 6)
    assert first_spike_time(spikes).tolist() == [[4, 0, 2, 1, 0, 3]] * 2
    assert first_spike_time(spikes, [4, 2]).tolist() == [[4, 0, 2, 1, 0, 3], [2, 0, 2, 1, 0, 2]]


def test_other_ranks() -> None:
    spikes = (torch.rand(3, 9, 2, 4, generator=Generator().manual_seed(0)) < 0.1).float()
    times = first_spike_time(spikes, [9, 2, 5])
    assert torch.equal(times.flatten(1), first_spike_time(spikes.flatten(2), [9, 2, 5]))
    assert torch.equal(first_spike_time(spikes[:, :, 0, 0]), first_spike_time(spikes)[:, 0, 0])


def test_the_gradient_is_what_flipping_a_spike_changes() -> None:
    T, lengths = 7, [7, 4]
    spikes = (torch.rand(2, T, 20, generator=Generator().manual_seed(1)) < 0.25).double().requires_grad_()
    times = first_spike_time(spikes, lengths)
    (gradient,) = torch.autograd.grad(times.sum(), spikes)
    for k in range(T):
        with_spike, without = spikes.detach().clone(), spikes.detach().clone()
        with_spike[:, k], without[:, k] = 1.0, 0.0
        change = first_spike_time(with_spike, lengths) - first_spike_time(without, lengths)
        assert torch.equal(gradient[:, k], change)


def test_a_silent_neuron_learns_to_fire() -> None:
    """Gradient descent on the current through the surrogate makes the target fire first."""
    current = torch.full((1, 20, 3), 0.05, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([1])
    losses = []
    for _ in range(100):
        rest = LIFState(v=torch.zeros(1, 3, dtype=torch.float64))
        _, spikes = scan(lif_step, rest, current, params={"decay": 0.9}, dim=1)
        loss = first_spike_cross_entropy(spikes, target)
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, current)
        current = (current - 0.05 * gradient).detach().requires_grad_()
    assert losses[0] == pytest.approx(math.log(3))  # all are silent
    assert losses[-1] < 0.01


def test_a_long_sequence_is_exact() -> None:
    spikes = torch.zeros(1, 100_000, 2)
    spikes[0, 99_999, 0] = 1.0
    assert first_spike_time(spikes).tolist() == [[99_999, 100_000]]
