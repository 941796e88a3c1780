"""Run a chunk of steps twice: in the forward pass, and again in the backward pass, which needs its tensors."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.checkpoint import checkpoint

from spikingtorch.functional.core.sharing import version_of
from spikingtorch.functional.core.surroundings import RandomNumbers
from spikingtorch.functional.core.torch_private import (
    cached_parametrizations,
    compiles_frames,
    forward_level,
    fsdp_state,
    part_of,
)
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.checkpoint import note_nothing, without_graph
from spikingtorch.layers.frame import Frame
from spikingtorch.spikingnet.contents import Contents
from spikingtorch.spikingnet.parts import Parts
from spikingtorch.validation import functorch_active


def check_can_recompute(net: nn.Module, compiles: bool) -> None:
    """Raise ValueError if nothing can run again in the backward pass of this call.

    The call is compiled, transformed, or differentiated in forward mode; or the network is sharded as one module, whose
    weights are not there in the second run.
    """
    if fsdp_state(net) is not None:
        raise ValueError(
            "SpikingNet: recompute=True does not work if fully_shard has sharded net as one module, which is called "
            "once for all chunks in the backward pass. Shard its layers, or the layers and the SpikingNet"
        )
    if compiles or compiles_frames():
        what = "torch.compile"
    elif functorch_active():
        what = "a transform of torch.func"
    elif forward_level() >= 0:
        what = "forward-mode differentiation"
    elif cached_parametrizations():
        what = "torch.nn.utils.parametrize.cached()"
    else:
        return
    raise ValueError(
        f"SpikingNet: recompute=True does not work inside {what}, which does not keep its tensors where a second run "
        "could replace them. Set model.recompute = False there"
    )


def twice(first: Callable[[], Any], again: Callable[[Tensor], Any], x: Tensor) -> Any:
    """Return the result of ``first``; the backward pass calls ``again`` on x, for the tensors that it needs.

    Both compute the same. The graph is that of the first run, without its saved tensors.
    """
    runs = [first]  # emptied by the first run, whose states have a graph

    def run(x: Tensor) -> Any:
        note_nothing()
        if runs:
            return runs.pop()()
        with torch.inference_mode(False):  # the backward pass may run in it
            return again(x)

    # ``Start`` has the random numbers; the second run goes on to its end, where it is compared with the first
    return checkpoint(run, x, use_reentrant=False, preserve_rng_state=False, early_stop=False)


class _Kept(NamedTuple):
    """A parameter or a buffer as a chunk starts."""

    place: dict[str, Any]  # the dict of the module that holds it
    name: str
    tensor: Tensor
    version: int  # its version counter
    trained: bool  # whether it requires a gradient
    address: int  # of its memory, which an assignment to ``.data`` replaces
    value: Tensor | None  # its value; None if it is a parameter, or has no influence on the outputs


class Copies:
    """Copies of buffers, of random states and of the contents of modules, made anew when these have changed."""

    def __init__(self) -> None:
        # by the id of a buffer: the buffer, which keeps its id as long as it is here; its version; the copy
        self._of: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._random: RandomNumbers | None = None
        self._contents: Contents | None = None

    def random(self, device: torch.device) -> RandomNumbers:
        """Return the states of all random numbers."""
        now = RandomNumbers.now(device)
        if self._random is None or not now.same_as(self._random):
            self._random = now
        return self._random

    def contents(self, modules: list[nn.Module], options: tuple[nn.Module, Iterable[str]]) -> Contents:
        """Return what the modules hold, the same for all chunks of a call."""
        known = self._contents
        if known is None or known.draws or known.changed() or known.overwritten():
            known = self._contents = Contents(modules, options)
        return known

    def of(self, buffer: Tensor) -> Tensor:
        """Return a copy of a buffer with its current value."""
        _, version, copy = self._of.get(id(buffer), (buffer, -1, buffer))
        compares = buffer.layout is torch.strided and not buffer.is_meta
        if version != version_of(buffer) or not (compares and torch.equal(copy, buffer)):  # written through .data
            copy = buffer.detach().clone()
            self._of[id(buffer)] = buffer, version_of(buffer), copy
        return copy


class Start:
    """All that a chunk starts from, for its second run: parts of the network, the frame of the call, and options.

    The chunks of a call share their ``copies``. ``skips_zeros`` says whether torch's layers may have skipped zeros in
    the first run.
    """

    def __init__(
        self, parts: Parts, frame: Frame, device: torch.device, copies: Copies, options: tuple[nn.Module, Iterable[str]]
    ) -> None:
        self.skips_zeros = False
        self._parts, self._keeps_graph, self._eager = parts, frame.keeps_graph, frame.eager
        # without their graph, so that the second run ends at the border; they require a gradient if they did before
        self._memories = {layer: tree_map(without_graph, frame.memories.get(layer)) for layer in parts.layers}
        cells = [layer._cell for layer in parts.layers if layer._cell.recorder is not None]
        self._recorders = [(cell, cell.recorder.again()) for cell in cells]
        found = [leaf for leaf in leaves_of([*self._memories.values()]) if isinstance(leaf, Tensor)]
        self._states = [(leaf, version_of(leaf)) for leaf in found]
        self._random = copies.random(device)
        self._kept = list(_kept(parts.modules, copies))
        self._contents = copies.contents(parts.modules, options)

    def frame(self) -> Frame:
        """Return a frame for the second run, which leaves the layers unchanged."""
        frame = Frame(self._parts.layers, self._parts.places, keeps_graph=self._keeps_graph, eager=self._eager)
        frame.repeats, frame.skips_zeros = True, self.skips_zeros
        frame.memories.update(self._memories)
        return frame

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put everything but the memories back to the start of the chunk; inside a block, and for it alone.

        Raise RuntimeError if a tensor that is not copied has been written on since the chunk ran.
        """
        self._check_unwritten()
        puts: list[Callable[[], object]] = []
        try:
            self._restore(puts)
            yield
        finally:
            for put_back in reversed(puts):
                put_back()

    def _check_unwritten(self) -> None:
        for kept in self._kept:
            if kept.value is None and (kept.version, kept.address) != (version_of(kept.tensor), _address(kept.tensor)):
                raise RuntimeError(
                    f"{_written(f'{kept.name}, a parameter', kept.tensor)}. Call backward() before optimizer.step()"
                )
        for leaf, version in self._states:
            if version != version_of(leaf):
                raise RuntimeError(f"{_written('the state of a layer', leaf)}. Write on a copy of it: layer.v.clone()")
        if (found := self._contents.overwritten()) is not None:
            name, tensor = found
            raise RuntimeError(
                f"{_written(f'{name}, a tensor', tensor)}. Register it as a buffer, which is copied: "
                f"self.register_buffer({name!r}, tensor)"
            )

    def _restore(self, puts: list[Callable[[], object]]) -> None:
        self._contents.put_back(puts)
        values: dict[int, Tensor] = {}  # a buffer of several modules stays one
        for kept in self._kept:
            now = kept.place.get(kept.name)
            if kept.tensor.requires_grad is not kept.trained:
                puts.append(partial(kept.tensor.requires_grad_, kept.tensor.requires_grad))
                kept.tensor.requires_grad_(kept.trained)
            # always another buffer: the second run may write on it, and through .data its version does not show that
            apart = kept.value is not None and not kept.trained
            if apart or kept.tensor is not now or kept.version != version_of(kept.tensor):
                value = kept.tensor if kept.value is None else values.setdefault(id(kept.tensor), kept.value.clone())
                puts.append(partial(_put, kept.place, kept.name, *([now] if kept.name in kept.place else [])))
                kept.place[kept.name] = value
        for cell, recorder in self._recorders:
            puts.append(partial(setattr, cell, "recorder", cell.recorder))
            cell.recorder = recorder.again()
        puts.append(RandomNumbers.now(self._random.device).put_back)
        self._random.put_back()


def _put(place: dict[str, Any], name: str, *there: Tensor | None) -> None:
    """Put back what was there under a name, if anything was."""
    if there:
        (place[name],) = there
    else:
        del place[name]


def _written(what: str, tensor: Tensor) -> str:
    return (
        f"SpikingNet: {what} of shape {tuple(tensor.shape)} has changed between a call and its backward pass, "
        "and recompute=True runs the chunks of the call again in the backward pass"
    )


def _kept(modules: Sequence[nn.Module], copies: Copies) -> Iterator[_Kept]:
    """Yield the parameters and buffers of modules."""
    for module in modules:
        if fsdp_state(module) is None:  # whose hooks put other tensors in place of its parameters
            for name, weight in module._parameters.items():
                if weight is not None and not is_lazy(weight):
                    now = version_of(weight), weight.requires_grad, _address(weight)
                    yield _Kept(module._parameters, name, weight, *now, None)
        for name, buffer in module._buffers.items():
            if buffer is None or is_lazy(buffer):
                continue
            version, trained = version_of(buffer), buffer.requires_grad
            yield _Kept(module._buffers, name, buffer, version, trained, 0, copies.of(buffer))


def _address(tensor: Tensor) -> int:
    """Return the address of the memory of a tensor; 0 if it has none."""
    try:
        return part_of(tensor).data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0
