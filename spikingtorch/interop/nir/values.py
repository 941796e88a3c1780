"""Convert numbers between NIR's arrays and the parameters of layers."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikingtorch.functional import lift

Array: TypeAlias = npt.NDArray[Any]


def parameter(array: Any, dtype: torch.dtype) -> Tensor | float:
    """Return an array as a parameter of a step: a float if all its values are the same, else a tensor."""
    flat = np.asarray(array, dtype=np.float64)
    if flat.size and (flat == flat.flat[0]).all():
        return float(flat.flat[0])
    return torch.from_numpy(flat.copy()).to(dtype)


def at_most(array: Any, dtype: torch.dtype) -> Array:
    """Return the largest numbers of a dtype that do not exceed an array's values, as doubles.

    A membrane of that dtype is above the original threshold if and only if it is above the result.
    """
    wanted = np.asarray(array, dtype=np.float64)
    found = torch.from_numpy(wanted.copy()).to(dtype)
    lower = torch.nextafter(found, torch.full_like(found, -float("inf")))
    return torch.where(found.double() > torch.from_numpy(wanted.copy()), lower, found).double().numpy()


def just_below(value: Array, dtype: torch.dtype) -> Array:
    """Return the next smaller numbers of a dtype, so that ``u > result`` is equivalent to ``u >= value``."""
    found = torch.tensor(np.array(value), dtype=dtype)
    return torch.nextafter(found, torch.full_like(found, -float("inf"))).numpy()


def as_array(value: Tensor | float, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Array:
    """Return a parameter with one value for each neuron, in double precision unless a dtype is given."""
    tensor = lift(value) if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    found = tensor.detach().cpu().to(dtype or torch.float64).numpy()
    return np.array(np.broadcast_to(found, shape))
