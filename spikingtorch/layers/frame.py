"""Frame: one call of a network, with the arguments and the memories of its layers until it ends."""

from collections.abc import Mapping, Sequence
from threading import Thread, current_thread, get_ident, local
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from spikingtorch.layers.checkpoint import backward_pass, region
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.validation import functorch_active

CHANGES = frozenset(("_cell",))  # the attribute of a layer that changes at its calls; all others stand still


class Cell:
    """What changes at the calls of a layer."""

    def __init__(self, memory: Any = None, seen_shape: torch.Size | None = None) -> None:
        self.memory = memory  # the ``Memory`` between two calls
        self.seen_shape = seen_shape  # of the last sample for which arguments were looked at
        self.monitor: Any = None  # the ``SpikeMonitor`` that counts the outputs, if any
        self.recording: tuple[Any, int] = (None, 0)  # the ``Recorder`` of a call that runs, and its thread
        self.overtaken: frozenset[Thread] = frozenset()  # those whose sequences were replaced by another thread
        self.dropped = -1  # the number of the last backward pass that called the layer outside of a network
        self.seat: Any = None  # the step and its parameters, kept for later folds
        self.derived: Any = None  # what the layer has computed from its parameters, kept for later steps

    @property
    def recorder(self) -> Any:
        """The ``Recorder`` of the call that runs in this thread, if any."""
        recorder, thread = self.recording
        return None if recorder is None or thread != get_ident() else recorder

    @recorder.setter
    def recorder(self, recorder: Any) -> None:
        self.recording = recorder, get_ident()


class _Here(local):
    """What runs in a thread."""

    frame: "Frame | None" = None  # the innermost call


_here = _Here()


class Frame:
    """A call of a network.

    While the call runs, its thread finds the frame, which holds the memories of the layers. ``commit`` stores them in
    the layers when the call has ended. A call that fails or is interrupted leaves the layers unchanged. So does a call
    that a backward pass repeats. A network inside another network commits to the frame of the outer one.

    Args:
        layers: the spiking layers of the network.
        places: the keys are all from which the frame can be found: layers, and hooks that pass init on. If it is left
            out, the layers.
        starts: whether a sequence starts, so that all layers start at rest.
        keeps_graph: whether memories keep their graph, from the previous call and for the next one.
        is_pure: whether the layers stay unchanged, and all memories keep their graph, in transforms as well. This
            includes the calls inside this one.
        compiles: whether torch.compile or torch.export traces the call.
        eager: whether nothing traces, compiles or transforms the call.
    """

    init: Any = None  # of the step that runs; in a fold, its token
    running: Tensor | None = None  # the samples that have not ended, (N,); a fold has its own mask
    fold: Any = None  # the token of all steps; None in a network that steps
    skips_zeros: bool | None = None  # whether torch's layers may skip zeros; None if the network decides
    activity: Any = None  # the activity check of this call, if any
    # advances a layer by one step in its place: a function of the layer and the arguments of ``_advance_one``
    advance: Any = None
    monitors: Sequence[Any] = ()  # those that count the outputs of layers in this call
    hides: Mapping[str, str] = MappingProxyType({})  # what code within may not ask layers for, and the error
    trail: Any = None  # takes checksums of what layers get and give, if a second run is to be compared
    checked: Tensor | None = None  # the input of the first seat, whose kernel has looked for NaN
    owns = False  # whether the outputs of a fold needed no copy
    planned = False  # whether a plan runs the call, so that layers go by their seats

    def __init__(
        self,
        layers: Sequence[Any],
        places: Mapping[Any, None] | None = None,
        starts: bool = True,
        keeps_graph: bool = False,
        *,
        is_pure: bool = False,
        compiles: bool = False,
        eager: bool = False,
    ) -> None:
        self.compiles, self.eager = compiles, eager
        self.thread = None if torch.compiler.is_dynamo_compiling() else current_thread()  # which owns the memories
        self._layers, self._places = layers, dict.fromkeys(layers) if places is None else places
        # the call inside which this one runs, and the frames of outer networks that the layers are in already
        self._outer: Frame | None = _here.frame
        self._around: list[Frame | None] = [None] * len(layers)
        self.is_pure = is_pure
        if self._outer is not None:
            self._around = [frame_of(layer) for layer in layers]
            self.is_pure = is_pure or any([around is not None and around.is_pure for around in self._around])
            outer = next((around for around in self._around if around is not None), None)
            if outer is not None:
                self.advance, self.hides, self.trail = outer.advance, outer.hides, outer.trail
            for layer, around in zip(layers, self._around, strict=False):
                if around is not None and around.fold is not None:  # a fold: its layers have no single state
                    layer._refuse_in_fold("reset()" if starts else "detach_()")
        self.keeps_graph = keeps_graph or self.is_pure
        self._starts, self.repeats = starts, backward_pass() != -1  # whether a backward pass repeats a call
        self.memories: dict[Any, Any] = {}  # by layer; a layer at rest has no entry
        if not starts:
            for layer, around in zip(layers, self._around, strict=False):
                if around is not None and around.knows(layer):
                    self.memories[layer] = around.memories.get(layer)
                elif not self.repeats:
                    self.memories[layer] = layer._own_memory()
            if not self.keeps_graph:
                self.detach()

    def __enter__(self) -> None:
        _here.frame = self

    def __exit__(self, *error: object) -> None:
        _here.frame = self._outer

    def tell(self, init: Any, running: Tensor | None = None, fold: Any = None) -> None:
        """Set the arguments for the step that follows, or for all steps."""
        self.init, self.running, self.fold = init, running, fold

    def knows(self, layer: Any) -> bool:
        """Return True if the memory of a layer is known; it can be unknown if a backward pass repeats a call."""
        return not self.repeats or self._starts or layer in self.memories

    def detach(self) -> None:
        """Cut the memories of the layers from their graph."""
        self.memories = {layer: layer._cut(memory) for layer, memory in self.memories.items()}

    def commit(self) -> None:
        """Store the memories in the layers."""
        cuts = not (self.is_pure or (self.keeps_graph and not functorch_active()))
        found: dict[Any, Any] = {}
        memories = self.memories
        for layer, around in zip(self._layers, self._around, strict=False):
            memory = memories.get(layer)
            if cuts and memory is not None and not memory.plain:
                memory = layer._at_end(memory)
            (found if around is None else around.memories)[layer] = memory
        if not self.repeats:
            commit(found)


def commit(memories: Mapping[Any, Any]) -> None:
    """Store these memories in their layers: all of them, or none if this is interrupted."""
    if torch.compiler.is_compiling():
        for layer, memory in memories.items():
            layer._cell.memory = memory
        return
    owners, entries, replaced, me = [], [], [], current_thread()
    for layer, memory in memories.items():
        cell = layer._cell.__dict__
        before = cell["memory"]
        is_mine = (before is None or before.thread is me or before.thread is None) and not cell["overtaken"]
        owners.append(cell)
        entries.append({"memory": memory} if is_mine else {"memory": memory, **layer._overtaking()})
        replaced.append(before)  # freed only after the next line, because its destructor may run code
    # one instruction, which Python does not interrupt
    list(map(dict.update, owners, entries))


def frame_of(place: Any) -> Frame | None:
    """Return the frame of the call that runs in this thread, found from a layer or a hook."""
    frame = _here.frame
    while frame is not None and place not in frame._places:
        frame = frame._outer
    return frame


def running() -> Frame | None:
    """Return the innermost call that runs in this thread."""
    return _here.frame


def go_back_to(frame: Frame | None) -> None:
    """Let a call be the innermost one again, after one inside it was interrupted."""
    _here.frame = frame


def init_and_running(place: Any, frame: Frame | None, init: Any) -> tuple[Any, Tensor | None]:
    """Return the init of a layer, from its caller or from the network, and the mask of running samples.

    In the second run of ``checkpoint``, both are those of the first run, and so is the recorder of the layer. A hook
    that passes init on stands for a layer as well.
    """
    here, owner = region(), (place, "told")
    now = (None, None) if frame is None else (frame.init, frame.running)
    if here is not None and here.repeats and now[0] is None:  # the call of the network is over
        *now, recorder = here.next(owner)
        here.repeat((place, "recorder"), recorder)
    elif here is not None and not here.repeats:
        recorder = place._cell.recorder if hasattr(place, "_cell") else None
        # a copy: the token itself would keep the graph alive
        copied = now[0].copy() if isinstance(now[0], FoldToken) else now[0]
        here.note(owner, (copied, now[1], None if recorder is None else recorder.again()))
    return (now[0] if init is None else init), now[1]
