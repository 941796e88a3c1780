"""Errors of a call: the path of the layer that raised one, and errors for an input whose axes do not fit."""

import re
import traceback
from types import FrameType
from typing import Any

from torch import nn

from spikingtorch.axes import counted, sizes
from spikingtorch.functional.core.torch_private import is_shard
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.frame import Frame
from spikingtorch.validation import has_values

# torch's words for shapes that do not fit
_OF_SHAPES = re.compile(r"shape|size|dimension|channel|[1-9]D\b", re.IGNORECASE)

_IMAGES = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}  # with the number of their axes besides the channels

_SPLIT = (
    "Weights of the network are split over processes. Behind ColwiseParallel(), a layer gets the neurons of this "
    "process and does not know which they are; ColwiseParallel(use_local_output=False) tells it"
)


def name_layer(error: BaseException, net: nn.Module) -> None:
    """Add notes to an error that a spiking layer of a network has raised: its path, and whose states are not finite."""
    if found := innermost(error, net, StatefulLayer):  # a layer that is itself the network has no path
        error.add_note(f"SpikingNet: raised by layer {found} ({type(net.get_submodule(found)).__name__})")
        if type(error) is ValueError and any(map(is_shard, net.parameters())):
            error.add_note(_SPLIT)
        if diverged := _diverged(error, net):
            error.add_note(f"SpikingNet: the state of layer {' and that of layer '.join(diverged)} is not finite")


def _diverged(error: BaseException, net: nn.Module) -> list[str]:
    """Return the layers whose states hold NaN or infinities in the call that has failed, the first one called first."""
    calls = [frame.f_locals.get("frame") for frame in _frames(error)]
    memories = next((call.memories for call in calls[::-1] if isinstance(call, Frame)), {})
    paths = {module: path for path, module in net.named_modules()}
    known = [(layer, memory) for layer, memory in memories.items() if memory is not None and layer in paths]
    states = [(layer, leaf) for layer, memory in known for leaf in leaves_of(memory.state) if has_values(leaf)]
    found = dict.fromkeys(layer for layer, leaf in states if not leaf.detach().isfinite().all())
    return [f"{paths[layer]} ({type(layer).__name__})" for layer in found]


def innermost(error: BaseException, net: nn.Module, kind: type[nn.Module]) -> str | None:
    """Return the path of the innermost module of a kind that an error has passed through, or None."""
    paths = {id(module): path for path, module in net.named_modules() if isinstance(module, kind)}
    found = None
    for frame in _frames(error):
        found = paths.get(id(frame.f_locals.get("self")), found)
    return found


def _frames(error: BaseException) -> list[FrameType]:
    """Return the frames that an error has passed through, without the one that handles it.

    That one has the error in a local variable. ``f_locals`` copies the variables into its frame, and the copy would
    keep the error, and with it the tensors of all frames, alive until the garbage collector runs.
    """
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]


def misfit(error: BaseException, net: nn.Module, x: Any, batch_first: bool) -> ValueError | None:
    """Return an error about the input x in place of torch's error about one step; None if x is not the cause.

    x is the cause if the error comes from the first weights of a network, or if steps have no features. Other errors
    get a note.
    """
    of_torch = type(error) in (RuntimeError, ValueError, IndexError) and _OF_SHAPES.search(str(error))
    if not of_torch or _raised_here(error) or innermost(error, net, StatefulLayer) is not None:
        return None
    (N, T), features = sizes(x, batch_first), x.shape[2:]
    step = f"of shape {tuple(features)}" if features else "without features"
    came = f"SpikingNet: x has shape {tuple(x.shape)}, taken as {counted(N, T, batch_first)} {step}"
    path = innermost(error, net, nn.Module)
    weighted = next((name for name, module in net.named_modules() if module._parameters), None)
    where = f"layer {path} ({type(net.get_submodule(path)).__name__})" if path else type(net).__name__
    if features and not (path and path == weighted):
        error.add_note(f"{came}. It is {where} that does not take what it is given")
        return None
    module = net.get_submodule(path) if path else net
    axes = next((number for kind, number in _IMAGES.items() if isinstance(module, kind)), None)
    channels = "If x has no channels, write x.unsqueeze(2). " if len(features) == axes else ""
    time, order = (1, "") if batch_first else (0, ", batch_first=False")
    return ValueError(
        f"{came}, which {where} does not take: {error}. {channels}If x has no time, write x.unsqueeze({time}) for one "
        f"step or ConstantEncoder(T{order})(x) of spikingtorch.spikeio for T steps; if x has no batch, write "
        f"x.unsqueeze({1 - time})"
    )


def _raised_here(error: BaseException) -> bool:
    """Return True if this library itself raised the error, not a torch function that it called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = next(frame for frame in reversed(frames) if frame.f_code.co_name != "__torch_function__")
    return str(last.f_globals.get("__name__", "")).split(".")[0] == "spikingtorch"
