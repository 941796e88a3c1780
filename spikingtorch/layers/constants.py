"""The constants of a layer in its ``state_dict``: floats, and the kinds of its surrogate and reset rule.

They are one uint8 tensor a layer, which holds JSON: ``torch.load(weights_only=True)`` reads it, and what copies tensors
copies it as well.
"""

import json
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

Constants: TypeAlias = dict[str, Any]


def described(value: Any) -> Any:
    """Return a constant as JSON has it: a number as it is, anything else by its kind and its own constants."""
    if isinstance(value, float | str | bool | int) or value is None:
        return value
    if isinstance(value, Tensor):
        return {"dtype": str(value.dtype).removeprefix("torch."), "values": value.tolist()}
    fields = getattr(value, "_fields", ())
    kind = getattr(value, "__name__", None) if not fields else None
    return {"kind": kind or type(value).__name__} | {name: described(getattr(value, name)) for name in fields}


def packed(constants: Constants) -> Tensor:
    """Return constants as a tensor."""
    return torch.frombuffer(bytearray(json.dumps(constants).encode()), dtype=torch.uint8).clone()


def unpacked(packed: Tensor) -> Constants:
    """Return the constants that a tensor holds.

    Raises:
        ValueError: it holds something else.
    """
    try:
        found = json.loads(bytes(packed.cpu().tolist()).decode())
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"is not what a spiking layer has saved ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"is a {type(found).__name__}, and not what a spiking layer has saved")
    return found


def taken_over(value: Any, saved: Any) -> Any:
    """Return a constant with the numbers of a saved one of the same kind.

    Args:
        value: of the layer.
        saved: as ``described`` returned it.
    """
    if isinstance(value, float):
        return float(saved)
    if isinstance(value, Tensor):
        return torch.tensor(saved["values"], dtype=getattr(torch, saved["dtype"]), device=value.device)
    fields = [field for field in saved if field != "kind"] if isinstance(saved, Mapping) else []
    return type(value)(*[taken_over(getattr(value, field), saved[field]) for field in fields]) if fields else value


def same_kind(one: Any, other: Any) -> bool:
    """Say whether two constants, as they are described, differ in their numbers alone."""
    numbers = [type(each) in (float, int) for each in (one, other)]
    if all(numbers):
        return True
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return bool(one == other)
    return one.keys() == other.keys() and all(
        name in ("values", "dtype") or same_kind(one[name], other[name]) for name in one
    )


def shown(saved: Any) -> str:
    """Return what messages call a constant."""
    if not isinstance(saved, Mapping) or "kind" not in saved:
        return "a tensor" if isinstance(saved, Mapping) else repr(saved)
    inner = [
        shown(each) if isinstance(each, Mapping) else f"{name}={each}" for name, each in saved.items() if name != "kind"
    ]
    return f"{saved['kind']}({', '.join(inner)})" if inner else str(saved["kind"])


class _Notice:
    """Warns once for all layers of one call of load_state_dict, which shares the list of missing keys among them."""

    def __init__(self) -> None:
        self._last: list[str] | None = None

    def old_checkpoint(self, missing: list[str]) -> None:
        """Warn that a checkpoint holds no constants."""
        if self._last is missing:
            return
        self._last = missing
        warnings.warn(
            "load_state_dict: the checkpoint is older than the constants of spiking layers in it (tau, threshold, "
            "surrogate, reset rule); they stay as the constructor was given them. Save it anew to keep them",
            UserWarning,
            stacklevel=2,
        )


NOTICE = _Notice()
