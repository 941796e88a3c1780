"""Films: the spikes of an image layer, one picture for each step."""

from os import PathLike, fspath
from pathlib import Path

import numpy as np
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import GRAY, beside, image_of, ink, new_figure
from spikingtorch.plot.inputs import Array

# the longer side of the film, in inches
_SIDE = 3.2


def animation(
    spikes: Tensor,
    path: str | PathLike[str],
    *,
    sample: int = 0,
    fps: float = 8.0,
    most: int = 16,
    dt: float = 1.0,
    unit: str | None = None,
    batch_first: bool = True,
) -> Path:
    """Write the spikes of one sample of an image layer as a GIF, with the channels side by side.

    Args:
        spikes: shape (N, T, C, H, W) or (N, T, H, W), of any real dtype or bool.
        path: path of the film, ``*.gif``.
        sample: which of the N samples.
        fps: steps in a second.
        most: the largest number of channels to draw. If there are more, evenly spaced channels are drawn, and the film
            says so.
        dt: length of a step.
        unit: unit of time; by default steps if dt is 1, and ms otherwise.
        batch_first: False for (T, N, ...), time first.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: spikes are not a real tensor.
        ValueError: spikes have another shape, are empty or hold NaN; path, sample, fps, most or dt do not fit.
    """
    figure = new_figure(_SIDE, _SIDE)
    where = Path(fspath(path))
    if where.suffix.lower() != ".gif":
        raise ValueError(f"animation: path={str(path)!r}, expected the name of a GIF, such as 'spikes.gif'")
    if not fps > 0:
        raise ValueError(f"animation: fps={fps!r}, expected how many steps to show in a second, above 0")
    most, dt = inputs.check_most("animation", "most", most), inputs.check_dt("animation", dt)
    channels, text = _channels(inputs.in_order(spikes, batch_first), sample, most)
    frames = _beside(channels)
    rows, columns = frames.shape[1:]
    figure.set_size_inches(_SIDE * min(1.0, columns / rows), _SIDE * min(1.0, rows / columns) + 0.5)
    ax = figure.add_subplot()
    image = image_of(ax, frames[0], bool((channels < 0).any()), frames)
    # between the channels, and in empty places of their table
    ax.set(xticks=[], yticks=[], facecolor=GRAY)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(text, fontsize="small")
    title = ax.set_title("", fontsize="small", color=ink(ax))
    from matplotlib.animation import PillowWriter

    writer = PillowWriter(fps=fps)  # type: ignore[arg-type]
    with writer.saving(figure, str(where), dpi=150):
        for t, frame in enumerate(frames):
            image.set_data(frame)
            title.set_text(f"step {t + 1} of {len(frames)}" if dt == 1.0 else f"{t * dt:g} {unit or 'ms'}")
            writer.grab_frame(facecolor=figure.get_facecolor())
    return where


def _channels(spikes: Tensor, sample: int, most: int) -> tuple[Array, str]:
    """Return the channels of one sample to draw, shape (T, C, H, W), and their indices."""
    found = inputs.check_tensor("animation", "spikes", spikes)
    if found.ndim not in (4, 5):
        raise ValueError(
            f"animation: spikes has shape {tuple(found.shape)}, expected (N, T, C, H, W) or (N, T, H, W): samples, "
            "steps, channels, height, width; a layer without images is drawn by raster(spikes)"
        )
    inputs.check_recording("animation", "spikes", found)
    images = found if found.ndim == 5 else found.unsqueeze(2)
    seen = images[inputs.check_index("animation", "sample", sample, len(images), "samples in spikes")]
    step = inputs.stride(seen.shape[1], most)
    text = "" if seen.shape[1] == 1 else inputs.subset(step, seen.shape[1], "channels")
    return inputs.check_finite("animation", "spikes", inputs.as_array(seen[:, ::step])), text


def _beside(channels: Array) -> Array:
    """Return images (T, C, H, W) as one image for each step, (T, rows, columns): a table of the channels."""
    steps, count, height, width = channels.shape
    across = int(np.ceil(np.sqrt(count)))
    down = int(np.ceil(count / across))
    grid = np.full((steps, down * across, height, width), np.nan)
    grid[:, :count] = channels
    return beside(grid.reshape(steps, down, across, height, width))
