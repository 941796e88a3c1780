"""Modes of torch: detect what intercepts a call, and run code outside of all modes."""

import operator
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from itertools import repeat, takewhile
from operator import is_
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from spikingtorch.functional.core.torch_private import (
    DisableTorchFunction,
    DispatchModeKey,
    InferenceMode,
    TorchDispatchMode,
    dispatch_keys,
    dispatch_mode_at,
    early_mode,
    forward_level,
    function_mode_at,
    get_dispatch_mode,
    get_dynamic_layer_stack_depth,
    mode_flags,
    number_of_dispatch_modes,
    number_of_function_modes,
    peek_interpreter_stack,
    pop_dispatch_mode,
    pop_dynamic_layer_stack,
    pop_function_mode,
    pop_saving_hooks,
    push_dispatch_mode,
    push_dynamic_layer_stack,
    push_function_mode,
    set_grad_enabled,
    set_is_in_mode_without_ignore_compile_internals,
    top_saving_hooks,
    tracing_state,
    without_modes,
)
from spikingtorch.functional.core.undo import run_or_undo

T = TypeVar("T")


def _keys(tensor: Tensor) -> int:
    keys: int = dispatch_keys(tensor).raw_repr()
    return keys


@lru_cache(maxsize=8)
def plain_keys(device: str) -> frozenset[int]:
    """Return the dispatch keys of plain tensors on a device.

    Torch describes a tensor by these keys. They tell apart devices, layouts, lazily negated or zero tensors, and
    tensors that torch.func has wrapped.
    """
    with torch.inference_mode():
        made_in_inference_mode = _keys(torch.empty(0, device=device))
    with torch.inference_mode(False):
        return frozenset((made_in_inference_mode, _keys(torch.empty(0, device=device))))


_TYPES = {Tensor, torch.nn.Parameter}
_DESCRIBED = {*_TYPES, type(None)}
_PROXY, _FAKE = DispatchModeKey.PROXY, DispatchModeKey.FAKE
# the device of the small example tensors of a trace, whatever the target of its program
HOST = torch.device("cpu")


def in_eager() -> bool:
    """Return True if nothing traces, compiles or transforms the call."""
    return not (
        torch.compiler.is_compiling()
        or number_of_dispatch_modes()
        or peek_interpreter_stack() is not None
        or forward_level() >= 0
        or tracing_state() is not None
        or (number_of_function_modes() and _is_traced_early())
    )


def is_written_down() -> bool:
    """Return True if ``make_fx`` or a similar tool records the call, or runs it on tensors without data."""
    early = number_of_function_modes() and _is_traced_early()
    late = number_of_dispatch_modes()
    return bool(early or (late and any([get_dispatch_mode(mode) is not None for mode in (_PROXY, _FAKE)])))


def _is_traced_early() -> bool:
    """Return True if ``make_fx(..., pre_dispatch=True)`` records the call: its mode has a separate stack.

    It brings a mode for torch functions as well, so a call without it is recognised at low cost.
    """
    return early_mode(_PROXY) is not None


def are_plain(tensors: Iterable[Any], keys: Container[int]) -> bool:
    """Return True if all tensors are plain ones on a device; ``keys`` is the result of ``plain_keys`` for it."""
    keys_of = dispatch_keys
    return all([type(tensor) in _TYPES and keys_of(tensor).raw_repr() in keys for tensor in tensors])


def described(tensors: Sequence[Any]) -> list[Any] | None:
    """Return the kind and the memory layout of tensors, as part of a key; None if one is not strided.

    It says as well whether they are trained. Tensors with the description of plain tensors are plain, and on the same
    device. Some may be missing.
    """
    if not _DESCRIBED.issuperset(map(type, tensors)):
        return None
    keys_of = dispatch_keys
    try:
        return [
            None
            if t is None
            else (type(t), keys_of(t).raw_repr(), t.dtype, t.shape, t.stride(), t.get_device(), t.requires_grad)
            for t in tensors
        ]
    except RuntimeError:  # a sparse one has no strides
        return None


class DispatchMode(TorchDispatchMode):
    """A mode of operations without torch's wrapper, which imports the whole compiler: a second of the first call."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Modes(NamedTuple):
    """The modes of torch in this thread, to be restored later."""

    functions: Sequence[Any]  # modes of torch functions, the outermost first
    dispatch: Sequence[Any]  # modes of operations
    flags: tuple[bool, bool, bool]  # torch's notes about these modes
    hooks: Any  # the innermost hooks on saved tensors
    grad: bool  # whether gradients are recorded

    @classmethod
    def none(cls, grad: bool) -> "Modes":
        """Return the modes of a call without any."""
        return cls((), (), (False, False, False), None, grad)

    @classmethod
    def now(cls) -> "Modes":
        """Return the current modes."""
        flags = (
            mode_flags._is_in_torch_dispatch_mode,
            mode_flags._is_in_non_infra_torch_dispatch_mode,
            mode_flags._is_in_any_mode_without_ignore_compile_internals,
        )
        functions = _functions() if number_of_function_modes() else ()
        dispatch = _dispatch() if number_of_dispatch_modes() else ()
        return cls(functions, dispatch, flags, top_saving_hooks(True), torch.is_grad_enabled())

    def put_back(self) -> None:
        """Restore the modes that have changed."""
        while (top := top_saving_hooks(True)) is not None and top != self.hooks:
            pop_saving_hooks()
        _refill(self.functions, _functions, pop_function_mode, push_function_mode)
        _refill(self.dispatch, _dispatch, pop_dispatch_mode, push_dispatch_mode)
        one, two, three = self.flags
        mode_flags._is_in_torch_dispatch_mode, mode_flags._is_in_non_infra_torch_dispatch_mode = one, two
        mode_flags._is_in_any_mode_without_ignore_compile_internals = three
        set_is_in_mode_without_ignore_compile_internals(three)
        if torch.is_grad_enabled() != self.grad:
            with DisableTorchFunction():  # modes of the user would see these operations
                set_grad_enabled(self.grad)


def _stack(number_of: Callable[[], int], at: Callable[[int], Any]) -> Sequence[Any]:
    return [at(place) for place in range(number_of())]


_functions = partial(_stack, number_of_function_modes, function_mode_at)
_dispatch = partial(_stack, number_of_dispatch_modes, dispatch_mode_at)


def _refill(wanted: Sequence[Any], now: Callable[[], Any], pop: Callable[[], Any], push: Callable[[Any], Any]) -> None:
    """Make a stack hold the wanted objects themselves."""
    found = now()
    same = sum(takewhile(bool, map(is_, found, wanted)))
    for _ in found[same:]:
        pop()
    for mode in wanted[same:]:
        push(mode)


def within(modes: Iterable[Any], work: Callable[[], T], *, without: type[Any] | None = None) -> T:
    """Return the result of ``work`` inside nested modes; none of them remains, even after an error.

    They are modes of torch functions or of operations. Innermost modes for torch functions that are of the type
    ``without`` do not see the work.
    """
    before = Modes.now()

    def inside() -> T:
        if without is not None:
            last = next((mode for mode in reversed(before.functions) if not isinstance(mode, without)), None)
            while (number := number_of_function_modes()) and function_mode_at(number - 1) is not last:
                pop_function_mode()
        for mode in modes:
            mode.__enter__()
        found = work()
        before.put_back()
        return found

    return run_or_undo(inside, before.put_back)


def outside_transforms(work: Callable[[], T]) -> T:
    """Return the result of ``work`` outside of ``torch.func``, dispatch modes, saved-tensor hooks, inference mode."""
    before, depth = Modes.now(), get_dynamic_layer_stack_depth()
    transforms: list[Any] = []

    def inside() -> T:
        if depth:  # one instruction, so that no interrupt separates a transform from its place in the list
            transforms[:] = map(operator.call, repeat(pop_dynamic_layer_stack, depth))
        before._replace(dispatch=()).put_back()
        if before.hooks is not None:
            torch.autograd.graph.saved_tensors_hooks(as_it_is, as_it_is).__enter__()
        with _outside_early_modes(), InferenceMode(False):
            found = work()
        put_back()
        return found

    def put_back() -> None:
        while transforms and (now := get_dynamic_layer_stack_depth()) < depth:
            push_dynamic_layer_stack(transforms[depth - 1 - now])
        before.put_back()

    return run_or_undo(inside, put_back)


def _outside_early_modes() -> AbstractContextManager[Any]:
    """Return a context outside of the modes of ``make_fx(..., pre_dispatch=True)``, which torch.export uses."""
    if not _is_traced_early():
        return nullcontext()
    outside: AbstractContextManager[Any] = without_modes()
    return outside


def as_it_is(tensor: Tensor) -> Tensor:
    """Return a tensor: for hooks on saved tensors that change nothing."""
    return tensor
