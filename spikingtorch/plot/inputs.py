"""Check what is to be drawn, and convert tensors of any dtype to arrays."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikingtorch.axes import named, spelled

Array: TypeAlias = NDArray[Any]
# one recording, or recordings of several layers by their names: tensors, or mappings with "spikes"
Recordings: TypeAlias = Tensor | Mapping[str, Tensor | Mapping[str, Tensor]]


def as_array(x: Tensor) -> Array:
    """Return the values of a tensor of any real dtype and device as doubles."""
    return x.detach().cpu().to(torch.float64).numpy()


def check_tensor(owner: str, name: str, x: object) -> Tensor:
    """Return x; raise unless it is a tensor of real numbers or booleans."""
    if not isinstance(x, Tensor):
        hint = f"; make one with torch.as_tensor({name})" if isinstance(x, np.ndarray | list | tuple) else ""
        if isinstance(x, Mapping):
            hint = f"; take one of its entries, {', '.join(map(repr, x))}"
        raise TypeError(f"{owner}: {name} is a {type(x).__name__}, expected a torch.Tensor{hint}")
    if x.is_complex():
        raise TypeError(f"{owner}: {name} has dtype {x.dtype}, expected real numbers; draw {name}.abs() for instance")
    return x


def check_finite(owner: str, name: str, values: Array) -> Array:
    """Return the values; raise if one is NaN or infinite."""
    wrong = values.size - int(np.isfinite(values).sum())
    if wrong:
        raise ValueError(
            f"{owner}: {name} holds NaN or infinite values ({wrong:,} of {values.size:,}). Look for weights that "
            "diverged, or draw padded sequences without their padding: x[:, :length]"
        )
    return values


def order_of(owner: str, given: Any, batch_first: bool | None) -> bool:
    """Return whether recordings have samples first, as the caller says or ``record`` has noted, else True.

    Raises:
        ValueError: one contradicts the other, or of some recordings (T, N, ...) is noted, and of others nothing.
    """
    parts = given.values() if isinstance(given, Mapping) else [given]
    noted = [getattr(each, "batch_first", None) for each in parts]
    if batch_first is None and False in noted and None in noted:
        raise ValueError(
            f"{owner}: some recordings are (T, N, ...), as record has noted, and of others nothing is known; pass "
            "batch_first=False if all of them have time first"
        )
    if batch_first is True and False in noted:
        raise ValueError(f"{owner}: batch_first=True, and record has noted that a recording is (T, N, ...)")
    return (False not in noted) if batch_first is None else batch_first


def in_order(given: Any, batch_first: bool) -> Any:
    """Return recordings as (N, T, ...), in any mappings; other objects stay unchanged, for later checks."""
    if batch_first:
        return given
    if isinstance(given, Mapping):
        return {name: in_order(each, batch_first) for name, each in given.items()}
    return given.transpose(0, 1) if isinstance(given, Tensor) and given.ndim > 1 else given


def check_recording(owner: str, name: str, x: object, batch_first: bool = True) -> Tensor:
    """Return a recording; raise unless it has the shape (N, T, *neurons) and is not empty.

    Without ``batch_first``, it was given as (T, N, *neurons), and messages name these axes.
    """
    found = check_tensor(owner, name, x)
    came = tuple(in_order(found, batch_first).shape)
    if found.ndim < 3:
        alone, pair = (f"{name}[None]", "(N, T)") if batch_first else (f"{name}[:, None]", "(T, N)")
        hint = f"pass one sample (T, neurons) as {alone}, one neuron a sample {pair} as {name}[..., None]"
        raise ValueError(f"{owner}: {name} has shape {came}, expected {_axes(batch_first)}; {hint}")
    if found.numel() == 0:
        empty = ["samples", "steps", *["neurons"] * (found.ndim - 2)][[*found.shape].index(0)]
        raise ValueError(f"{owner}: {name} has shape {came}, with no {empty} in it, expected {_axes(batch_first)}")
    return found


def _axes(batch_first: bool) -> str:
    return f"{named(batch_first, '*neurons')}: {spelled(batch_first)}, and at least one axis of neurons"


def check_recordings(owner: str, name: str, given: object, batch_first: bool = True) -> dict[str, Tensor]:
    """Return recordings by the names of their layers; a single one has the name ""."""
    if not isinstance(given, Mapping):
        return {"": check_recording(owner, name, given, batch_first)}
    if not given:
        expected = f"names of layers and their recordings {_axes(batch_first)}"
        raise ValueError(f"{owner}: {name} is an empty mapping, expected {expected}")
    # the spikes among the records of a layer
    spikes = {layer: x["spikes"] if isinstance(x, Mapping) and "spikes" in x else x for layer, x in given.items()}
    return {str(layer): check_recording(owner, f"{name}[{layer!r}]", x, batch_first) for layer, x in spikes.items()}


def check_index(owner: str, name: str, index: object, size: int, what: str) -> int:
    """Return an index of samples or neurons, counted from the end if negative; raise if it does not exist."""
    if isinstance(index, bool) or not isinstance(index, int | np.integer):
        raise TypeError(f"{owner}: {name}={index!r}, expected a whole number, from 0 to {size - 1}")
    if not -size <= index < size:
        raise ValueError(f"{owner}: {name}={index}, expected 0 to {size - 1}: there are {size:,} {what}")
    return int(index) % size


def one_sample(owner: str, name: str, x: Tensor, sample: int, neurons: slice | list[int] = slice(None)) -> Array:
    """Return one sample of a recording, shape (T, neurons); raise if a value is NaN or infinite."""
    seen = x.detach()[check_index(owner, "sample", sample, len(x), f"samples in {name}")].flatten(1)
    return check_finite(owner, name, as_array(seen[:, neurons]))


def check_most(owner: str, name: str, most: object) -> int:
    """Return the largest number to draw; raise unless it is a whole number, 1 or more."""
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ValueError(f"{owner}: {name}={most!r}, expected a whole number, 1 or more")
    return int(most)


def check_dt(owner: str, dt: object) -> float:
    """Return the length of a step; raise unless it is a positive number."""
    if isinstance(dt, bool) or not isinstance(dt, Real) or not 0.0 < float(dt) < math.inf:
        raise ValueError(f"{owner}: dt={dt!r}, expected the length of a step, a positive number such as 0.5 for 0.5 ms")
    return float(dt)


def stride(count: int, most: int) -> int:
    """Return the spacing of at most ``most`` evenly spaced items of ``count``.

    >>> stride(4096, 512), stride(10, 512)
    (8, 1)
    """
    return max(1, math.ceil(count / most))


def ordinal(number: int) -> str:
    """Return an ordinal number.

    >>> [ordinal(n) for n in (2, 3, 8, 11, 21, 112)]
    ['2nd', '3rd', '8th', '11th', '21st', '112th']
    """
    teens = 10 <= number % 100 <= 20
    return f"{number:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def subset(step: int, count: int, what: str) -> str:
    """Return a text that says which items are drawn.

    >>> subset(8, 4096, "neurons"), subset(1, 10, "neurons"), subset(1, 1, "neurons")
    ('every 8th of 4,096 neurons', '10 neurons', '1 neuron')
    """
    named = what.removesuffix("s") if count == 1 else what
    return f"{count:,} {named}" if step == 1 else f"every {ordinal(step)} of {count:,} {what}"
