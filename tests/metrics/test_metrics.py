"""Accuracies and rates, by hand and by a loop over the samples; ties, silence and padding."""

import pytest
import torch
from torch import Generator, Tensor

from spikingtorch.metrics import firing_rate, first_spike_accuracy, rate_accuracy
from spikingtorch.testing import assert_close


def draw(rate: float, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, list[int]]:
    generator = Generator().manual_seed(0)
    spikes = (torch.rand(200, 6, 4, generator=generator) < rate).to(dtype)
    lengths = torch.randint(1, 7, (200,), generator=generator).tolist()
    for row, length in zip(spikes, lengths, strict=True):
        row[length:] = torch.nan
    return spikes, torch.randint(4, (200,), generator=generator), lengths


def hit(scores: list[float], target: int) -> float:
    best = [c for c, score in enumerate(scores) if score == max(scores)]
    return 1 / len(best) if target in best else 0.0


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_as_a_loop_over_samples(rate: float) -> None:
    spikes, target, lengths = draw(rate)
    by_rate, by_time, rates = [], [], []
    for row, label, length in zip(spikes.tolist(), target.tolist(), lengths, strict=True):
        columns = [[step[c] for step in row[:length]] for c in range(4)]
        by_rate.append(hit([sum(column) for column in columns], label))
        by_time.append(hit([-column.index(1.0) if 1.0 in column else -length for column in columns], label))
        rates.append([sum(column) / length for column in columns])
    f64 = torch.float64
    spikes = spikes.transpose(0, 1).contiguous().transpose(0, 1)  # steps are not one after another in memory
    assert_close(rate_accuracy(spikes, target, lengths, reduction="none"), torch.tensor(by_rate, dtype=f64))
    assert_close(first_spike_accuracy(spikes, target, lengths, reduction="none"), torch.tensor(by_time, dtype=f64))
    assert_close(firing_rate(spikes, lengths), torch.tensor(rates, dtype=f64))
    assert_close(rate_accuracy(spikes, target, lengths), torch.tensor(sum(by_rate) / 200, dtype=f64))
    assert_close(first_spike_accuracy(spikes, target, lengths, reduction="sum"), torch.tensor(sum(by_time), dtype=f64))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_silent_and_firing_networks_score_chance(value: float) -> None:
    spikes = torch.full((8, 5, 4), value)
    target = torch.tensor([0, 0, 0, 0, 0, 0, 0, 3])
    for accuracy in (rate_accuracy, first_spike_accuracy):
        assert accuracy(spikes, target).item() == 0.25
        assert accuracy(spikes, target, [1, 2, 3, 4, 5, 5, 5, 5]).item() == 0.25


def test_spikes_beyond_the_length_do_not_count() -> None:
    spikes = torch.zeros(1, 4, 2)
    spikes[0, 3, 1] = 1.0
    assert rate_accuracy(spikes, torch.tensor([0])) == 0.0
    for accuracy in (rate_accuracy, first_spike_accuracy):
        assert accuracy(spikes, torch.tensor([1])) == 1.0
        assert accuracy(spikes, torch.tensor([1]), [3]) == 0.5


def test_dtypes_gradients_shapes_and_no_samples() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        spikes = torch.ones(2, 300, 3, dtype=dtype, requires_grad=True)
        rate = firing_rate(spikes)
        assert_close(rate, torch.ones(2, 3))
        accuracy = rate_accuracy(spikes, torch.tensor([0, 1]))
        assert accuracy.dtype == torch.float32
        assert not rate.requires_grad
        assert not accuracy.requires_grad
    assert firing_rate(torch.zeros(2, 4, 3, 5, 6)).shape == (2, 3, 5, 6)
    assert firing_rate(torch.zeros(0, 4, 3)).shape == (0, 3)
    empty, none = torch.zeros(0, 4, 3), torch.zeros(0, dtype=torch.int64)
    for metric in (rate_accuracy, first_spike_accuracy):
        assert metric(empty, none).isnan()
        assert metric(empty, none, reduction="sum") == 0.0
