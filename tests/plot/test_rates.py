"""Histograms of rates: each neuron is in one bar, and the silent and the saturated ones are named."""

from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch.metrics import firing_rate
from spikingtorch.plot import rates
from tests.plot.drawn import labels, pixels


def test_bars_count_every_neuron_once() -> None:
    spikes = (torch.rand(4, 30, 6, 5, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    ax = rates({"one": spikes, "two": spikes[..., :2]}, bins=10)
    want = firing_rate(spikes).mean(0).flatten().numpy()
    bars: Any = ax.patches
    first, _, second, _ = bars
    counts, edges = np.histogram(want, np.linspace(0, want.max(), 11))
    np.testing.assert_allclose(first.get_data().edges, edges, atol=1e-7)
    np.testing.assert_allclose(first.get_data().values, 100 * counts / 30)
    assert second.get_data().values.sum() == pytest.approx(100)
    assert ax.get_xlabel() == "firing rate (spikes per step)"
    assert ax.get_ylabel() == "neurons (%)"
    pixels(ax)


def test_silent_and_saturated_neurons_are_named() -> None:
    spikes = torch.zeros(3, 7, 4)
    spikes[:, :, 0] = 1.0
    spikes[1, 2, 1] = -0.5  # a graded spike is one spike
    spikes[:, :, 2] = 1.0
    spikes[2, 6, 2] = 0.0  # all steps but one
    assert labels(rates({"layer": spikes})) == ["layer: 25% silent, 25% saturated"]
    assert labels(rates(spikes)) == ["25% silent, 25% saturated"]


def test_rates_are_per_unit_of_time() -> None:
    ax = rates(torch.ones(1, 5, 3), dt=0.5)
    assert ax.get_xlim() == (0.0, 2.0)
    bars: Any = ax.patches[0]
    np.testing.assert_allclose(bars.get_data().edges, np.linspace(0.0, 2.0, 26))
    assert ax.get_xlabel() == "firing rate (spikes per ms)"
    assert rates(torch.ones(1, 5, 3), unit="s").get_xlabel() == "firing rate (spikes per s)"


def test_no_spikes_one_neuron_one_step() -> None:
    assert labels(rates(torch.zeros(1, 1, 1))) == ["100% silent, 0% saturated"]
    pixels(rates(torch.zeros(1, 1, 1)))


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="no samples"):
        rates(torch.zeros(0, 3, 2))
    with pytest.raises(ValueError, match=r"spikes\['a'\] holds NaN"):
        rates({"a": torch.full((1, 3, 2), torch.nan)})
    with pytest.raises(ValueError, match="bins=0"):
        rates(torch.zeros(1, 3, 2), bins=0)
