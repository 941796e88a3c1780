"""Targets of rates and counts for each class, and bounds."""

import torch

from spikingtorch.losses import count_mse, firing_rate_penalty, rate_mse
from spikingtorch.testing import assert_close

SPIKES = torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]], dtype=torch.float64)


def test_a_target_for_each_class() -> None:
    correct, incorrect = torch.tensor([3.0, 2.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])
    got = count_mse(SPIKES, torch.tensor([1]), correct=correct, incorrect=incorrect, reduction="none")
    assert got.tolist() == [[16.0, 1.0, 1.0]]
    got = count_mse(SPIKES, torch.tensor([0]), [3], correct=correct, incorrect=incorrect, reduction="none")
    assert got.tolist() == [[0.0, 1.0, 1.0]]


def test_rates_are_counts_for_each_step() -> None:
    target, lengths = torch.tensor([0, 2]), [4, 2]
    spikes = SPIKES.expand(2, 4, 3)
    rates = rate_mse(spikes, target, lengths, correct=0.75, incorrect=0.125, reduction="none")
    for n, steps in enumerate(lengths):
        counts = count_mse(
            spikes[n : n + 1],
            target[n : n + 1],
            [steps],
            correct=0.75 * steps,
            incorrect=0.125 * steps,
            reduction="none",
        )
        assert_close(rates[n : n + 1], counts / steps**2)


def test_bounds_on_rates() -> None:
    for low, high, want in (
        (0.0, 1.0, [0.0, 0.0, 0.0]),
        (0.25, 1.0, [0.0, 0.0, 0.0]),
        (0.5, 1.0, [0.0, 0.0625, 0.0625]),
        (0.0, 0.25, [0.5625, 0.0, 0.0]),
        (0.0, 0.0, [1.0, 0.0625, 0.0625]),
    ):
        assert firing_rate_penalty(SPIKES, low=low, high=high, reduction="none").tolist() == [want]
    images = SPIKES.reshape(1, 4, 3, 1, 1).expand(1, 4, 3, 2, 5)
    assert firing_rate_penalty(images, low=0.5, high=0.75, reduction="none").shape == (1, 3, 2, 5)


def test_a_bound_may_be_left_out() -> None:
    spikes = torch.tensor([[[1.0, 0.0, -1.0, 2.0]]])  # a neuron may fire twice, or below zero
    assert firing_rate_penalty(spikes, low=0.5, reduction="none").tolist() == [[0.0, 0.25, 2.25, 0.0]]
    assert firing_rate_penalty(spikes, high=0.5, reduction="none").tolist() == [[0.25, 0.0, 0.0, 2.25]]
    assert firing_rate_penalty(spikes, high=0.5).dtype == torch.float32
