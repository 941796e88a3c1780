"""What all pictures share: whose axes they are, their colours, what they need, and what cannot be drawn."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure
import matplotlib.style
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import plot
from spikingtorch.plot import animation, overview_of, phase_plane, raster, rates, surrogates, traces, weights
from spikingtorch.plot.canvas import ON_DARK, ON_LIGHT, colors
from tests.drawn import trains
from tests.plot.drawn import pixels

DOCS = Path(__file__).parents[2] / "docs"
SPIKES = trains(2, 8, 3, 4)
# each takes the axes to draw on
DRAWN: dict[str, Callable[[Axes | None], Axes]] = {
    "raster": lambda ax: plot.raster(SPIKES, ax=ax),
    "layers": lambda ax: plot.raster({"a": SPIKES, "b": SPIKES}, ax=ax),
    "labels": lambda ax: plot.raster(SPIKES, labels=range(12), ax=ax),
    "graded": lambda ax: plot.raster(0.5 * SPIKES, ax=ax),
    "traces": lambda ax: plot.traces(SPIKES, spikes=SPIKES, threshold=1.0, ax=ax),
    "rates": lambda ax: plot.rates({"a": SPIKES, "b": SPIKES}, ax=ax),
    "surrogates": lambda ax: plot.surrogates([F.Sigmoid(), F.Ternary()], ax=ax),
    "matrix": lambda ax: plot.weights(SPIKES[0, :, 0], ax=ax),
    "kernels": lambda ax: plot.weights(SPIKES, ax=ax),
    "histogram": lambda ax: plot.weights(SPIKES, kind="histogram", ax=ax),
    "phase_plane": lambda ax: plot.phase_plane(st.CubaLIF(), torch.full((9,), 0.2), ax=ax),
}
# each takes a recording
OF_RECORDINGS: dict[str, Callable[[Any], object]] = {
    "raster": plot.raster,
    "rates": plot.rates,
    "traces": lambda x: plot.traces(x, spikes=x, threshold=x),
    "weights": lambda x: plot.weights(x),
    "overview": lambda x: plot.overview_of({"a": {"spikes": x, "v": x}}, x, x),
}
# the figures whose axes are of time
DRAWN_OVER_TIME: dict[str, Callable[[Any], Any]] = {
    "raster": lambda x: plot.raster(x).figure,
    "traces": lambda x: plot.traces(x).figure,
    "overview": lambda x: plot.overview_of({"a": {"spikes": x, "v": x}}, x, x),
}


@pytest.fixture
def _no_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an import of pyplot fail."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)


@pytest.mark.sampled
@pytest.mark.usefixtures("_no_pyplot")
@pytest.mark.parametrize("name", DRAWN)
def test_axes_are_those_given_or_new(name: str) -> None:
    given = Figure(figsize=(3.4, 2.4), layout="constrained").add_subplot()
    assert DRAWN[name](given) is given
    # matplotlib warns where labels leave no room, and a warning is an error here
    pixels(given)
    new = DRAWN[name](None)
    assert new is not given
    assert isinstance(new.figure, Figure)


@pytest.mark.usefixtures("_no_pyplot")
def test_films_and_pages_leave_pyplot_alone(tmp_path: Path) -> None:
    plot.animation(SPIKES[:, :2], tmp_path / "film.gif")
    pixels(plot.overview_of({"a": {"spikes": SPIKES}}, SPIKES, SPIKES).axes[0])


@pytest.mark.parametrize("name", DRAWN)
def test_dark_axes_get_bright_text(name: str) -> None:
    with matplotlib.style.context("dark_background"):
        ax = Figure(layout="constrained").add_subplot()
    DRAWN[name](ax)  # the colours are those of the axes, wherever they are drawn on
    legend = ax.get_legend()
    texts: list[Any] = [ax.xaxis.label, *ax.texts, *(legend.get_texts() if legend is not None else [])]
    shown: list[Any] = [each.get_color() for each in [*texts, *ax.lines]]
    assert "#000000" not in {to_hex(color) for color in shown}


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_ticks_are_at_whole_steps(steps: int) -> None:
    x = SPIKES[:, :steps]
    figures = [draw(x) for draw in DRAWN_OVER_TIME.values()]
    axes = [ax for figure in figures for ax in figure.axes if ax.get_xlabel() == "time (steps)"]
    assert len(axes) == 7
    for ax in axes:
        left, right = ax.get_xlim()
        shown = [float(place) for place in ax.get_xticks() if left <= place <= right]
        assert shown
        assert all(place == round(place) for place in shown)


@pytest.mark.parametrize("name", OF_RECORDINGS)
def test_any_real_dtype_gradients_and_views(name: str) -> None:
    given = [SPIKES.to(dtype) for dtype in (torch.bool, torch.int64, torch.float16, torch.bfloat16)]
    given += [SPIKES.clone().requires_grad_() * 1.0, torch.nn.Parameter(SPIKES.transpose(2, 3))]
    for spikes in given:
        OF_RECORDINGS[name](spikes)
    with torch.inference_mode():
        OF_RECORDINGS[name](SPIKES.clone())


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"^spikingtorch.plot needs matplotlib; pip install spikingtorch\[plot\]$"
    calls: list[Callable[[], object]] = [lambda each=each: each(None) for each in DRAWN.values()]  # type: ignore[misc]
    calls += [
        lambda: plot.animation(SPIKES, tmp_path / "film.gif"),
        lambda: plot.overview_of({"a": {"spikes": SPIKES}}, SPIKES, SPIKES),
    ]
    for call in calls:
        with pytest.raises(ImportError, match=message):
            call()


def test_colours_differ() -> None:
    light = Figure().add_subplot()
    with matplotlib.style.context("dark_background"):
        dark = Figure().add_subplot()
    for count in (1, 6, 7, 30):
        for ax in (light, dark):
            assert len({*colors(count, ax)}) == count
    assert {*ON_LIGHT} == {*ON_DARK} == {*colors(6, light)} == {*colors(6, dark)}
    assert colors(1, light) != colors(1, dark)


def test_the_page_shows_sharp_and_small_pictures_of_its_own_code() -> None:
    page = (DOCS / "plots.md").read_text()
    code, names = re.split(r"images/plots/[a-z_]+\.(?:png|gif)", page), re.findall(r"images/plots/([a-z_]+\.\w+)", page)
    assert sorted(names) == sorted(path.name for path in (DOCS / "images" / "plots").iterdir())
    assert all(re.search(r"^(>>>|\.\.\.) .*plot\.", text, re.MULTILINE) for text in code[:-1])
    for name in names:
        path = DOCS / "images" / "plots" / name
        assert path.stat().st_size < 150_000, path
        with Image.open(path) as image:
            assert image.width >= (480 if path.suffix == ".gif" else 1300), path


def test_figures_are_sharp_unless_the_user_wants_more() -> None:
    assert plot.raster(SPIKES).figure.dpi == 200.0
    with matplotlib.rc_context({"figure.dpi": 300.0}):
        assert plot.raster(SPIKES).figure.dpi == 300.0


@pytest.mark.sampled
@pytest.mark.parametrize("name", DRAWN)
def test_a_notebook_shows_the_picture(name: str) -> None:
    """IPython asks the last value of a cell for its picture and the size of that; pyplot shows its own figures."""
    drawn: Any = DRAWN[name](None)
    data, size = drawn._repr_png_()
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (2 * size["width"], 2 * size["height"])
        assert len(image.getcolors(1 << 24) or ()) > 1
    of_pyplot: Any = DRAWN[name](matplotlib.figure.Figure().add_subplot())
    assert not hasattr(of_pyplot, "_repr_png_")
    assert repr(drawn).startswith("<Axes")


def test_a_notebook_shows_the_overview() -> None:
    figure: Any = plot.overview_of({"a": {"spikes": SPIKES, "v": SPIKES}}, SPIKES, SPIKES)
    assert figure._repr_png_()[0].startswith(b"\x89PNG")
    assert isinstance(figure, Figure)


ONES = torch.ones(2, 5, 4)
NAN = torch.full((1, 2, 3), torch.nan)
RECORDING = {"a": {"spikes": ONES, "v": ONES}}
# what is drawn without an error
RIGHT: dict[Callable[..., Any], dict[str, Any]] = {
    raster: {"spikes": ONES},
    traces: {"v": ONES[:1]},
    rates: {"spikes": ONES},
    surrogates: {"surrogate": F.Sigmoid()},
    weights: {"weight": torch.ones(3, 3)},
    phase_plane: {"neuron": st.ALIF(), "x": torch.ones(5)},
    animation: {"spikes": torch.ones(1, 2, 3, 3), "path": "film.gif"},
    overview_of: {"layers": RECORDING, "out": ONES, "x": ONES},
}
WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (raster, {"spikes": ONES[0]}, r"spikes has shape \(5, 4\), expected \(N, T, \*neurons\).*spikes\[None\]"),
    (raster, {"spikes": ONES[:0]}, "no samples"),
    (raster, {"spikes": ONES[:, :0]}, "no steps"),
    (raster, {"spikes": torch.ones(1, 5, 2, 0)}, "no neurons"),
    (raster, {"spikes": {"out": ONES[0]}}, r"spikes\['out'\] has shape"),
    (raster, {"spikes": {}}, "empty mapping"),
    (raster, {"spikes": NAN}, r"NaN or infinite values \(6 of 6\)"),
    (raster, {"sample": 2}, "sample=2, expected 0 to 1: there are 2 samples in spikes"),
    (raster, {"most": 0}, "most=0, expected a whole number, 1 or more"),
    (raster, {"dt": 0.0}, "dt=0.0, expected the length of a step"),
    (raster, {"labels": [1, 2]}, "labels has 2 entries, expected 4: one for each neuron"),
    (raster, {"spikes": {"a": ONES}, "labels": [1] * 4}, "labels are those of the neurons of one recording"),
    (traces, {"v": ONES[0]}, r"v has shape \(5, 4\)"),
    (traces, {"v": torch.full((1, 5, 4), torch.inf)}, "v holds NaN or infinite"),
    (traces, {"spikes": ONES[:1, :, :3]}, r"spikes has shape \(1, 5, 3\), expected that of v, \(1, 5, 4\)"),
    (traces, {"threshold": torch.ones(3)}, r"threshold of shape \(3,\) does not broadcast.*has shape \(4,\)"),
    (traces, {"neurons": 0}, "neurons=0, expected a whole number, 1 or more"),
    (traces, {"neurons": [4]}, "neurons=4, expected 0 to 3: there are 4 neurons in v"),
    (traces, {"sample": 1}, "sample=1, expected 0 to 0"),
    (traces, {"dt": -1.0}, "dt=-1.0"),
    (rates, {"spikes": ONES[:0]}, "no samples"),
    (rates, {"spikes": {"a": NAN}}, r"spikes\['a'\] holds NaN"),
    (rates, {"bins": 0}, "bins=0"),
    (surrogates, {"surrogate": []}, "an empty sequence"),
    (surrogates, {"surrogate": F.Sigmoid(torch.ones(3))}, "Sigmoid has a parameter for each neuron"),
    (surrogates, {"width": 0.0}, "width=0.0, expected a positive number"),
    (weights, {"weight": torch.ones(3), "kind": "image"}, r"kind='image' needs 2 axes, and weight has shape \(3,\)"),
    (weights, {"kind": "kernels"}, "needs 4 axes"),
    (weights, {"kind": "violin"}, "kind='violin', expected 'histogram', 'image' or 'kernels'"),
    (weights, {"weight": torch.ones(0, 3)}, "nothing in it to draw"),
    (weights, {"weight": NAN}, "weight holds NaN"),
    (weights, {"weight": torch.ones(2, 1, 3, 3), "most": 0}, "most=0"),
    (phase_plane, {"neuron": st.LIF()}, r"LIFState has the fields \['v'\], expected two states or more"),
    (phase_plane, {"neuron": st.ALIF(refractory=2)}, "neither recurrent= nor refractory="),
    (phase_plane, {"neuron": st.ALIF(threshold=torch.ones(3))}, "for several neurons, expected those of one"),
    (phase_plane, {"x": torch.ones(5, 2)}, r"x has shape \(5, 2\), expected \(T,\)"),
    (phase_plane, {"x": torch.ones(0)}, r"x has shape \(0,\)"),
    (phase_plane, {"states": ("v", "w")}, r"expected two of \('v', 'a'\)"),
    (phase_plane, {"x": torch.full((5,), torch.nan)}, "x holds NaN"),
    (animation, {"spikes": NAN}, r"spikes has shape \(1, 2, 3\), expected \(N, T, C, H, W\) or \(N, T, H, W\)"),
    (animation, {"spikes": torch.ones(0, 2, 3, 3)}, "no samples"),
    (animation, {"path": "film.mp4"}, "path='film.mp4', expected the name of a GIF"),
    (animation, {"fps": 0}, "fps=0"),
    (animation, {"sample": 1}, "sample=1"),
    (animation, {"spikes": torch.full((1, 2, 3, 3), torch.inf)}, "NaN or infinite"),
    (overview_of, {"targets": torch.zeros(3)}, r"targets has shape \(3,\), expected \(2,\)"),
    (overview_of, {"targets": torch.tensor([0, 4])}, "targets holds 4, expected classes from 0 to 3: .* returns 4"),
    (overview_of, {"targets": torch.tensor([0, -1])}, "targets holds -1, expected classes from 0 to 3"),
    (overview_of, {"sample": 3}, "sample=3, expected 0 to 1"),
    (overview_of, {"x": ONES[0]}, r"x has shape \(5, 4\)"),
    (overview_of, {"layers": {"readout": {"spikes": torch.randn(2, 5, 4)}}}, "empty mapping"),
    *((draw, {name: ONES[:0]}, "with no samples in it") for draw, name in ((traces, "v"), (overview_of, "x"))),
]
OF_ANOTHER_TYPE: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (raster, {"spikes": np.ones((1, 2, 3))}, r"spikes is a ndarray.* make one with torch.as_tensor\(spikes\)"),
    (raster, {"spikes": ONES.to(torch.complex64)}, "dtype torch.complex64, expected real numbers"),
    (raster, {"spikes": None}, "spikes is a NoneType"),
    (raster, {"spikes": {"1": {"v": ONES}}}, r"spikes\['1'\] is a dict, expected a torch.Tensor"),
    (raster, {"ax": Figure().subplots(1, 2)}, r"ax is a ndarray, expected matplotlib Axes.*axes\[0\]"),
    (traces, {"v": {"spikes": ONES, "v": 0}}, "v is a dict, .* of its entries, 'spikes', 'v'$"),
    (traces, {"neurons": []}, r"neurons=\[\], expected how many to draw, or a list"),
    (traces, {"neurons": [0.5]}, "neurons=0.5, expected a whole number"),
    (surrogates, {"surrogate": [F.Sigmoid]}, r"Sigmoid is no surrogate.*make one of the class: Sigmoid\(\)"),
    (surrogates, {"surrogate": [3.0]}, "3.0 is no surrogate"),
    (surrogates, {"threshold": "1"}, "threshold='1', expected a number"),
    (weights, {"weight": [1.0]}, "weight is a list"),
    (phase_plane, {"x": torch.ones(5).long()}, r"x has dtype torch.int64.*x.float\(\)"),
    (phase_plane, {"neuron": F.alif_step}, "a step needs start="),
    (phase_plane, {"neuron": torch.nn.Linear(1, 1)}, "neuron is a Linear, expected a spiking layer or a step"),
]
ROWS = [(*row, ValueError) for row in WRONG] + [(*row, TypeError) for row in OF_ANOTHER_TYPE]


@pytest.mark.parametrize(("draw", "options", "message", "error"), ROWS)
def test_errors_say_what_to_do(
    draw: Any, options: Any, message: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        draw(**(RIGHT[draw] | options))
    assert not list(tmp_path.iterdir())
