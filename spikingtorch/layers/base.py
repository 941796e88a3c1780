"""StatefulLayer: a module that remembers a state between its calls."""

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from spikingtorch import validation as checks
from spikingtorch.functional import lift, reset_where
from spikingtorch.functional.core.modes import as_it_is, within
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.checkpoint import backward_pass, region
from spikingtorch.layers.constants import WithConstants
from spikingtorch.layers.frame import Cell, commit, frame_of
from spikingtorch.layers.threads import this_thread

T = TypeVar("T")


class Memory(NamedTuple):
    """What a layer keeps between two calls."""

    state: Any
    output: Any  # None at rest
    act: Tensor | tuple[()]  # outputs summed since the last init; an empty tuple if they are not tracked
    plain: bool = False  # True if state and output are known to have no graph
    thread: threading.Thread | None = None  # the thread that computed it; None under torch.compile
    spiked: Tensor | None = None  # the time of each neuron's last spike, for a SpikeMonitor of intervals


_GONE = (
    "called in a backward pass, as torch.utils.checkpoint does with use_reentrant=True or inside another checkpoint, "
    "and the state that the call started from is gone. Take use_reentrant=False and one checkpoint, or put it around "
    "the whole SpikingNet"
)


_REMEDIES = {
    "v": "make the layer with returns=('spikes', 'v'), or leave it to spikingtorch.record(model, x, 'v')",
    "s": "take what the layer returns, or leave it to spikingtorch.record(model, x)",
}


class StatefulLayer(WithConstants):
    """A layer's state: it lives between calls only.

    It is no part of ``state_dict``, moves with ``.to()``, and is copied by ``deepcopy`` and ``pickle`` without its
    graph. While ``SpikingNet`` runs all steps at once, the layer has no single state to be read or set.
    """

    track_act = False
    keeps_state = True
    memoryless = False  # True if the layer keeps nothing from step to step

    def __init__(self) -> None:
        super().__init__()
        self._cell = Cell()

    def _clamp(self) -> None:
        """Clamp the parameters that an optimizer has moved out of their limits."""

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest for an input of one step like x, shape (N, ...)."""
        raise NotImplementedError

    def initial_state(self, x: Tensor) -> Any:
        """Return the state that a sequence starts from: at rest, with the states of all parts of the layer."""
        return self.rest_state(x)

    @property
    def v(self) -> Tensor | None:
        """The membrane after the reset, or None before the first step and for a neuron without one."""
        memory = self._shown("v")
        state: Any = None if memory is None else memory.state
        while hasattr(state, "neuron"):
            state = state.neuron
        return getattr(state, "v", None)

    @property
    def state(self) -> Any:
        """The state after the last step, a NamedTuple of tensors, or None before the first step."""
        memory = self._shown("state")
        return None if memory is None else memory.state

    @property
    def s(self) -> Any:
        """The last output, or None before the first step."""
        memory = self._shown("s")
        return None if memory is None else memory.output

    def reset(self, x: Tensor | None = None) -> None:
        """Forget the state; with x, take the state at rest for inputs like x instead. ``s`` is None until a step."""
        self._refuse_in_fold("reset()")
        # a copy: the state at rest may be a view of x, or a buffer
        self._finish(None if x is None else _mapped(Tensor.clone, self._at_rest(x)))

    def detach_(self) -> None:
        """Cut the state from the graph that computed it, for truncated back-propagation through time."""
        self._refuse_in_fold("detach_()")
        if (frame := frame_of(self)) is not None:
            if "detach_" in frame.hides:
                raise ValueError(frame.hides["detach_"].format(type(self).__name__))
            frame.memories[self] = self._cut(frame.memories.get(self))
        elif backward_pass() == -1:
            self._cell.memory = self._cut(self._own_memory())

    def _remembered(self) -> Memory | None:
        """Return the current memory of the layer, for code that observes a call from inside."""
        frame = frame_of(self)
        return self._cell.memory if frame is None else frame.memories.get(self)

    def _recorder_here(self) -> Any:
        """Return the recorder of this call; in the second run of ``checkpoint``, the recorder of the first run."""
        here = region()
        if here is not None and here.repeats and here.knows((self, "recorder")):
            return here.repeated((self, "recorder"))
        return self._cell.recorder

    def _shown(self, name: str) -> Memory | None:
        """Return the memory for code outside of the layer."""
        self._refuse_in_fold(name)
        here = region()
        if here is not None and here.repeats:
            found: Memory | None = here.repeated(self)
            return found
        if (frame := frame_of(self)) is not None:
            if name in frame.hides:
                raise ValueError(frame.hides[name].format(type(self).__name__))
            return _live(frame.memories.get(self))
        if self._cell.dropped == backward_pass() != -1:
            raise RuntimeError(f"{type(self).__name__}.{name}: {_GONE}")
        return self._own_memory(goes_on=False)

    def _refuse_in_fold(self, name: str) -> None:
        frame = frame_of(self)
        if frame is not None and frame.fold is not None:
            remedy = _REMEDIES.get(
                name, "let the step of the layer compute it, and give it out: returns= names fields of its state"
            )
            frame.fold.refuse(f"uses {type(self).__name__}.{name} between two steps", remedy)

    def _start(self, x: Tensor, init: bool | Tensor, *, shared: bool = False) -> Memory:
        """Return the memory that a call starts from; in the second run of ``checkpoint``, the memory of the first run.

        With ``shared``, one expanded zero may stand for all neurons at rest. No operation of torch may read it, because
        the result would get other strides.

        Raises:
            RuntimeError: a backward pass repeats a call, and the state that the call started from is unknown.
        """
        here, frame = region(), frame_of(self)
        if here is not None and here.repeats:
            noted: Memory = here.next(self)
            return noted
        goes_on = not self.memoryless and (isinstance(init, Tensor) or not init)
        if goes_on and backward_pass() != -1 and (frame is None or not frame.knows(self)):
            raise RuntimeError(f"{type(self).__name__}: {_GONE}")
        if here is None:
            return self._resume(x, init, shared)
        # the second run takes this memory over; checkpoint must not count the tensors that are saved while it is
        # computed
        memory = within((saved_tensors_hooks(as_it_is, as_it_is),), partial(self._resume, x, init, shared))
        here.note(self, memory)
        return memory

    def _finish(self, memory: Memory | None) -> None:
        """Store a memory in the layer; if a backward pass repeats a call, leave the layer as it is."""
        here, frame = region(), frame_of(self)
        if here is not None and here.repeats:
            here.repeat(self, memory)
        elif frame is not None:
            frame.memories[self] = memory
        elif backward_pass() == -1:
            commit({self: memory})
        else:
            self._cell.dropped = backward_pass()

    def _resume(self, x: Tensor, init: bool | Tensor, shared: bool) -> Memory:
        """Return the memory that the step starts from; at rest, it has no output yet."""
        if type(init) is not bool:
            checks.check_init(type(self).__name__, init, x.shape[:1])
        starts = not isinstance(init, Tensor) and init
        frame, memory = frame_of(self), None
        if not starts:
            memory = self._own_memory(goes_on=not self.memoryless) if frame is None else _live(frame.memories.get(self))
        if memory is None:
            return self._at_rest(x, shared=shared)
        self._check_continues(memory.state, x)
        if not isinstance(init, Tensor):
            return memory
        rest = self._at_rest(x)
        state, act = reset_where(init, (memory.state, memory.act), (rest.state, rest.act))
        return memory._replace(state=state, act=act)

    def _at_rest(self, x: Tensor, *, shared: bool = False) -> Memory:  # noqa: ARG002
        act = lift(torch.zeros_like(x, requires_grad=False)) if self.track_act else ()
        return Memory(self.initial_state(x), None, act, thread=this_thread())

    def _check_continues(self, state: Any, x: Tensor) -> None:
        for leaf in leaves_of(state):
            # a counter or a flag has its own dtype
            same = leaf.dtype == lifted_dtype(x) or not leaf.is_floating_point()
            if leaf.shape != x.shape or leaf.device != x.device or not same:
                raise ValueError(
                    f"{type(self).__name__} holds the state of inputs of shape {tuple(leaf.shape)} ({leaf.dtype}, "
                    f"{leaf.device}) and got {tuple(x.shape)} ({x.dtype}, {x.device}). "
                    "Pass init=True to start a new sequence, or call reset() first. A layer that is called at two "
                    "places of a network has one state for both: make a layer for each"
                )

    def _overtaking(self) -> dict[str, Any]:
        """Return the threads that lose their sequences when this thread stores its own."""
        memory, me = self._cell.memory, threading.current_thread()
        other = None if memory is None else memory.thread
        if self.memoryless:
            return {}
        others = self._cell.overtaken if other is None else self._cell.overtaken | {other}
        return {"overtaken": frozenset([each for each in others if each is not me and each.is_alive()])}

    def _own_memory(self, *, goes_on: bool = True) -> Memory | None:
        """Return the memory for the thread that asks.

        Raise RuntimeError if another thread has begun a sequence after this thread did; or if a sequence is continued
        that belongs to another thread, which is still alive.
        """
        # read first: a thread that replaces the memory notes its owner before
        memory: Memory | None = self._cell.memory
        if torch.compiler.is_compiling():
            return memory
        me, other = threading.current_thread(), None if memory is None else memory.thread
        if me in self._cell.overtaken or (goes_on and other is not None and other is not me and other.is_alive()):
            raise RuntimeError(
                f"{type(self).__name__}: holds the state of a sequence that another thread has begun. Start one of "
                "this thread with init=True, or give each thread a network of its own: copy.deepcopy(model)"
            )
        return _live(memory)  # not stored: the thread that owns it may have continued meanwhile

    @staticmethod
    def _cut(memory: Memory | None) -> Memory | None:
        """Return a memory without the graph that computed it."""
        return memory if memory is None or memory.plain else _mapped(Tensor.detach, memory)

    def _at_end(self, memory: Memory | None) -> Memory | None:
        """Return a memory without its graph, for a later call; ``act`` keeps its graph, for the loss."""
        if memory is None or memory.plain:
            return memory
        if torch.compiler.is_exporting() or (checks.functorch_active() and not self.track_act):
            return None  # an exported program keeps nothing between calls, and no wrapper outlives its transform
        if (memory := _live(memory)) is None:
            return None
        state, output = _mapped(Tensor.detach, memory.state), _mapped(Tensor.detach, memory.output)
        return memory._replace(state=state, output=output)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StatefulLayer":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # .type() converts counters and flags as well
        memory = _mapped(lambda x: fn(x) if x.is_floating_point() else fn(x).to(x.dtype), _live(self._cell.memory))
        self._cell.memory = None if memory is None else memory._replace(state=lift(memory.state))
        return self

    def __getstate__(self) -> dict[str, Any]:
        memory = _mapped(Tensor.detach, _live(self._cell.memory))
        free = None if memory is None else memory._replace(thread=None)  # a copy belongs to the thread that makes it
        return self.__dict__ | {"_cell": Cell(free, self._cell.seen_shape)}

    def _replicate_for_data_parallel(self) -> "StatefulLayer":
        replica: StatefulLayer = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        replica._cell = copy.copy(self._cell)
        return replica

    def __deepcopy__(self, memo: dict[int, Any]) -> "StatefulLayer":
        # the class that torch gives a parametrized layer raises in __getstate__; without it, it would copy locks
        kind: Any = type(self).__mro__[1] if "parametrizations" in self._modules else type(self)
        copied = self.__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(kind.__getstate__(self), memo))  # type: ignore[no-untyped-call]
        return copied


def _live(memory: Memory | None) -> Memory | None:
    """Return a memory that can be used here, or None if it belongs to a ``torch.func`` transform that has ended."""
    if memory is None or torch.compiler.is_compiling():
        return memory
    found = [*memory.state, memory.output, memory.spiked] if memory.plain else leaves_of(memory)
    leaves = [leaf for leaf in found if isinstance(leaf, Tensor)]
    if any([checks.outlived_transform(leaf) for leaf in leaves]):
        return None
    if not torch.is_inference_mode_enabled() and any([leaf.is_inference() for leaf in leaves]):
        return _mapped(Tensor.clone, memory)  # autograd refuses tensors that were made in inference mode
    return memory


def _mapped(function: Callable[[Tensor], Tensor], tree: T) -> T:
    """Return a tree with a function applied to its tensors; other leaves stay."""
    return tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)
