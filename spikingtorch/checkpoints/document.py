"""Values as JSON and tensors: each comes back as it was, or packing it raises an error."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

# JSON has null, true, 1, 1.5, "a", [1], {"a": 1}; anything else is {"#": its kind, "of": what it is made from}
MADE: dict[str, Callable[[Any], Any]] = {
    **{"int": lambda text: int(text, 16), "float": float.fromhex, "tuple": tuple, "set": set, "frozenset": frozenset},
    **{"dict": dict, "OrderedDict": OrderedDict, "Counter": lambda pairs: Counter(dict(pairs))},
    **{"Tensor": lambda tensor: tensor, "ndarray": Tensor.numpy, "number": lambda tensor: tensor.numpy()[()]},
}
TENSORS, CONTAINERS = ("Tensor", "ndarray", "number"), (tuple, set, frozenset, dict, OrderedDict, Counter)


def packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON, and put the tensors in it into ``tensors``, by the names at which they stand.

    Raises:
        TypeError: a value, or one in it, is of a kind that is not stored.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if abs(value) < 2**53 else {"#": "int", "of": hex(value)}  # for readers whose numbers are floats
    if kind is float:
        return value if math.isfinite(value) else {"#": "float", "of": value.hex()}
    if kind is list:
        return [packed(each, f"{name}.{k}", tensors) for k, each in enumerate(value)]
    if kind is dict and "#" not in value and all(type(key) is str for key in value):
        return {key: packed(each, f"{name}.{key}", tensors) for key, each in value.items()}
    if kind in CONTAINERS:
        content = [*map(list, value.items())] if isinstance(value, dict) else [*value]
        return {"#": kind.__name__, "of": packed(content, name, tensors)}
    if (tensor := _stored(value)) is not None:
        while name in tensors:  # of the key "a.b" beside a "b" in "a"
            name += "'"
        tensors[name] = tensor
        return {
            "#": "Tensor" if isinstance(value, Tensor) else "ndarray" if kind is np.ndarray else "number",
            "of": name,
        }
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    raise TypeError(
        f"{name} is a {kind.__module__}.{kind.__qualname__}{dtype}. A checkpoint holds None, bool, int, float, str, "
        "list, tuple, set, dict, OrderedDict, Counter, and dense tensors without a gradient and arrays of numbers. Let "
        "state_dict() give these, and load_state_dict() make the object from them"
    )


def _stored(value: Any) -> Any:
    """Return a tensor, or an array as one, if a file of safetensors can hold it."""
    try:
        if type(value) is np.ndarray or isinstance(value, np.generic):
            value = torch.from_numpy(np.array(value))
        if type(value) in (Tensor, nn.Parameter, DTensor) and value.layout is torch.strided and not value.is_meta:
            load(save({"": torch.empty(0, dtype=value.dtype)}))
            return None if value.requires_grad else value.detach()
    except (KeyError, TypeError, ValueError):  # a dtype that NumPy, torch or safetensors does not have
        pass
    return None


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what was packed."""
    if isinstance(value, list):
        return [unpacked(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "#" not in value:
        return {key: unpacked(each, tensors) for key, each in value.items()}
    return MADE[value["#"]](tensors[value["of"]] if value["#"] in TENSORS else unpacked(value["of"], tensors))


def leaves(value: Any, tensors: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return the values in what was packed by their names, those of tensors from ``tensors``."""
    if isinstance(value, dict) and "#" in value:
        of_tensor, content = value["#"] in TENSORS, value["of"]
        return {content: tensors[content]} if of_tensor else leaves(content, tensors, name)
    if not isinstance(value, (dict, list)):
        return {name: value}
    found = dict[str, Any]()
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        found |= leaves(each, tensors, f"{name}.{key}" if name else str(key))
    return found
