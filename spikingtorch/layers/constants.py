"""The constants of a layer in its ``state_dict``: floats, and the kinds of its surrogate and reset rule.

Each layer saves them as JSON in one uint8 tensor. ``torch.load(weights_only=True)`` reads it, and code that copies
tensors copies it as well.
"""

import json
import warnings
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.functional.core.names import level_of_user


def described(value: Any) -> Any:
    """Return a constant in a form for JSON: a number as it is, anything else as its kind and its own constants."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor):
        return {"kind": "a tensor"}
    if isinstance(value, np.ndarray):
        return {"kind": "array", "values": described(value.tolist())}
    if fields := _fields(value):
        return {"kind": type(value).__name__, "fields": {name: described(each) for name, each in fields.items()}}
    if isinstance(value, tuple | list):
        return [described(each) for each in value]
    return {"kind": getattr(value, "__name__", type(value).__name__)}


def _fields(value: Any) -> dict[str, Any]:
    """Return the parts of a constant, by name."""
    if isinstance(value, partial):
        return {"function": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, dict):
        return {str(name): each for name, each in value.items()}
    found = {name: getattr(value, name) for name in getattr(value, "_fields", ())}
    # a surrogate may hold a tensor that is no parameter or buffer
    return {name: each.tolist() if isinstance(each, Tensor) else each for name, each in found.items()}


def taken_over(value: Any, saved: Any) -> Any:
    """Return a constant with the numbers of a saved one, which ``described`` returned; raise TypeError if none fits."""
    names: Any = getattr(value, "_fields", None)
    if isinstance(value, Real) and not isinstance(value, bool) and type(saved) is float:
        return int(saved) if isinstance(value, int) and saved.is_integer() else saved
    if isinstance(value, Tensor) and isinstance(saved, Real | list):  # in a surrogate
        made = torch.tensor(saved, dtype=value.dtype, device=value.device)
        if made.shape == value.shape:
            return value if value.tolist() == saved else made
    elif names is not None and isinstance(saved, Mapping):
        fields = saved.get("fields", {})
        if type(value).__name__ == saved["kind"] and {*names} == fields.keys():
            return type(value)(*[taken_over(getattr(value, name), fields[name]) for name in names])
    elif isinstance(value, tuple | list) and isinstance(saved, list) and len(value) == len(saved):
        return type(value)(map(taken_over, value, saved))
    elif described(value) == saved:
        return value
    raise TypeError("it is of another kind")


def shown(saved: Any) -> str:
    """Return the name of a constant for messages."""
    if not isinstance(saved, Mapping):
        return repr(saved)
    fields = saved.get("fields", {})
    inner = [shown(each) if isinstance(each, Mapping) else f"{name}={shown(each)}" for name, each in fields.items()]
    return f"{saved['kind']}({', '.join(inner)})" if inner else str(saved["kind"])


def packed(constants: dict[str, Any]) -> Tensor:
    """Return described constants as a tensor."""
    return torch.from_numpy(np.frombuffer(json.dumps(constants).encode(), dtype=np.uint8).copy())


def unpacked(packed: Any) -> dict[str, Any]:
    """Return the constants that a tensor holds; raise ValueError if it holds something else."""
    try:
        # an average of checkpoints, or a copy in another dtype, still holds whole numbers
        found = json.loads(bytes([int(each) for each in packed.cpu().tolist()]).decode())
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"is not what a spiking layer has saved ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"is a {type(found).__name__}, and not what a spiking layer has saved")
    return found


# the missing keys of the last call of load_state_dict that was warned about
_warned_of: list[list[str] | None] = [None]


class WithConstants(nn.Module):
    """A module whose constants are in its ``state_dict``."""

    def _constants(self) -> dict[str, Any]:
        """Return the constants, by attribute."""
        return {}

    def _check_loaded(self) -> None:
        """Raise ValueError if a loaded value is out of its limits."""

    def _described(self) -> dict[str, Any]:
        learns = {*self._parameters, *getattr(self, "parametrizations", ())}
        return {
            name: {"kind": "learnable"} if name in learns else described(value)
            for name, value in self._constants().items()
        }

    def get_extra_state(self) -> Tensor:
        """Return the constants, for ``state_dict``."""
        return packed(self._described())

    def set_extra_state(self, state: Any) -> None:
        """Take over constants that another layer has saved; raise ValueError if that layer is of another kind."""
        if isinstance(state, Tensor) and state.is_meta:  # which holds nothing
            return
        saved, here = unpacked(state), self._described()
        if saved.keys() != here.keys():
            names = ", ".join(saved) or "no constants", ", ".join(here) or "none"
            raise ValueError(f"the checkpoint has {names[0]}, and the layer {names[1]}")
        found = {}
        for name, value in self._constants().items():
            try:
                if not isinstance(value, Tensor):
                    found[name] = taken_over(value, saved[name])
                elif here[name] != saved[name]:
                    raise TypeError
            except TypeError:
                text = f"{name} is {shown(saved[name])} in the checkpoint and {shown(here[name])} in the layer"
                raise ValueError(text) from None
        for name, value in found.items():
            setattr(self, name, value)

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: Any, prefix: str, *rest: Any
    ) -> None:
        # the arguments before them are the metadata and torch's strict flag
        _, _, missing_keys, unexpected_keys, error_msgs = rest
        key = f"{prefix}_extra_state"
        # torch would raise an error of an extra state at once, and would report it as missing in older checkpoints
        saved = [state_dict.pop(key)] if key in state_dict else []
        super()._load_from_state_dict(state_dict, prefix, *rest)
        missing_keys[:] = [name for name in missing_keys if name != key]
        if saved:
            state_dict[key] = saved[0]
        elif self._constants() and not (error_msgs or missing_keys or unexpected_keys):
            # torch itself reports keys that do not fit, and does not tell here whether it raises
            self._note_no_constants(missing_keys)
        try:
            for state in saved:
                self.set_extra_state(state)
            self._check_loaded()
        except (TypeError, ValueError) as error:
            error_msgs.append(f"{prefix.removesuffix('.') or 'the layer'} ({type(self).__name__}): {error}")

    def _note_no_constants(self, missing: list[str]) -> None:
        """Warn that a checkpoint has no constants, once for a call of load_state_dict, which shares one list."""
        if _warned_of[0] is not missing:
            _warned_of[0] = missing
            warnings.warn(
                "load_state_dict: the checkpoint has no constants of spiking layers (tau, threshold, surrogate, "
                "reset rule), because another library saved it, or an older spikingtorch. The layers keep the values "
                "of their constructors; save the checkpoint again to store them",
                UserWarning,
                stacklevel=level_of_user(),
            )
