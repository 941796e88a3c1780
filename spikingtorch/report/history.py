"""The training history of a network, as curves over its epochs."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.report.firing import named

# the entries of SpikeMonitor.metrics for a layer, such as "layer/rate", and their axis labels
OF_LAYERS = {
    "rate": "firing rate (spikes per step)",
    "silent": "silent neurons (%)",
    "saturated": "saturated neurons (%)",
    "interval": "interval between spikes (steps)",
    "interval_cv": "variation of intervals",
}
_SHARES = ("silent", "saturated")
_SETS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev"}
_EXPECTED = (
    'expected a dict of lists, {"loss": [...], "accuracy": [...]}, or a list of dicts, one for each epoch, such as '
    '{"loss": loss, **monitor.metrics()}'
)


class Curve(NamedTuple):
    """Values over epochs."""

    name: str  # name of the logged value, or of its layer
    epochs: tuple[float, ...]  # epochs that have a value, counted from 1 unless the history has its own "epoch"
    values: tuple[float, ...]  # the values, including logged NaN and infinities


class History(NamedTuple):
    """A history, sorted."""

    charts: dict[str, list[Curve]]  # curves of one quantity together, for instance training and test, by its name
    layers: dict[str, list[Curve]]  # for a quantity of ``OF_LAYERS``, a curve for each layer; shares as percentages
    never: list[str]  # "silent" or "saturated", if no neuron of any layer was so in any epoch; these have no curves


def read_history(history: Any, layers: Sequence[str]) -> History:
    """Return the logged values as curves; those of spiking layers are found by their names.

    A history maps names to values over epochs, or has for each epoch a mapping, or a pair of loss and accuracy.

    Raises:
        TypeError: the history is of another type, or holds a value that is not a number.

    >>> found = read_history([{"loss": 0.5, "sl1/rate": 0.1}, {"loss": 0.25, "sl1/rate": 0.2}], ["sl1"])
    >>> found.charts["loss"][0].values, found.layers["rate"][0].name
    ((0.5, 0.25), 'sl1')
    """
    columns = _columns(history)
    own = columns.pop("epoch", None)
    charts: dict[str, list[Curve]] = {}
    of_layers: dict[str, list[Curve]] = {quantity: [] for quantity in OF_LAYERS}
    for name, values in columns.items():
        there = [(t, value) for t, value in enumerate(values) if value is not None]
        logged = {t: epoch for t, epoch in enumerate(own or ()) if epoch is not None and math.isfinite(epoch)}
        curve = Curve(name, tuple(logged.get(t, t + 1.0) for t, _ in there), tuple(value for _, value in there))
        path, _, quantity = name.rpartition("/")
        if there and quantity in OF_LAYERS and (path or "net") in layers:
            of_layers[quantity].append(curve._replace(name=path or "net"))
        elif there:
            charts.setdefault(_quantity(name), []).append(curve)
    found = History(charts, {}, [])
    for quantity, curves in of_layers.items():
        curves.sort(key=lambda curve: layers.index(curve.name))
        if any(any(curve.values) for curve in curves) or (curves and quantity not in _SHARES):
            factor = 100.0 if quantity in _SHARES else 1.0
            found.layers[quantity] = [
                curve._replace(name=named(curve.name), values=tuple(factor * value for value in curve.values))
                for curve in curves
            ]
        elif curves:
            found.never.append(quantity)
    return found


def _columns(history: Any) -> dict[str, list[float | None]]:
    """Return the values by name; None if an epoch has no value."""
    if isinstance(history, str) or not isinstance(history, Iterable):
        raise TypeError(f"report: history is a {type(history).__name__}, {_EXPECTED}")
    if not isinstance(history, Mapping):
        rows = [_row(epoch, number) for number, epoch in enumerate(history, 1)]
        history = {name: [row.get(name) for row in rows] for row in rows for name in row}
    return {str(name): [_number(name, value) for value in _listed(name, values)] for name, values in history.items()}


def _row(epoch: Any, number: int) -> dict[str, Any]:
    if isinstance(epoch, Mapping):
        return {str(name): value for name, value in epoch.items()}
    if isinstance(epoch, tuple | list) and len(epoch) == 2:
        return {"loss": epoch[0], "accuracy": epoch[1]}
    raise TypeError(f"report: history holds a {type(epoch).__name__} for epoch {number}, {_EXPECTED}")


def _listed(name: object, values: Any) -> list[Any]:
    if isinstance(values, Tensor) and values.ndim == 1:
        return list(values.tolist())
    if isinstance(values, str) or not isinstance(values, Iterable) or isinstance(values, Tensor):
        raise TypeError(
            f"report: history[{name!r}] is a {type(values).__name__}, expected a list of numbers, one an epoch"
        )
    return [*values]


def _number(name: object, value: Any) -> float | None:
    """Return a logged number; None if there is none."""
    if value is None or isinstance(value, Real):
        return None if value is None else float(value)
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.detach())
    item = getattr(value, "item", None)
    if getattr(value, "shape", None) == () and callable(item):
        return _number(name, item())
    raise TypeError(f"report: history[{name!r}] holds {value!r}, expected numbers, such as loss.item()")


def _quantity(name: str) -> str:
    """Return the quantity of a curve, without the name of its data set.

    >>> [_quantity(name) for name in ("loss", "train_loss", "val/loss", "test accuracy", "train")]
    ['loss', 'loss', 'loss', 'accuracy', 'train']
    """
    words = [word for word in re.split(r"[\s_/.:-]+", name) if word]
    kept = [word for word in words if word.lower() not in _SETS]
    return " ".join(kept) if kept and len(kept) < len(words) else name


def described(curve: Curve) -> str:
    """Describe a curve in words, with its numbers.

    >>> described(Curve("loss", (1.0, 2.0, 3.0), (1.5, 0.25, 0.5)))
    'loss from 1.5 to 0.5 over 3 epochs, lowest 0.25 in epoch 2, highest 1.5 in epoch 1'
    """
    finite = [(value, epoch) for value, epoch in zip(curve.values, curve.epochs, strict=True) if math.isfinite(value)]
    wrong = len(curve.values) - len(finite)
    end = f"; {wrong} values that are NaN or infinite are left out" if wrong else ""
    if not finite:
        return f"{curve.name}: no finite value"
    if len(finite) == 1:
        return f"{curve.name} {finite[0][0]:.4g} in epoch {finite[0][1]:g}{end}"
    (low, at_low), (high, at_high) = min(finite), max(finite, key=lambda each: each[0])
    return (
        f"{curve.name} from {finite[0][0]:.4g} to {finite[-1][0]:.4g} over {len(finite)} epochs, lowest {low:.4g} in "
        f"epoch {at_low:g}, highest {high:.4g} in epoch {at_high:g}{end}"
    )
