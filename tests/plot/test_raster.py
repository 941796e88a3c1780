"""Rasters: what is drawn is what is not zero, where it is, and nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch import LIF, SpikingNet
from spikingtorch.plot import raster
from spikingtorch.plot.marks import LARGEST
from spikingtorch.plot.palette import ON_LIGHT
from spikingtorch.watching.recording import record
from tests.plot.drawn import disks, labels, pixels, points, ticks


def draw(*shape: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < rate).float()


@pytest.mark.parametrize("shape", [(2, 17, 5), (2, 17, 3, 4, 2), (2, 1, 5), (2, 17, 1), (1, 1, 1)])
def test_positions_are_those_of_the_spikes(shape: tuple[int, ...]) -> None:
    spikes = draw(*shape)
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
    spikes = draw(1, 20, 3)
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
    layers = {"input": draw(2, 9, 2, 30), "hidden": draw(2, 9, 10), "out": torch.zeros(2, 9, 3)}
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
    with pytest.raises(TypeError, match=r"spikes\['1'\] is a dict, expected a torch.Tensor"):
        raster({"1": {"v": recording["1"]["v"]}})


def test_layers_of_one_length_and_of_others() -> None:
    ax = raster({"short": draw(1, 5, 3), "long": draw(1, 8, 3)})
    assert ax.get_xlim() == (-0.5, 7.5)
    assert len(raster({str(k): draw(1, 4, 2) for k in range(9)}).get_yticks()) == 9


@pytest.mark.parametrize("given", [torch.tensor([1, 0, 1]), [1, 0, 1], [True, False, True], ["b", "a", "b"]])
def test_labels_colour_neurons(given: Any) -> None:
    ax = raster(torch.ones(1, 1, 3), labels=given)
    colors = [tuple(color) for color in np.asarray(ticks(ax)[0].get_facecolor())]
    assert colors[0] == colors[2] != colors[1]
    each = given.tolist() if isinstance(given, Tensor) else given
    assert labels(ax) == sorted({str(label) for label in each})


def test_labels_follow_the_subset() -> None:
    ax = raster(torch.ones(1, 1, 6), labels=[0, 1, 0, 0, 1, 1], most=2)  # neurons 0 and 3
    assert len({tuple(color) for color in np.asarray(ticks(ax)[0].get_facecolor())}) == 1
    assert len(labels(raster(torch.ones(1, 1, 12), labels=range(12)))) == 12 > len(ON_LIGHT)


def test_graded_spikes_are_disks_whose_area_is_their_value() -> None:
    spikes = torch.tensor([[[0.5, 0.0], [-2.0, 1.0]]])
    ax = raster(spikes)
    found = disks(ax)
    assert np.asarray(found.get_offsets()).tolist() == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    np.testing.assert_allclose(found.get_sizes(), LARGEST * np.array([0.25, 1.0, 0.5]))
    assert np.asarray(found.get_facecolor())[:, 3].tolist() == [1.0, 0.0, 1.0]
    assert ax.get_title(loc="right") == "area: value, largest 2; rings: below zero"
    assert raster(spikes.abs()).get_title(loc="right") == "area: value, largest 2"
    pixels(ax)


def test_no_spikes_is_an_empty_raster() -> None:
    ax = raster(torch.zeros(1, 5, 4))
    assert not points(ticks(ax)[0])
    assert ax.get_ylim() == (-0.5, 3.5)
    pixels(ax)


@pytest.mark.parametrize(
    ("spikes", "options", "message"),
    [
        (torch.ones(5, 4), {}, r"spikes has shape \(5, 4\), expected \(N, T, \*neurons\).*spikes\[None\]"),
        (torch.ones(0, 5, 4), {}, "no samples"),
        (torch.ones(1, 0, 4), {}, "no steps"),
        (torch.ones(1, 5, 2, 0), {}, "no neurons"),
        ({"out": torch.ones(5, 4)}, {}, r"spikes\['out'\] has shape"),
        ({}, {}, "empty mapping"),
        (torch.full((1, 2, 3), torch.nan), {}, r"NaN or infinite values \(6 of 6\)"),
        (torch.ones(2, 5, 4), {"sample": 2}, "sample=2, expected 0 to 1: there are 2 samples in spikes"),
        (torch.ones(2, 5, 4), {"most": 0}, "most=0, expected a whole number, 1 or more"),
        (torch.ones(2, 5, 4), {"dt": 0.0}, "dt=0.0, expected the length of a step"),
        (torch.ones(2, 5, 4), {"labels": [1, 2]}, "labels has 2 entries, expected 4: one for each neuron"),
        ({"a": torch.ones(2, 5, 4)}, {"labels": [1] * 4}, "labels are those of the neurons of one recording"),
    ],
)
def test_errors_say_what_to_do(spikes: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raster(spikes, **options)


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        (np.ones((1, 2, 3)), r"spikes is a ndarray, expected a torch.Tensor; make one with torch.as_tensor\(spikes\)"),
        (torch.ones(1, 2, 3, dtype=torch.complex64), "dtype torch.complex64, expected real numbers"),
        (None, "spikes is a NoneType"),
    ],
)
def test_types_that_cannot_be_drawn(spikes: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        raster(spikes)
