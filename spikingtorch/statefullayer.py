"""StatefulLayer: a module that remembers a state between its calls."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch import _checks as checks
from spikingtorch.folding import Fold
from spikingtorch.functional import RecurrentState, lift, reset_where
from spikingtorch.functional._tree import leaves_of, tree_map
from spikingtorch.functional.state import lifted_dtype


class Memory(NamedTuple):
    """What a layer keeps between two calls."""

    state: Any
    output: Any  # None at rest
    act: Tensor | tuple[()]  # outputs summed since the last init; a tree without leaves where nobody asked
    plain: bool = False  # it holds plain numbers, known to be part of no graph


class StatefulLayer(nn.Module):
    """A layer's state: it lives between calls only.

    It is no part of ``state_dict``, moves with ``.to()``, and is copied by ``deepcopy`` and ``pickle`` without its
    graph. While ``SpikingNet`` runs all steps at once, the layer has no single state to be read or set.
    """

    track_act = False
    keeps_state = True
    memoryless = False  # nothing to remember: it makes no difference when a sequence starts

    def __init__(self) -> None:
        super().__init__()
        self._memory: Memory | None = None
        self._fold: Fold | None = None  # the fold that the layer takes part in right now

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest for an input of one step like x, shape (N, ...)."""
        raise NotImplementedError

    def initial_state(self, x: Tensor) -> Any:
        """Return the state that a sequence starts from: that at rest, and whatever else the layer has a state for."""
        return self.rest_state(x)

    def __setattr__(self, name: str, value: Any) -> None:
        # what changes at every call is neither parameter nor module: nn.Module would look for that first
        if name in ("_memory", "_fold"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def v(self) -> Tensor | None:
        """The membrane after the reset, or None before the first step and for a neuron without one."""
        memory = self._shown("v")
        state = None if memory is None else memory.state
        return getattr(state.neuron if isinstance(state, RecurrentState) else state, "v", None)

    @property
    def s(self) -> Any:
        """The last output, or None before the first step."""
        memory = self._shown("s")
        return None if memory is None else memory.output

    def reset(self, x: Tensor | None = None) -> None:
        """Forget the state; with x, take the state at rest for inputs like x instead."""
        self._refuse_in_fold("reset()")
        self._memory = None if x is None else self._at_rest(x)

    def detach_(self) -> None:
        """Cut the state from the graph that computed it, for truncated back-propagation through time."""
        self._shown("detach_()")
        self._map_tensors(Tensor.detach)

    def _shown(self, name: str) -> Memory | None:
        """Return the memory for somebody outside."""
        self._refuse_in_fold(name)
        return self._live_memory()

    def _refuse_in_fold(self, name: str) -> None:
        if self._fold is not None:
            self._fold.refuse(f"uses {type(self).__name__}.{name} between two steps")

    def _resume(self, x: Tensor, init: bool | Tensor) -> Memory:
        """Return the memory that the step starts from; at rest, it holds no output yet."""
        if not isinstance(init, bool | np.bool_ | Tensor):
            raise TypeError(
                f"{type(self).__name__}: init={init!r} is a {type(init).__name__}, expected a bool, or a bool tensor "
                "with one value for each sample"
            )
        memory = None if not isinstance(init, Tensor) and init else self._live_memory()
        if memory is None:
            return self._at_rest(x)
        self._check_continues(memory.state, x)
        if not isinstance(init, Tensor):
            return memory
        if init.dtype != torch.bool or init.shape not in ((), x.shape[:1]):
            raise ValueError(
                f"{type(self).__name__}: init is a tensor of {init.dtype} and shape {tuple(init.shape)}, expected "
                f"torch.bool and shape {tuple(x.shape[:1])}, one for each sample"
            )
        rest = self._at_rest(x)
        state, act = reset_where(init, (memory.state, memory.act), (rest.state, rest.act))
        return memory._replace(state=state, act=act)

    def _at_rest(self, x: Tensor) -> Memory:
        act = lift(torch.zeros_like(x, requires_grad=False)) if self.track_act else ()
        return Memory(self.initial_state(x), None, act)

    def _check_continues(self, state: Any, x: Tensor) -> None:
        for leaf in leaves_of(state):
            if leaf.shape != x.shape or leaf.device != x.device or leaf.dtype != lifted_dtype(x):
                raise ValueError(
                    f"{type(self).__name__} holds the state of inputs of shape {tuple(leaf.shape)} ({leaf.dtype}, "
                    f"{leaf.device}) and got {tuple(x.shape)} ({x.dtype}, {x.device}). "
                    "Pass init=True to start a new sequence, or call reset() first"
                )

    def _live_memory(self) -> Memory | None:
        """Return the memory, or None if it belongs to a ``torch.func`` transform that has ended."""
        if torch.compiler.is_compiling() or self._memory is None:
            return self._memory
        leaves = [leaf for leaf in leaves_of(self._memory) if isinstance(leaf, Tensor)]
        if any([checks.outlived_transform(leaf) for leaf in leaves]):
            self._memory = None
        elif not torch.is_inference_mode_enabled() and any([leaf.is_inference() for leaf in leaves]):
            self._map_tensors(torch.Tensor.clone)  # autograd takes no tensor that was made in inference mode
        return self._memory

    def _end_of_sequence(self) -> None:
        """Keep the state as plain numbers for a later call; ``act`` stays differentiable, for the loss."""
        if self._memory is None or self._memory.plain:
            return
        if torch.compiler.is_exporting() or (checks.functorch_active() and not self.track_act):
            self._memory = (
                None  # an exported program keeps nothing between calls, and no wrapper outlives its transform
            )
        elif (memory := self._live_memory()) is not None:
            self._memory = Memory(tree_map(_detached, memory.state), tree_map(_detached, memory.output), memory.act)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        if self._memory is not None:
            self._memory = tree_map(lambda x: function(x) if isinstance(x, Tensor) else x, self._memory)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StatefulLayer":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._live_memory()
        self._map_tensors(fn)
        if self._memory is not None:
            self._memory = self._memory._replace(state=lift(self._memory.state))
        return self

    def __getstate__(self) -> dict[str, Any]:
        attached = self._live_memory()
        self._map_tensors(torch.Tensor.detach)
        copied = self.__dict__ | {"_fold": None}
        self._memory = attached
        return copied


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf
