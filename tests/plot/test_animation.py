"""Films: one picture a step, with the spikes of that step in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spikingtorch.plot import animation
from spikingtorch.plot.animation import _beside, _channels
from spikingtorch.plot.inputs import Array


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
