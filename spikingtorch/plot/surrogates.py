"""The step of a spike, and the surrogate of its derivative."""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import axes_for, colors, ink, legend_above
from spikingtorch.plot.inputs import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 801


def surrogates(
    surrogate: F.Surrogate | Sequence[F.Surrogate],
    *,
    threshold: float = 1.0,
    width: float = 2.0,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the output of a neuron against its membrane, and the derivative that training uses.

    Both come from ``functional.fire``, the derivative by autograd, so the picture shows what a layer computes. A dashed
    line is an output other than a plain step, such as that of ``functional.Ternary``.

    Args:
        surrogate: a spike function, or several.
        threshold: membrane at which a neuron fires.
        width: range on each side of the threshold, in units of the membrane.
        ax: where to draw; by default a new figure, ``surrogates(...).figure``.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: a surrogate cannot be called, or threshold is not a number.
        ValueError: there is no surrogate, one has a parameter per neuron, or width is not positive.

    >>> from spikingtorch.functional import Arctan, Sigmoid
    >>> surrogates([Sigmoid(beta=5.0), Arctan()]).get_legend_handles_labels()[1]
    ['spike', 'Sigmoid(beta=5)', 'Arctan(alpha=2)']
    """
    ax = axes_for(ax, 5.0, 3.0)
    # a surrogate of the library is a NamedTuple, and therefore also a sequence
    given: list[Any] = [surrogate] if callable(surrogate) else [*surrogate]
    if not given:
        raise ValueError("surrogates: an empty sequence, expected surrogates such as [Sigmoid(), Arctan()]")
    for name, number in (("threshold", threshold), ("width", width)):
        if isinstance(number, bool) or not isinstance(number, Real):
            raise TypeError(f"surrogates: {name}={number!r}, expected a number")
    if width <= 0:
        raise ValueError(f"surrogates: width={width!r}, expected a positive number")
    # an odd number of points, one of which is the threshold, where most derivatives have their peak
    u = threshold + width * torch.linspace(-1.0, 1.0, _POINTS, dtype=torch.float64)
    u[_POINTS // 2] = threshold
    x, step = inputs.as_array(u), inputs.as_array(u >= threshold)
    ax.plot(x, step, color=ink(ax), linewidth=1.0, label="spike")
    for each, color in zip(given, colors(len(given), ax), strict=True):
        out, derivative = _out_and_derivative(each, u, threshold)
        ax.plot(x, derivative, color=color, linewidth=1.8, label=name_of(each))
        # at the threshold itself a strict step may differ
        if (abs(out - step) > 1e-12).sum() > 1:
            ax.plot(x, out, color=color, linewidth=1.0, linestyle="--")
    ax.axvline(threshold, color=ink(ax), linewidth=0.7, linestyle=":")
    ax.set(xlim=(x[0], x[-1]), xlabel="membrane", ylabel="derivative")
    legend_above(ax)
    return ax


def name_of(surrogate: Any) -> str:
    """Return the repr of a surrogate with short numbers, and names in place of addresses of functions.

    >>> name_of(F.Strict(F.Sigmoid(beta=5.0))), name_of(F.FromPrimitive(torch.tanh))
    ('Strict(Sigmoid(beta=5))', 'FromPrimitive(tanh)')
    """
    fields: dict[str, Any] = getattr(surrogate, "_asdict", dict)()
    if not fields:
        return f"{type(surrogate).__name__}()" if hasattr(surrogate, "_fields") else getattr(surrogate, "__name__", "?")
    texts = [
        f"{name}={float(value):g}" if isinstance(value, Real | Tensor) else name_of(value)
        for name, value in fields.items()
    ]
    return f"{type(surrogate).__name__}({', '.join(texts)})"


def _out_and_derivative(surrogate: Any, u: Tensor, threshold: float) -> tuple[Array, Array]:
    """Return the outputs of a neuron at these membranes, and the derivative by each membrane."""
    if not callable(surrogate) or isinstance(surrogate, type):
        name = surrogate.__name__ if isinstance(surrogate, type) else repr(surrogate)
        hint = f"; make one of the class: {name}()" if isinstance(surrogate, type) else ""
        raise TypeError(f"surrogates: {name} is no surrogate, expected one such as Sigmoid(beta=5.0){hint}")
    if any(isinstance(field, Tensor) and field.numel() > 1 for field in getattr(surrogate, "_asdict", dict)().values()):
        raise ValueError(
            f"surrogates: {type(surrogate).__name__} has a parameter for each neuron, expected single numbers. Choose "
            "one: Sigmoid(beta=float(beta[0]))"
        )
    function: Any = surrogate
    u = u.detach().clone().requires_grad_()
    with torch.enable_grad():
        out = F.fire(u, threshold, function, F.none).out
        (derivative,) = torch.autograd.grad(out.sum(), u, allow_unused=True)
    return inputs.as_array(out), inputs.as_array(torch.zeros_like(u) if derivative is None else derivative)
