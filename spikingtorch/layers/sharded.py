"""Modules that ``torch.distributed.fsdp.fully_shard`` has sharded: what it takes from them, and what it lends them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.torch_private import fsdp_state, is_shard
from spikingtorch.functional.core.tree import leaves_of, tree_map


def without_views(module: nn.Module, outputs: Any) -> Any:
    """Return the outputs of a module; if it is sharded, copies of them.

    ``fully_shard`` hangs a hook on the outputs, which gathers the weights for the backward pass. A write in place on a
    view would lose the hook.
    """
    return outputs if fsdp_state(module) is None else tree_map(torch.clone, outputs)


def let_gather(modules: Iterable[nn.Module], inside: Any) -> None:
    """Let the backward pass that begins at tensors from inside of modules gather weights, and share gradients.

    ``fully_shard`` begins it at the outputs of a module. A loss may depend on what is inside without them.
    """
    for state in filter(None, map(fsdp_state, modules)):
        for tensor in leaves_of(inside):
            if tensor.requires_grad:
                tensor.register_hook(state._pre_backward)


def is_borrowed(module: nn.Module, parameter: Tensor) -> bool:
    """Return True if a parameter is a gathered copy that belongs to a sharded module around this one.

    A write on the copy would be lost. A module that is sharded itself has its own part at the start of a call.
    """
    return "_is_fsdp_managed_module" in vars(module) and fsdp_state(module) is None and not is_shard(parameter)
