"""The page of a network, whose panels are the pictures of its parts, and films, one picture a step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.plot import animation, overview, overview_of, raster
from spikingtorch.plot.animation import _beside, _channels
from spikingtorch.plot.canvas import VERMILION
from spikingtorch.plot.inputs import Array
from tests.folded_layer import Coded
from tests.plot.drawn import labels, pixels, points, ticks, ys

RECORDING = {
    "hidden": {"spikes": (torch.rand(3, 9, 2, 4) < 0.3).float(), "v": torch.randn(3, 9, 2, 4)},
    "1": {"spikes": (torch.rand(3, 9, 5) < 0.3).float(), "v": torch.randn(3, 9, 5), "threshold": torch.ones(3, 9, 5)},
}
RECORDING["hidden"]["spikes"][:, 0] = torch.tensor([[0.0], [1.0]])
RECORDING["hidden"]["spikes"][:, 1:, 0] = 0.0  # of two rows, one is silent
X = (torch.rand(3, 9, 6) < 0.5).float()


def page(out: Tensor, **options: Any) -> dict[str, Any]:
    figure = overview_of(RECORDING, out, options.pop("x", X), **options)
    names = ("input", "raster", "share", "rates", "traces", "output")
    return dict(zip(names, figure.axes, strict=True))


def test_panels_are_the_pictures_of_the_parts() -> None:
    out = RECORDING["1"]["spikes"]
    panels = page(out, sample=2, dt=0.5)
    assert points(ticks(panels["input"])[0]) == points(ticks(raster(X, sample=2, dt=0.5))[0])
    spikes = {name: states["spikes"] for name, states in RECORDING.items()}
    for got, want in zip(ticks(panels["raster"]), ticks(raster(spikes, sample=2, dt=0.5)), strict=True):
        assert points(got) == points(want)
    for line, each in zip(panels["share"].lines, spikes.values(), strict=True):
        np.testing.assert_allclose(ys(line), 100 * each.flatten(2).mean((0, 2)), rtol=1e-6)
    assert [text.split(":")[0] for text in labels(panels["rates"])] == ["hidden", "layer 1"]
    assert panels["traces"].get_title(loc="left") == "membranes of hidden"
    assert [text.get_text() for text in panels["traces"].texts] == ["neuron 4", "neuron 5", "neuron 6"]
    assert {ax.get_xlabel() for name, ax in panels.items() if name != "rates"} == {"time (ms)"}


def test_output_of_spikes_is_their_mean_so_far() -> None:
    out = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]])
    recording = {"a": {"spikes": out}}
    figure = overview_of(recording, out, out, targets=torch.tensor([1]))
    (ax,) = [each for each in figure.axes if each.get_title(loc="left") == "output: highest 0, target 1"]
    np.testing.assert_allclose(ys(ax.lines[0]), [1.0, 1 / 2, 2 / 3, 3 / 4])
    marked = ax.lines[-1]
    assert marked.get_color() == VERMILION
    np.testing.assert_allclose(ys(marked), [0.0, 0.0, 1 / 3, 1 / 4])
    assert ax.get_ylabel() == "mean output so far"


def test_output_of_numbers_is_drawn_as_it_is() -> None:
    out = torch.randn(3, 9, 4)
    ax = page(out)["output"]
    assert ax.get_ylabel() == "output"
    np.testing.assert_allclose(ys(ax.lines[2]), out[0, :, 2])
    assert page(torch.randn(3, 9, 1))["output"].get_title(loc="left") == "output"


def test_inputs_of_numbers_are_an_image() -> None:
    x = torch.randn(3, 9, 6)
    (image,) = page(RECORDING["1"]["spikes"], x=x, sample=1)["input"].images
    np.testing.assert_allclose(image.get_array(), x[1].T)
    assert image.get_extent() == [-0.5, 8.5, -0.5, 5.5]
    positive = page(RECORDING["1"]["spikes"], x=x.abs(), sample=1)["input"]
    assert positive.images[0].get_clim()[0] == 0.0


def test_readouts_are_no_layer_of_spikes() -> None:
    readout = {"spikes": torch.randn(3, 9, 2), "v": torch.randn(3, 9, 2)}
    figure = overview_of({"readout": readout, **RECORDING}, readout["spikes"], X)
    assert len(ticks(figure.axes[1])) == 2


def net(gives: Any = lambda out: out) -> nn.Module:
    parts = {"conv": nn.Conv2d(1, 2, 3), "first": st.LIF(), "linear": nn.Linear(18, 4), "last": st.LI()}
    return Coded(
        lambda net, x, init: gives(net.last(net.linear(net.first(3 * net.conv(x), init).flatten(1)), init)), **parts
    )


def test_a_network_is_run_and_drawn() -> None:
    model = st.SpikingNet(net(), 4)
    x = torch.rand(2, 6, 1, 5, 5)
    figure = overview(model, x, targets=torch.tensor([0, 3]), sample=1)
    names = [text.get_text().split("\n")[0] for text in figure.axes[1].get_yticklabels()]
    assert names == ["first"]
    with torch.no_grad():
        out = model(x)
    np.testing.assert_allclose(ys(figure.axes[-1].lines[0]), out[1, :, 0], atol=1e-6)


def test_of_several_outputs_one_is_drawn() -> None:
    model, x = st.SpikingNet(net(lambda out: {"out": out, "twice": 2 * out})), torch.rand(2, 6, 1, 5, 5)
    with pytest.raises(TypeError, match=r"the network returns a dict.* plot\.overview_of\("):
        overview(model, x)
    with torch.no_grad():
        seen = st.record(model, x, ("spikes", "v"))
    assert overview_of(seen, seen.out["out"], x).axes


def test_neurons_without_a_membrane() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 4), st.McPitts(threshold=0.0)), 4)
    figure = overview(model, torch.rand(2, 1, 3))
    assert [ax.get_title(loc="left") for ax in figure.axes].count("spikes of each layer") == 1
    pixels(figure.axes[0])


def frames(path: Path) -> list[Array]:
    """Return the pictures of a film in gray."""
    with Image.open(path) as film:
        found = []
        for k in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(k)
            found.append(np.asarray(film.convert("L")))
        return found


@pytest.mark.parametrize("dtype", [torch.bool, torch.float16, torch.float32])
def test_a_picture_a_step(tmp_path: Path, dtype: torch.dtype) -> None:
    spikes = torch.zeros(2, 4, 5, 5)
    for t in range(4):
        spikes[1, t, t, 0] = 1.0
    path = animation(spikes.to(dtype), tmp_path / "film.gif", sample=1, fps=5)
    assert path == tmp_path / "film.gif"
    seen = frames(path)
    assert len(seen) == 4
    left = [frame[:, :40] for frame in seen]
    heights = [np.flatnonzero((picture < 100).sum(1) > 10).mean() for picture in left]
    # the spike is black, and moves down by one pixel of the layer at each step
    assert np.allclose(np.diff(heights), np.diff(heights)[0], atol=1.5)
    assert heights[1] > heights[0] + 10


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 3, 2, 4, 5), (4, 11)), ((1, 3, 5, 2, 2), (5, 8)), ((1, 1, 3, 1), (3, 1))]
)
def test_channels_lie_beside_each_other(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    spikes = torch.rand(shape)
    channels, _ = _channels(spikes, 0, 16)
    tiles = _beside(channels)
    assert tiles.shape == (shape[1], *size)
    assert np.isfinite(tiles).sum() == spikes.numel()
    np.testing.assert_allclose(tiles[:, : shape[-2], : shape[-1]], spikes[0] if len(shape) == 4 else spikes[0, :, 0])


def test_a_subset_of_channels_says_so() -> None:
    channels, text = _channels(torch.rand(1, 2, 64, 3, 3), 0, 16)
    assert channels.shape == (2, 16, 3, 3)
    assert text == "every 4th of 64 channels"
    assert _channels(torch.rand(1, 2, 1, 3, 3), 0, 16)[1] == ""


def test_no_spikes_and_values_below_zero(tmp_path: Path) -> None:
    animation(torch.zeros(1, 1, 2, 2), str(tmp_path / "none.gif"))
    animation(-torch.rand(1, 2, 2, 2, requires_grad=True), tmp_path / "below.gif", dt=0.5)
    assert len(list(tmp_path.iterdir())) == 2
