"""Find out whether a layer fires: its output jumps, as a spike does, while input and state change smoothly."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import HOST, within
from spikingtorch.functional.core.surroundings import isolated
from spikingtorch.functional.core.torch_private import TorchDispatchMode
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.steplayer import StepLayer

# operations that jump between floating numbers; comparisons return bools, and counts integers
_JUMPS = {"bernoulli", "ceil", "floor", "floor_divide", "fmod", "frac", "hardshrink", "heaviside", "remainder", "round"}
_JUMPS |= {"sgn", "sign", "threshold", "trunc"}
# sizes of the neurons of a channel, tried one after the other
_SIZES = ((), (64,), (64, 64))


def fires(layer: StepLayer) -> bool:
    """Return True if a layer fires: it has a surrogate, or its step jumps, or this cannot be found out.

    A neuron compares its membrane with a threshold, or rounds it; a readout, a synapse or a delay does not. The step
    runs once in a copy of the layer, for one neuron or for the number that its parameters need, or for an image.
    """
    if isinstance(layer, DelayedLinear):
        return False
    if hasattr(layer, "surrogate") or layer.side_effect() is not None:
        return True
    for size in _SIZES:
        try:
            return _step_jumps(copy.deepcopy(layer), size)
        except Exception:  # for instance a step that takes two inputs
            continue
    return True


def _step_jumps(layer: StepLayer, size: tuple[int, ...]) -> bool:
    """Return True if a layer's step jumps, or if no operations connect its output to input and state."""
    device = next((each.device for each in (*layer.parameters(), *layer.buffers())), HOST)

    def run() -> bool:
        torch.set_grad_enabled(False)
        params = layer.step_params()
        given = [each for each in params.values() if isinstance(each, Tensor)]
        shape = torch.broadcast_shapes((1, *size), *[each.shape for each in given])
        x = torch.full((1, *shape), 0.5, device=device, dtype=given[0].dtype if given else None)
        state = layer.rest_state(x)
        tracing = _Jumps([x, *leaves_of(state)])
        run_step = partial(layer._valued_step(), state, x, **params)
        after, out = layer.without_effects(partial(within, (tracing,), run_step))
        return tracing.of(leaves_of(out)) is None or tracing.of(leaves_of((after, out))) is True

    return isolated(device, run)


class _Jumps(TorchDispatchMode):
    """Follow numbers through the operations of torch, and record which of them jump.

    Args:
        sources: the tensors to follow.
    """

    def __init__(self, sources: list[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # for the memory of each tensor that comes from a source: whether it jumps; and the tensor, which keeps its
        # memory alive
        self._known: dict[int, tuple[bool, Tensor]] = {}
        self._note(sources, False)

    def of(self, tensors: list[Any]) -> bool | None:
        """Return whether one of the tensors jumps; None if no tensor comes from a source."""
        found = [self._known[place][0] for each in tensors if (place := _memory_of(each)) in self._known]
        return any(found) if found else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and record whether its outputs jump."""
        options = kwargs or {}
        out = func(*args, **options)
        name = func.overloadpacket.__name__.rstrip("_")
        given = leaves_of([*args, *options.values()])
        jumps = self.of(given)
        # some operations use the shape of a number, but not its value
        if jumps is not None and not name.endswith("_like") and not name.startswith("new_"):
            compared = any(_is_smooth(each) for each in given if _memory_of(each) in self._known)
            rounded = name in _JUMPS or options.get("rounding_mode") is not None
            for each in leaves_of(out):
                self._note([each], jumps or rounded or (compared and not _is_smooth(each)))
        return out

    def _note(self, tensors: list[Any], jumps: bool) -> None:
        self._known |= {_memory_of(each): (jumps, each) for each in tensors if isinstance(each, Tensor)}


def _memory_of(tensor: Any) -> int:
    """Return the identity of a tensor's memory, which its views share; 0 for other objects."""
    return tensor.untyped_storage()._cdata if isinstance(tensor, Tensor) else 0


def _is_smooth(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and (tensor.is_floating_point() or tensor.is_complex())
