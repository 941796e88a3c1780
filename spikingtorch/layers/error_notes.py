"""The layer of a network that an error comes from, by its path: of several LIF layers, the message names the class."""

import traceback

from torch import nn

from spikingtorch.layers.base import StatefulLayer


def name_layer(error: BaseException, net: nn.Module) -> None:
    """Add a note to an error that a spiking layer of a network has raised: the path of the innermost such layer."""
    paths = {id(module): path for path, module in net.named_modules() if isinstance(module, StatefulLayer)}
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = paths.get(id(frame.f_locals.get("self")), found)
    if found:  # a network that is a layer itself has no path
        kind = type(net.get_submodule(found)).__name__
        error.add_note(f"SpikingNet: raised by layer {found} ({kind})")
