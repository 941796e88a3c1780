"""Modes of torch: what stands between a call and the memory of its tensors, and how to step outside of it."""

from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad


def _keys(tensor: Tensor) -> int:
    keys: int = torch._C._dispatch_keys(tensor).raw_repr()
    return keys


def plain_keys(device: str) -> frozenset[int]:
    """Return the dispatch keys of plain tensors on a device.

    They are torch's own account of a tensor: they tell apart devices and layouts, what is negated or zero without being
    written out, and what torch.func has wrapped.
    """
    with torch.inference_mode():
        made_in_inference_mode = _keys(torch.empty(0, device=device))
    with torch.inference_mode(False):
        return frozenset((made_in_inference_mode, _keys(torch.empty(0, device=device))))


_TYPES = {Tensor, torch.nn.Parameter}
_PROXY, _FAKE = torch._C._TorchDispatchModeKey.PROXY, torch._C._TorchDispatchModeKey.FAKE
# where the small example tensors of a trace live, whatever the target of its program
HOST = torch.device("cpu")


def in_eager() -> bool:
    """Say whether nothing traces, compiles or transforms what is called."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
        or (torch._C._len_torch_function_stack() and _is_traced_early())
    )


def is_written_down() -> bool:
    """Say whether ``make_fx`` or the like writes down what is called, or runs it on tensors without data."""
    early = torch._C._len_torch_function_stack() and _is_traced_early()
    late = torch._C._len_torch_dispatch_stack()
    return bool(early or (late and any([torch._C._get_dispatch_mode(mode) is not None for mode in (_PROXY, _FAKE)])))


def _is_traced_early() -> bool:
    """Say whether ``make_fx(..., pre_dispatch=True)`` does so: its mode has a stack of its own.

    It comes with a mode for torch functions, by which calls without it are known at less cost.
    """
    return torch._ops._get_dispatch_mode_pre_dispatch(_PROXY) is not None


def are_plain(tensors: Iterable[Any], keys: Container[int]) -> bool:
    """Say whether these are plain tensors on a device, all of them; ``keys`` is what ``plain_keys`` says of it."""
    keys_of = torch._C._dispatch_keys
    return all([type(tensor) in _TYPES and keys_of(tensor).raw_repr() in keys for tensor in tensors])


@contextmanager
def outside_transforms() -> Iterator[None]:
    """Run outside of every ``torch.func`` transform, dispatch mode, hook on saved tensors and of inference mode."""
    with ExitStack() as stack:
        if peek_interpreter_stack() is not None:
            from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

            stack.enter_context(temporarily_clear_interpreter_stack())
        if torch._C._len_torch_dispatch_stack() or _is_traced_early():
            from torch.utils._python_dispatch import _disable_current_modes

            stack.enter_context(_disable_current_modes())
        if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:  # pyright: ignore
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t))
        stack.enter_context(torch.inference_mode(False))
        yield
