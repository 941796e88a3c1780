"""Recordings drawn as rasters, traces and histograms of rates.

A raster shows what is not zero, where it is; a trace is its membrane, moved up by a whole number of bands; in a
histogram each neuron is in one bar.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch import LIF, SpikingNet, record
from spikingtorch.metrics import firing_rate
from spikingtorch.plot import raster, rates, traces
from tests.drawn import normal, trains
from tests.plot.drawn import disks, labels, pixels, points, ticks, xs, ys


@pytest.mark.parametrize("rate", [0.3, 0.0])
@pytest.mark.parametrize("shape", [(2, 17, 5), (2, 17, 3, 4, 2), (2, 1, 5), (2, 17, 1), (1, 1, 1)])
def test_positions_are_those_of_the_spikes(shape: tuple[int, ...], rate: float) -> None:
    spikes = trains(*shape, rate=rate)
    pixels(raster(spikes))
    for sample in (0, -1):
        ax = raster(spikes, sample=sample)
        flat = spikes[sample].flatten(1)
        assert points(ticks(ax)[0]) == {(float(t), float(i)) for t, i in flat.nonzero().tolist()}
        assert ax.get_xlim() == (-0.5, shape[1] - 0.5)
        assert ax.get_ylim() == (-0.5, flat.shape[1] - 0.5)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (steps)", "neuron")


def test_a_tick_has_its_size_in_units_of_the_axes() -> None:
    ax = raster(torch.ones(1, 100, 8))
    pixels(ax)
    (drawn,) = ticks(ax)
    corners = drawn.get_transform().transform(drawn.get_paths()[0].vertices)
    size: Any = ax.transData.transform((0.8, 0.8)) - ax.transData.transform((0.0, 0.0))
    np.testing.assert_allclose(np.ptp(corners, axis=0), size, rtol=1e-9)


def test_time_has_a_unit() -> None:
    spikes = trains(1, 20, 3)
    ax = raster(spikes, dt=0.5)
    assert points(ticks(ax)[0]) == {(0.5 * t, float(i)) for t, i in spikes[0].nonzero().tolist()}
    assert ax.get_xlim() == (-0.25, 9.75)
    assert ax.get_xlabel() == "time (ms)"
    assert raster(spikes, dt=0.001, unit="s").get_xlabel() == "time (s)"


def test_a_subset_is_evenly_spaced_and_says_so() -> None:
    spikes = torch.ones(1, 2, 4096)
    ax = raster(spikes, most=512)
    assert ax.get_ylabel() == "every 8th of 4,096 neurons"
    assert {i for _, i in points(ticks(ax)[0])} == {float(i) for i in range(0, 4096, 8)}
    assert ax.get_ylim() == (-0.5, 4095.5)
    assert raster(spikes[..., :512], most=512).get_ylabel() == "neuron"
    assert raster(spikes[..., :513], most=512).get_ylabel() == "every 2nd of 513 neurons"


def test_layers_have_bands_in_their_order() -> None:
    layers = {"input": trains(2, 9, 2, 30), "hidden": trains(2, 9, 10), "out": torch.zeros(2, 9, 3)}
    ax = raster(layers, most=20, sample=1)
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "input\nevery 3rd of 60 neurons",
        "hidden\n10 neurons",
        "out\n3 neurons",
    ]
    assert ax.get_ylim() == (0.0, 3.0)
    for k, (band, (name, spikes)) in enumerate(zip(ticks(ax), layers.items(), strict=True)):
        step = 3 if name == "input" else 1
        seen = spikes[1].flatten(1)
        times, rows = seen[:, ::step].nonzero(as_tuple=True)
        xy = np.asarray(band.get_offsets())
        np.testing.assert_array_equal(xy[:, 0], times.numpy())
        index = (xy[:, 1] - k - 0.04) / 0.92 * seen.shape[1] - 0.5 * step
        np.testing.assert_allclose(index, step * rows.numpy(), atol=1e-9)
        assert ((xy[:, 1] > k) & (xy[:, 1] < k + 1)).all()
    assert len({tuple(np.asarray(band.get_facecolor())[0]) for band in ticks(ax)[:2]}) == 2


def test_what_record_returns_is_drawn_as_it_is() -> None:
    model = SpikingNet(torch.nn.Sequential(torch.nn.Linear(3, 4), LIF()))
    with torch.no_grad():
        recording = record(model, 5 * torch.rand(2, 6, 3), ("spikes", "v"))
    (got,), (want,) = ticks(raster(recording)), ticks(raster({"1": recording["1"]["spikes"]}))
    assert points(got) == points(want)


def test_layers_of_one_length_and_of_others() -> None:
    ax = raster({"short": trains(1, 5, 3), "long": trains(1, 8, 3)})
    assert ax.get_xlim() == (-0.5, 7.5)
    assert len(raster({str(k): trains(1, 4, 2) for k in range(9)}).get_yticks()) == 9


@pytest.mark.parametrize("given", [torch.tensor([1, 0, 1]), [1, 0, 1], [True, False, True], ["b", "a", "b"]])
def test_labels_colour_neurons(given: Any) -> None:
    ax = raster(torch.ones(1, 1, 3), labels=given)
    colors = [tuple(color) for color in np.asarray(ticks(ax)[0].get_facecolor())]
    assert colors[0] == colors[2] != colors[1]
    each = given.tolist() if isinstance(given, Tensor) else given
    assert labels(ax) == sorted({str(label) for label in each})
    ax = raster(torch.ones(1, 1, 6), labels=[0, 1, 0, 0, 1, 1], most=2)  # neurons 0 and 3
    assert len({tuple(color) for color in np.asarray(ticks(ax)[0].get_facecolor())}) == 1
    assert len(labels(raster(torch.ones(1, 1, 12), labels=range(12)))) == 12  # more than there are colours


def test_graded_spikes_are_disks_whose_area_is_their_value() -> None:
    spikes = torch.tensor([[[0.5, 0.0], [-2.0, 1.0]]])
    ax = raster(spikes)
    found = disks(ax)
    assert np.asarray(found.get_offsets()).tolist() == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    np.testing.assert_allclose(found.get_sizes() / found.get_sizes().max(), [0.25, 1.0, 0.5])
    assert np.asarray(found.get_facecolor())[:, 3].tolist() == [1.0, 0.0, 1.0]
    assert ax.get_title(loc="right") == "area: value, largest 2; rings: below zero"
    assert raster(spikes.abs()).get_title(loc="right") == "area: value, largest 2"
    pixels(ax)


# --- traces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 17, 5), (2, 17, 2, 3), (2, 1, 5), (1, 2, 1)])
def test_traces_are_the_membranes(shape: tuple[int, ...]) -> None:
    v = normal(*shape)
    ax = traces(v, sample=-1, neurons=3)
    flat = v[-1].flatten(1).double().numpy()
    number = min(3, flat.shape[1])
    chosen = [k * flat.shape[1] // number for k in range(number)]
    seen = flat[:, chosen]
    apart = 1.45 * (seen.max() - seen.min())
    for k, (line, neuron) in enumerate(zip(ax.lines, chosen, strict=True)):
        np.testing.assert_array_equal(xs(line), np.arange(shape[1]))
        np.testing.assert_allclose(ys(line), flat[:, neuron] + k * apart, atol=1e-6)
    assert [text.get_text() for text in ax.texts] == ([f"neuron {i}" for i in chosen] if number > 1 else [])


def test_one_neuron_has_an_axis_of_its_own() -> None:
    v = normal(1, 9, 4)
    ax = traces(v, neurons=[2], dt=0.5)
    np.testing.assert_allclose(ys(ax.lines[0]), v[0, :, 2])
    assert ax.get_ylabel() == "membrane of neuron 2"
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_xlim() == (-0.25, 4.25)
    assert traces(v[..., :1]).get_ylabel() == "membrane"
    for indices in ([-1, 0], torch.tensor([3, 0]), np.array([3, 0])):
        assert [text.get_text() for text in traces(v, neurons=indices).texts] == ["neuron 3", "neuron 0"]  # type: ignore[arg-type]


def test_ticks_of_each_trace_are_its_values() -> None:
    v = torch.tensor([[[-60.0, -60.0], [-20.0, -50.0]]])
    ax = traces(v)
    texts = [text.get_text() for text in ax.get_yticklabels()]
    half = len(texts) // 2
    assert texts[:half] == texts[half:]
    values = np.array([float(text.replace("\N{MINUS SIGN}", "-")) for text in texts])
    np.testing.assert_allclose(ax.get_yticks(), values + np.repeat([0.0, 1.45 * 40.0], half))


def test_thresholds() -> None:
    v = torch.rand(2, 6, 3)
    one = traces(v, threshold=1.0, neurons=[1]).lines[1]
    np.testing.assert_allclose(ys(one), [1.0, 1.0])
    np.testing.assert_allclose(xs(one), [-0.5, 5.5])
    each = torch.tensor([1.0, 2.0, 3.0])
    np.testing.assert_allclose(ys(traces(v, threshold=each, neurons=[1]).lines[1]), [2.0, 2.0])
    low, high = (ys(line)[0] for line in traces(v, threshold=each, neurons=[0, 2]).lines[1::2])
    v02 = v[0][:, [0, 2]]
    np.testing.assert_allclose(high - low, 2.0 + 1.45 * (3.0 - float(v02.min())), rtol=1e-6)
    moving = torch.rand(2, 6, 3) + 1
    for given in (moving, moving[1]):
        line = traces(v, threshold=given, neurons=[1], sample=1).lines[1]
        np.testing.assert_allclose(ys(line), moving[1, :, 1])
    pixels(traces(v[:, :1], threshold=1.0))


def test_marks_are_the_spikes_of_their_neuron() -> None:
    v = normal(2, 12, 4)
    spikes = torch.rand(2, 12, 4) < 0.4
    ax = traces(v, spikes=spikes, neurons=[0, 3], sample=1, dt=2.0)
    for band, neuron in zip(ticks(ax), (0, 3), strict=True):
        assert sorted(x for x, _ in points(band)) == [
            2.0 * t for t in spikes[1, :, neuron].nonzero().flatten().tolist()
        ]
        assert len({y for _, y in points(band)}) == 1
    tops = [y for band in ticks(ax) for _, y in points(band)]
    assert max(tops) < ax.get_ylim()[1]
    assert not points(ticks(traces(v, spikes=torch.zeros_like(v)))[0])


def test_a_membrane_that_does_not_move() -> None:
    ax = traces(torch.zeros(1, 5, 2))
    assert ax.get_ylim()[0] < 0 < ax.get_ylim()[1]
    pixels(ax)


# --- rates --------------------------------------------------------------------------------------------------------


def test_bars_count_every_neuron_once() -> None:
    spikes = trains(4, 30, 6, 5, rate=0.2)
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
    assert labels(rates(torch.zeros(1, 1, 1))) == ["100% silent, 0% saturated"]
    pixels(rates(torch.zeros(1, 1, 1)))


def test_rates_are_per_unit_of_time() -> None:
    ax = rates(torch.ones(1, 5, 3), dt=0.5)
    assert ax.get_xlim() == (0.0, 2.0)
    bars: Any = ax.patches[0]
    np.testing.assert_allclose(bars.get_data().edges, np.linspace(0.0, 2.0, 26))
    assert ax.get_xlabel() == "firing rate (spikes per ms)"
    assert rates(torch.ones(1, 5, 3), unit="s").get_xlabel() == "firing rate (spikes per s)"
