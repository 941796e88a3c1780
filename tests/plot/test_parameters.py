"""Surrogates and weights: phi' of each docstring by finite differences of phi; and each value where it belongs."""

from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.plot import surrogates, weights
from spikingtorch.verification.cases import SURROGATES
from tests.drawn import normal
from tests.plot.drawn import labels, pixels, xs, ys

ALL: list[Any] = [*SURROGATES, F.FromPrimitive(torch.tanh)]


@pytest.mark.parametrize("surrogate", ALL, ids=lambda surrogate: type(surrogate).__name__)
def test_the_curve_is_the_derivative_of_the_primitive(surrogate: Any) -> None:
    ax = surrogates(surrogate, threshold=0.5)
    step, curve = ax.lines[:2]
    x = torch.as_tensor(xs(curve))
    np.testing.assert_array_equal(ys(step), (x >= 0.5).double())
    u, h = x - 0.5, 1e-6
    slope = (surrogate.primitive(u + h) - surrogate.primitive(u - h)) / (2 * h)
    np.testing.assert_allclose(ys(curve), slope, atol=1e-5)
    # a point at the threshold itself, where the derivative has its peak
    assert 0.5 in x.tolist()


def test_all_in_one_picture() -> None:
    ax = surrogates(ALL)
    assert labels(ax)[:3] == ["spike", "Sigmoid(beta=5)", "FastSigmoid(beta=10)"]
    assert labels(ax)[-1] == "FromPrimitive(tanh)"
    assert len({line.get_color() for line in ax.lines[1:-1]}) == len(ALL)
    pixels(ax)


def test_other_spike_functions_show_their_output() -> None:
    ax = surrogates([F.Strict(), F.Ternary(), F.Graded()], width=3.0)
    outs = [ys(line) for line in ax.lines if line.get_linestyle() == "--"]
    assert len(outs) == 2  # Strict is the plain step
    assert set(outs[0].tolist()) == {-1.0, 0.0, 1.0}
    assert outs[1].max() == pytest.approx(4.0)


def test_gradients_are_drawn_where_they_are_switched_off() -> None:
    with torch.no_grad():
        curve = ys(surrogates(F.Sigmoid(beta=torch.tensor(4.0, requires_grad=True))).lines[1])
    assert curve.max() == pytest.approx(1.0)


# --- weights ------------------------------------------------------------------------------------------------------


def test_a_matrix_is_an_image() -> None:
    weight = normal(3, 5)
    ax = weights(weight)
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array(), weight)  # type: ignore[arg-type]
    largest = float(weight.abs().max())
    assert image.get_clim() == pytest.approx((-largest, largest))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input", "output")
    assert ax.child_axes[0].get_ylabel() == "weight"
    middle: Any = image.get_cmap()(0.5)
    assert min(middle[:3]) > 0.95
    pixels(ax)


@pytest.mark.parametrize(("outputs", "most", "step"), [(6, 64, 1), (1, 64, 1), (40, 10, 4)])
def test_kernels_of_one_input_fill_a_table(outputs: int, most: int, step: int) -> None:
    weight = normal(outputs, 1, 3, 2)
    ax = weights(weight, most=most)
    tiles = np.asarray(ax.images[0].get_array().filled(np.nan))  # type: ignore[union-attr]
    drawn = weight[::step, 0]
    columns = (tiles.shape[1] + 1) // 3
    for k, kernel in enumerate(drawn):
        row, column = divmod(k, columns)
        np.testing.assert_allclose(tiles[4 * row : 4 * row + 3, 3 * column : 3 * column + 2], kernel)
    assert np.isfinite(tiles).sum() == drawn.numel()
    assert len(drawn) <= most
    text = {6: "6 kernels", 1: "1 kernel", 40: "every 4th of 40 kernels"}[outputs]
    assert ax.get_xlabel() == text
    pixels(ax)


def test_kernels_of_many_inputs_are_a_matrix_of_kernels() -> None:
    weight = normal(20, 12, 2, 2)
    ax = weights(weight, most=16)
    tiles = np.asarray(ax.images[0].get_array().filled(np.nan))  # type: ignore[union-attr]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("every 5th of 20 outputs", "every 3rd of 12 inputs")
    for i, source in enumerate(range(0, 12, 3)):
        for j, output in enumerate(range(0, 20, 5)):
            np.testing.assert_allclose(tiles[3 * i : 3 * i + 2, 3 * j : 3 * j + 2], weight[output, source])


@pytest.mark.parametrize("shape", [(), (7,), (4, 3, 5), (2, 2, 2, 2, 2)])
def test_anything_else_is_a_histogram(shape: tuple[int, ...]) -> None:
    weight = normal(*shape)
    ax = weights(weight, label="$w$")
    bars: Any = ax.patches[0]
    assert bars.get_data().values.sum() == weight.numel()
    assert ax.get_title() == f"{weight.numel()} weights"
    assert ax.get_xlabel() == "$w$"


def test_weights_of_zero_are_counted() -> None:
    weight = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert weights(weight).get_title() == "4 weights, 75% of them zero"
    for shape in ((2, 2), (1, 1, 2, 2), (4,)):
        pixels(weights(torch.zeros(shape)))
    assert weights(normal(3, 3), kind="histogram").get_title() == "9 weights"
