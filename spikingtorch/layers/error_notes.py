"""The path of the module that raised an error; the message names only its class, which several layers share."""

import traceback

from torch import nn

from spikingtorch.functional.core.torch_private import is_shard
from spikingtorch.layers.base import StatefulLayer

_SPLIT = (
    "Weights of the network are split over processes. Behind ColwiseParallel(), a layer gets the neurons of this "
    "process and does not know which they are; ColwiseParallel(use_local_output=False) tells it"
)


def name_layer(error: BaseException, net: nn.Module) -> None:
    """Add a note to an error that a spiking layer of a network has raised: the path of the innermost such layer."""
    if found := innermost(error, net, StatefulLayer):  # a layer that is itself the network has no path
        error.add_note(f"SpikingNet: raised by layer {found} ({type(net.get_submodule(found)).__name__})")
        if type(error) is ValueError and any(map(is_shard, net.parameters())):
            error.add_note(_SPLIT)


def innermost(error: BaseException, net: nn.Module, kind: type[nn.Module]) -> str | None:
    """Return the path of the innermost module of a kind that an error has passed through, or None."""
    paths = {id(module): path for path, module in net.named_modules() if isinstance(module, kind)}
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = paths.get(id(frame.f_locals.get("self")), found)
    return found
