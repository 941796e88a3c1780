"""A backward pass that is differentiated itself (``create_graph=True``): kernels hand it over to the loop.

A kernel gives a gradient as plain numbers. Whoever asks for a second derivative needs the graph of that gradient, which
torch makes when it differentiates the scan on the loop.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core.torch_private import TransformType, get_interpreter_stack, maybe_get_level

Kind = TypeVar("Kind", bound=type[Function])
# returns gradients of a scan by torch's own operations: see ``gradients`` of ``dispatch.reference.LoopReference``
Reference: TypeAlias = Callable[..., list[Tensor]]


class FirstDerivative(Function):
    """A gradient by kernels, which has none itself."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep nothing: a second derivative is the loop's to compute."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Raise: torch.func differentiates a gradient a second time that was chosen to be a first one."""
        raise RuntimeError(
            "scan: the fused backend has no second derivative inside torch.func. Call scan(..., backend='loop'), which "
            "has all of them"
        )


def first_derivative(kind: type[FirstDerivative], *arguments: Any) -> Sequence[Tensor]:
    """Return a gradient by kernels, by an operation that torch sees."""
    # torch.compile knows no Function in a Function, and takes no second derivative through a backward pass anyway
    function: Any = kind
    found: Sequence[Tensor] = (function.forward if torch.compiler.is_dynamo_compiling() else function.apply)(*arguments)
    return found


def known_signature(kind: Kind) -> Kind:
    """Return a Function whose signature torch, which looks it up at every call, finds.

    To find it out takes longer than the kernel of a small layer.
    """
    forward: Any = kind.forward
    forward.__signature__ = inspect.signature(forward)
    return kind


def is_differentiated(tensors: Sequence[Tensor], wanted: Sequence[bool]) -> bool:
    """Say whether the backward pass that runs here is differentiated itself.

    Inside a backward pass, gradients are recorded exactly under ``create_graph=True``. ``torch.func.grad`` and ``vjp``
    always ask for that, whether a second derivative follows or not; the choice of the backend has taken care of theirs.

    Args:
        tensors: what the scan was given, as the backward pass finds it again.
        wanted: for each of them, whether its gradient is.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if any([level.key() == TransformType.Grad for level in get_interpreter_stack() or ()]):
        return False
    # no second derivative reaches the tensors of a torch.func.vjp that has returned: level -2 is that of its wrappers
    leaves = [tensor for tensor, want in zip(tensors, wanted, strict=False) if want]
    return all([leaf.requires_grad and maybe_get_level(leaf) != -2 for leaf in leaves])
