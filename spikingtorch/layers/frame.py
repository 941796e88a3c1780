"""Frame: one call of a network, with what its layers are told and what they remember until it ends."""

from collections.abc import Mapping, Sequence
from threading import current_thread, get_ident
from typing import Any

import torch
from torch import Tensor

from spikingtorch.layers.checkpoint import backward_pass, region
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.validation import functorch_active


class Frame:
    """A call of a network.

    While it runs, the memories of its layers stand here. ``commit`` puts them into the layers when the call has come to
    its end. A call that fails, or is interrupted, leaves the layers as they are, and so does one that a backward pass
    repeats. A network within another one commits to the frame of that.

    Args:
        layers: the spiking layers of the network.
        hooks: those that pass init on.
        starts: whether a sequence starts, so that no layer remembers anything.
        keeps_graph: whether what the layers remember keeps its graph, from the call before and to the next one.
        is_pure: whether nothing is kept in the layers, and all of it keeps its graph, in transforms as well. That goes
            for the calls within this one, too.
        compiles: whether torch.compile or torch.export looks on.
        eager: whether nothing traces, compiles or transforms the call.

    Attributes:
        init: of the step that runs; of a fold, its token.
        running: which samples have not come to their end, (N,); None if all have not. A fold has its own.
        fold: all steps at once; None in a network that steps.
        activity: what looks at the outputs of this call.
        repeats: whether a backward pass repeats a call.
        thread: number of the thread in which the layers find this frame; None for any.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        hooks: Sequence[Any] = (),
        starts: bool = True,
        keeps_graph: bool = False,
        *,
        is_pure: bool = False,
        compiles: bool = False,
        eager: bool = False,
    ) -> None:
        self.compiles, self.eager = compiles, eager
        self.init: Any = None
        self.running: Tensor | None = None
        self.fold: Any = None
        self.activity: Any = None
        self.thread = None if torch.compiler.is_dynamo_compiling() else get_ident()
        self._layers, self._places = layers, [*layers, *hooks]
        # those that the layers and hooks are found in already, of networks around this one
        self._around: list[Frame | None] = [place._frame for place in self._places]
        if any(self._around):
            self._around = [frame_of(place) for place in self._places]
        for layer, around in zip(layers, self._around, strict=False):
            if around is not None and around.fold is not None:  # where layers have no single state
                layer._refuse_in_fold("reset()" if starts else "detach_()")
        self.is_pure: bool = is_pure or any([around is not None and around.is_pure for around in self._around])
        self.keeps_graph = keeps_graph or self.is_pure
        self._starts, self.repeats = starts, backward_pass() != -1
        # by layer; none for one that is at rest
        self._memories: dict[Any, Any] = {}
        if not (starts or self.repeats):
            for layer, around in zip(layers, self._around, strict=False):
                self._memories[layer] = layer._own_memory() if around is None else around.memory(layer)
            if not self.keeps_graph:
                self.detach()

    def __enter__(self) -> None:
        for place in self._places:
            place._frame = self

    def __exit__(self, kind: Any, *error: object) -> None:
        replaced = kind is None and any([place._frame is not self for place in self._places])
        self.leave()
        if replaced:
            raise RuntimeError(
                "SpikingNet: another thread has run a network with a layer of this one meanwhile. Give each thread a "
                "network of its own: copy.deepcopy(model)"
            )

    def leave(self) -> None:
        """Let the layers find the frames around this one, if there are any."""
        for place, around in zip(self._places, self._around, strict=True):
            place._frame = around

    def tell(self, init: Any, running: Tensor | None = None, fold: Any = None) -> None:
        """Tell the layers about the step that follows, or about all steps."""
        self.init, self.running, self.fold = init, running, fold

    def knows(self, layer: Any) -> bool:
        """Say whether it is known what a layer remembers: where a backward pass repeats a call, it may not be."""
        return not self.repeats or self._starts or layer in self._memories

    def memory(self, layer: Any) -> Any:
        """Return what a layer remembers now."""
        return self._memories.get(layer)

    def remember(self, layer: Any, memory: Any) -> None:
        """Take what a layer is to remember."""
        self._memories[layer] = memory

    def mark(self) -> dict[Any, Any]:
        """Return what the call has come to."""
        return dict(self._memories)

    def rewind(self, mark: dict[Any, Any]) -> None:
        """Forget what came after a mark."""
        self._memories = dict(mark)

    def detach(self) -> None:
        """Cut what the layers remember from its graph."""
        self._memories = {layer: layer._cut(memory) for layer, memory in self._memories.items()}

    def commit(self) -> None:
        """Let the layers keep what they remember."""
        cuts, found = not (self.is_pure or (self.keeps_graph and not functorch_active())), {}
        for layer, around in zip(self._layers, self._around, strict=False):
            memory = self._memories.get(layer)
            if cuts and memory is not None and not memory.plain:
                memory = layer._at_end(memory)
            if around is None:
                found[layer] = memory
            else:
                around.remember(layer, memory)
        if not self.repeats:
            commit(found)


def commit(memories: Mapping[Any, Any]) -> None:
    """Let layers keep these memories: all of them, or none if this is interrupted."""
    if torch.compiler.is_compiling():
        for layer, memory in memories.items():
            layer._memory = memory
        return
    owners, entries, replaced, me = [], [], [], current_thread()
    for layer, memory in memories.items():
        before = layer._memory
        whose = None if before is None else before.thread
        owners.append(layer.__dict__)
        is_mine = not layer._overtaken and (whose is None or whose is me)
        entries.append({"_memory": memory} if is_mine else {"_memory": memory, **layer._overtaking()})
        replaced.append(before)  # which dies behind the next line: that may run code
    # one instruction, within which Python does not look for interrupts
    list(map(dict.update, owners, entries))


def frame_of(place: Any) -> Frame | None:
    """Return the frame of the call that runs in this thread, as a layer or a hook finds it."""
    frame: Frame | None = place._frame
    if frame is None or frame.thread is None or torch.compiler.is_dynamo_compiling() or frame.thread == get_ident():
        return frame
    return None


def init_and_running(place: Any, frame: Frame | None, init: Any) -> tuple[Any, Tensor | None]:
    """Return init for a layer that may have been handed it, and which samples are running.

    Within a second run of ``checkpoint``, they are those of the first, and so is what takes records of the layer.

    Args:
        place: the layer, or a hook that hands init on.
        frame: of the call that it is found in.
        init: that it was handed; None for none.
    """
    here, owner = region(), (place, "told")
    now = (None, None) if frame is None else (frame.init, frame.running)
    if here is not None and here.repeats and now[0] is None:  # the call of the network is over
        *now, recorder = here.next(owner)
        here.repeat((place, "recorder"), recorder)
    elif here is not None and not here.repeats:
        recorder = getattr(place, "_recorder", None)
        # the token itself would keep the graph alive
        copied = now[0].copy() if isinstance(now[0], FoldToken) else now[0]
        here.note(owner, (copied, now[1], None if recorder is None else recorder.again()))
    return (now[0] if init is None else init), now[1]
