"""fires: whether the step of a layer jumps while its input and its state change smoothly, as a spike does."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import HOST, within
from spikingtorch.functional.core.surroundings import isolated
from spikingtorch.functional.core.torch_private import TorchDispatchMode
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.steplayer import StepLayer

# operations that jump from numbers to numbers; those that compare give out bools, those that count integers
_JUMPS = {"bernoulli", "ceil", "floor", "floor_divide", "fmod", "frac", "hardshrink", "heaviside", "remainder", "round"}
_JUMPS |= {"sgn", "sign", "threshold", "trunc"}
# of the neurons of a channel, tried one after the other
_SIZES = ((), (64,), (64, 64))


def fires(layer: StepLayer) -> bool:
    """Say whether a layer fires: it has a surrogate, or its step jumps; also where that cannot be found out.

    A neuron compares its membrane with a threshold, or rounds it; a readout, a synapse or a delay does not. The step of
    one neuron, or of as many as the layer has parameters for, runs once, in a copy of the layer; an image if it needs
    one.
    """
    if hasattr(layer, "surrogate") or layer.side_effect() is not None:
        return True
    for size in _SIZES:
        try:
            return _step_jumps(copy.deepcopy(layer), size)
        except Exception:  # of a step that takes two inputs, say
            continue
    return True


def _step_jumps(layer: StepLayer, size: tuple[int, ...]) -> bool:
    """Return whether a layer's step jumps, or its output does not come from its input and its state by operations."""
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
    """Follows numbers through the operations of torch, and notes which of them jump.

    Args:
        sources: the tensors to follow.
    """

    def __init__(self, sources: list[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # whether it jumps, for the memory of each tensor that comes from a source; and the tensor, which keeps it
        self._known: dict[int, tuple[bool, Tensor]] = {}
        self._note(sources, False)

    def of(self, tensors: list[Any]) -> bool | None:
        """Return whether one of the tensors jumps, None if none comes from a source."""
        found = [self._known[place][0] for each in tensors if (place := _memory_of(each)) in self._known]
        return any(found) if found else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note what its outputs do."""
        options = kwargs or {}
        out = func(*args, **options)
        name = func.overloadpacket.__name__.rstrip("_")
        given = leaves_of([*args, *options.values()])
        jumps = self.of(given)
        # some take the shape of a number, and not its value
        if jumps is not None and not name.endswith("_like") and not name.startswith("new_"):
            compared = any(_is_smooth(each) for each in given if _memory_of(each) in self._known)
            rounded = name in _JUMPS or options.get("rounding_mode") is not None
            for each in leaves_of(out):
                self._note([each], jumps or rounded or (compared and not _is_smooth(each)))
        return out

    def _note(self, tensors: list[Any], jumps: bool) -> None:
        self._known |= {_memory_of(each): (jumps, each) for each in tensors if isinstance(each, Tensor)}


def _memory_of(tensor: Any) -> int:
    """Return what tells memory apart, which a tensor shares with its views; 0 for what is no tensor."""
    return tensor.untyped_storage()._cdata if isinstance(tensor, Tensor) else 0


def _is_smooth(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and (tensor.is_floating_point() or tensor.is_complex())
