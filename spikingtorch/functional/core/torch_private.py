"""The private names of torch that the library uses, with the purpose of each and the releases that have it.

Torch does not promise to keep them. The releases in ``SEEN`` have all of them. In a release that lacks one, importing
this file raises an error with its name. No other file imports from a private place of torch, and a test holds them to
it. ``ATTRIBUTES`` lists the private attributes of torch's objects that the library reads.
"""

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.autograd import forward_ad

SEEN = ("2.12", "2.15")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"spikingtorch uses a private part of torch that torch {torch.__version__} does not have ({error}). It was "
            f"tested with torch {SEEN[0]} to {SEEN[1]}: install one of these, or a newer spikingtorch"
        ) from error


# new memory on the CPU, without torch's search through its kinds of arguments and its dispatcher
with _explained():
    empty_strided_cpu: Any = torch._C._dynamo.guards._empty_strided_cpu  # type: ignore[attr-defined]

# a number that changes with each write into a dict, for any Python
with _explained():
    from torch._C._dynamo.guards import dict_version

# what torch.compile does with the functions that are called now
with _explained():
    from torch._C._dynamo.eval_frame import get_eval_frame_callback

# the stacks of modes of torch functions and of operations: to see who intercepts a call, and to restore them after an
# interrupt
with _explained():
    from torch._C import _get_dispatch_mode as get_dispatch_mode
    from torch._C import _get_dispatch_stack_at as dispatch_mode_at
    from torch._C import _get_function_stack_at as function_mode_at
    from torch._C import _len_torch_dispatch_stack as number_of_dispatch_modes
    from torch._C import _len_torch_function_stack as number_of_function_modes
    from torch._C import _pop_torch_dispatch_stack as pop_dispatch_mode_of
    from torch._C import _pop_torch_function_stack as pop_function_mode
    from torch._C import _push_on_torch_dispatch_stack as push_dispatch_mode
    from torch._C import _push_on_torch_function_stack as push_function_mode
    from torch._C import _TorchDispatchModeKey as DispatchModeKey
    from torch._C._dynamo.guards import set_is_in_mode_without_ignore_compile_internals
    from torch._ops import _get_dispatch_mode_pre_dispatch as early_mode  # make_fx(..., pre_dispatch=True) has its own
    from torch.utils import _python_dispatch as mode_flags  # whose module variables note which modes there are
    from torch.utils._device import DeviceContext  # the mode of torch.set_default_device, which changes no numbers
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._python_dispatch import _disable_current_modes as without_modes

# torch.func: the running transforms, the tensor inside a wrapper, and calls outside of transforms
with _explained():
    from torch._C import _are_functorch_transforms_active as transforms_active
    from torch._C import _DisableFuncTorch as OutsideTransforms
    from torch._C._functorch import (
        CGradInterpreterPtr,
        TransformType,
        get_dynamic_layer_stack_depth,
        get_interpreter_stack,
        get_unwrapped,
        is_batchedtensor,
        is_functorch_wrapped_tensor,
        maybe_current_level,
        maybe_get_bdim,
        maybe_get_level,
        peek_interpreter_stack,
        pop_dynamic_layer_stack,
        push_dynamic_layer_stack,
    )

# parts of torch's dispatch of a call: without modes or autograd, inside or outside of inference mode
with _explained():
    from torch._C import DisableTorchFunction, DisableTorchFunctionSubclass
    from torch._C import _AutoDispatchBelowAutograd as BelowAutograd
    from torch._C import _EnableTorchFunction as EnableTorchFunction
    from torch._C import _InferenceMode as InferenceMode
    from torch._C import _set_grad_enabled as set_grad_enabled

# facts about a tensor or a call, without an operation
with _explained():
    from torch._C import _current_graph_task_id as backward_id
    from torch._C import _dispatch_keys as dispatch_keys
    from torch._C import _get_tracing_state as tracing_state  # of torch.jit.trace, which ONNX and TensorBoard use
    from torch._C import _is_any_autocast_enabled as any_autocast  # on any device
    from torch._C._autograd import _pop_saved_tensors_default_hooks as pop_saving_hooks
    from torch._C._autograd import _profiler_enabled as profiler_enabled
    from torch._C._autograd import _top_saved_tensors_default_hooks as top_saving_hooks
    from torch.autograd.graph import _engine_run_backward as run_backward
    from torch.nn.modules import module as of_all_modules

    # the stubs of torch lack these
    is_alias_of: Any = torch._C._is_alias_of  # type: ignore[attr-defined]

# trees of tensors, and the types of operations and of the bases of torch's modules
with _explained():
    from torch._ops import OpOverload, OpOverloadPacket
    from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm
    from torch.nn.modules.batchnorm import _NormBase as AnyNorm
    from torch.nn.modules.dropout import _DropoutNd as AnyDropout
    from torch.utils import _pytree as pytree

# without an argument, like the one for functions
pop_dispatch_mode = partial(pop_dispatch_mode_of, None)

# Attributes of torch's objects that are read, by kind: torch sets each of them when it creates the object.
ATTRIBUTES = {
    "torch.nn.Module": (
        *("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks"),
        *("_backward_hooks", "_backward_pre_hooks", "_non_persistent_buffers_set"),
        *("_forward_pre_hooks_with_kwargs", "_load_state_dict_pre_hooks"),
    ),
    "torch.nn.Conv2d": ("_conv_forward", "_reversed_padding_repeated_twice"),
    "torch.Tensor": ("_version", "_base", "_is_zerotensor"),
    "torch.UntypedStorage": ("_cdata",),
    "torch.ops.aten.add.Tensor": ("_opname", "_overloadname", "_schema"),
    "the node of a torch.autograd.Function": ("_forward_cls", "_input_metadata", "_raw_saved_tensors"),
    "the state of a module after fully_shard": ("_mp_policy", "_pre_backward"),
}


def forward_level() -> int:
    """Return the level of forward-mode differentiation, -1 outside of it."""
    return forward_ad._current_level


def is_pending(tensor: Any) -> bool:
    """Return True if a tensor stands for the result of a collective that may not have ended."""
    collectives = sys.modules.get("torch.distributed._functional_collectives")
    return collectives is not None and isinstance(tensor, collectives.AsyncCollectiveTensor)


def is_fake(tensor: Tensor) -> bool:
    """Return True if a tensor is a placeholder without numbers, in code that is exported or compiled."""
    return type(tensor).__module__.startswith("torch._subclasses")


# attributes that are read anew at each call are checked here: a missing name must not pass for an empty one
with _explained():
    forward_ad._current_level  # noqa: B018
    has_global_hook: Any = of_all_modules._has_any_global_hook
    _GLOBAL_HOOKS: Any = (
        *(of_all_modules._global_forward_hooks, of_all_modules._global_forward_pre_hooks),
        *(of_all_modules._global_backward_hooks, of_all_modules._global_backward_pre_hooks),
    )


def mappings_of_global_hooks() -> Any:
    """Return the mappings of the hooks of all modules, which ``register_module_forward_hook`` and the like fill."""
    return _GLOBAL_HOOKS if has_global_hook() else ()


def is_shard(tensor: Any) -> bool:
    """Return True if a tensor is a DTensor, of which this process may hold a part alone."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def part_of(tensor: Any) -> Tensor:
    """Return the part of a DTensor that this process has, which shares its memory; other tensors as they are."""
    part: Tensor = tensor.to_local().detach() if is_shard(tensor) else tensor
    return part


def fsdp_state(module: Any) -> Any:
    """Return the state that ``torch.distributed.fsdp.fully_shard`` has given a module; None if there is none."""
    fsdp = sys.modules.get("torch.distributed.fsdp._fully_shard._fsdp_state")
    return None if fsdp is None else fsdp._get_module_fsdp_state(module)


def plain_class(kind: type) -> type:
    """Return the class of a module before ``fully_shard`` has put one of torch's in front of it."""
    made = kind.__module__.startswith("torch.distributed.") and "__deepcopy__" in vars(kind)
    return kind.__bases__[1] if made and len(kind.__bases__) == 2 else kind


def counts_of(tensor: Tensor, memory: UntypedStorage) -> tuple[int, int] | None:
    """Return how many owners the storage of a tensor and the tensor have; None if torch does not count them."""
    of_memory, of_tensor = getattr(torch._C, "_storage_Use_Count", None), getattr(tensor, "_use_count", None)
    return None if of_memory is None or of_tensor is None else (of_memory(memory._cdata), of_tensor())


def stance() -> Any:
    """Return the stance of torch.compile, see ``torch.compiler.set_stance``; None if it is not loaded."""
    return getattr(sys.modules.get("torch._dynamo.eval_frame"), "_stance", None)


def set_stance(stance: Any) -> None:
    """Restore a stance of torch.compile."""
    sys.modules["torch._dynamo.eval_frame"]._set_stance(stance)


def compiler_is_loaded() -> bool:
    """Return True if anything may have been compiled."""
    return "torch._dynamo" in sys.modules


def compiles_frames() -> bool:
    """Return True if torch.compile has given up on the function that runs, and compiles the functions that it calls."""
    return get_eval_frame_callback() not in (None, False)


def is_note_of_compiler(name: str) -> bool:
    """Return True if an attribute of a tensor is one that ``torch.compile`` sets, on sizes that may change."""
    return "_dynamo_" in name or name == "_specialize_on"


def cached_parametrizations() -> int:
    """Return how many blocks of ``parametrize.cached()`` are open."""
    return int(getattr(sys.modules.get("torch.nn.utils.parametrize"), "_cache_enabled", 0))


def set_cached_parametrizations(number: int) -> None:
    """Set the number of open blocks of ``parametrize.cached()``; do nothing if the module is not loaded."""
    if (module := sys.modules.get("torch.nn.utils.parametrize")) is not None:
        vars(module)["_cache_enabled"] = number
