"""Surrogates: the curves are phi' of each docstring, computed here by finite differences of phi."""

from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.plot import surrogates
from tests.plot.drawn import labels, pixels, xs, ys

ALL: list[Any] = [
    F.Sigmoid(),
    F.FastSigmoid(),
    F.Arctan(),
    F.Triangular(),
    F.Gaussian(),
    F.Erf(),
    F.PiecewiseExponential(),
    F.StraightThrough(),
    F.FromPrimitive(torch.tanh),
]


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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"surrogate": []}, ValueError, "an empty sequence"),
        ({"surrogate": [F.Sigmoid]}, TypeError, r"Sigmoid is no surrogate.*make one of the class: Sigmoid\(\)"),
        ({"surrogate": [3.0]}, TypeError, "3.0 is no surrogate"),
        ({"surrogate": F.Sigmoid(torch.ones(3))}, ValueError, "Sigmoid has a parameter for each neuron"),
        ({"surrogate": F.Sigmoid(), "width": 0.0}, ValueError, "width=0.0, expected a positive number"),
        ({"surrogate": F.Sigmoid(), "threshold": "1"}, TypeError, "threshold='1', expected a number"),
    ],
)
def test_errors_say_what_to_do(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        surrogates(**options)
