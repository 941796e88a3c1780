"""Traces: each is its membrane, moved up by a whole number of bands."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch.plot import traces
from tests.plot.drawn import pixels, points, ticks, xs, ys


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(2, 17, 5), (2, 17, 2, 3), (2, 1, 5), (1, 2, 1)])
def test_traces_are_the_membranes(shape: tuple[int, ...]) -> None:
    v = draw(*shape)
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
    v = draw(1, 9, 4)
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
    v = draw(2, 12, 4)
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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"v": torch.ones(5, 4)}, ValueError, r"v has shape \(5, 4\)"),
        ({"v": torch.full((1, 5, 4), torch.inf)}, ValueError, "v holds NaN or infinite"),
        ({"spikes": torch.ones(1, 5, 3)}, ValueError, r"spikes has shape \(1, 5, 3\), expected that of v, \(1, 5, 4\)"),
        ({"threshold": torch.ones(3)}, ValueError, r"threshold of shape \(3,\) does not broadcast.*has shape \(4,\)"),
        ({"v": {"spikes": torch.ones(1, 5, 4), "v": 0}}, TypeError, "v is a dict, .* of its entries, 'spikes', 'v'$"),
        ({"neurons": 0}, ValueError, "neurons=0, expected a whole number, 1 or more"),
        ({"neurons": [4]}, ValueError, "neurons=4, expected 0 to 3: there are 4 neurons in v"),
        ({"neurons": []}, TypeError, r"neurons=\[\], expected how many to draw, or a list"),
        ({"neurons": [0.5]}, TypeError, "neurons=0.5, expected a whole number"),
        ({"sample": 1}, ValueError, "sample=1, expected 0 to 0"),
        ({"dt": -1.0}, ValueError, "dt=-1.0"),
    ],
)
def test_errors_say_what_to_do(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        traces(**{"v": torch.ones(1, 5, 4), **options})
