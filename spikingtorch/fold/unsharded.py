"""Copy a network whose weights lie in parts on several processes, as one process alone would have it.

``fully_shard`` gives a module another class, which refuses to be copied; hooks, which gather its weights; and
parameters that are parts. A proof and a report run on one process, which must not wait for the others. So a copy has
the original class, no such hook, and whole weights. Their numbers matter to no decision, and a process may have no room
for them: they are ones, in the memory of a single number.
"""

import copy
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.fold.hooks import HOOKS, Kind, kind_of
from spikingtorch.functional.core.torch_private import fsdp_state, is_shard, plain_class
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.passed_init import InitHook


def whole_weights(net: nn.Module, dtype: torch.dtype) -> dict[int, Tensor]:
    """Return stand-ins for the tensors of which a process has a part, by the id of the tensor.

    They have the dtype in which the ``MixedPrecisionPolicy`` of their module computes, or the one of the network's
    input if a module around the network is sharded with them.
    """
    found, dtypes = dict[int, Tensor](), dict[str, torch.dtype | None]()
    for path, module in net.named_modules():
        state, around = fsdp_state(module), dtypes.get(path.rpartition(".")[0], dtype)
        dtypes[path] = around if state is None else state._mp_policy.param_dtype
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and is_shard(tensor):
                kind = dtypes[path] if tensor.is_floating_point() else None
                one = torch.ones((), dtype=kind or tensor.dtype, device=tensor.device)
                found[id(tensor)] = one.expand(tensor.shape)
    return found


def copied(net: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Return a deep copy of a network, with the ``memo`` of ``deepcopy``; it has those hooks alone that compute."""
    modules = [*net.modules()]
    plain = {module: kind for module in modules if (kind := plain_class(type(module))) is not type(module)}
    memo |= {id(module): object.__new__(kind) for module, kind in plain.items()}
    for module in modules:
        for hooks in (vars(module).get(name, {}) for name in HOOKS):
            keeps = [isinstance(hook, InitHook) or kind_of(hook, module) is Kind.COMPUTES for hook in hooks.values()]
            kept = dict(compress(hooks.items(), keeps))
            if len(kept) < len(hooks):
                memo[id(hooks)] = type(hooks)(copy.deepcopy(kept, memo))
    for module in plain:
        state: Any = module.__getstate__()  # as deepcopy does with a module of any other class
        own = {name: value for name, value in state.items() if not name.startswith("__composable_api")}
        memo[id(module)].__setstate__(copy.deepcopy(own, memo))
    made: nn.Module = copy.deepcopy(net, memo)
    for module in plain:
        if fsdp_state(module) is not None:
            _cast(memo[id(module)], fsdp_state(module)._mp_policy)
    return made


def _cast(module: nn.Module, policy: Any) -> None:
    """Let a module cast what it takes and returns as a ``MixedPrecisionPolicy`` says."""

    def cast(dtype: torch.dtype, tree: Any) -> Any:
        return tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, tree)

    if policy.param_dtype is not None and policy.cast_forward_inputs:
        module.register_forward_pre_hook(
            lambda _, *given: cast(policy.param_dtype, given), with_kwargs=True, prepend=True
        )
    if policy.output_dtype is not None:
        module.register_forward_hook(lambda _, __, output: cast(policy.output_dtype, output))
