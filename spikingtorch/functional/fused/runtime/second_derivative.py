"""Second derivatives: a backward pass that is itself differentiated (``create_graph=True``) runs on the loop.

A kernel gives a gradient as plain numbers. A second derivative needs the graph of that gradient. Torch creates this
graph when it differentiates the scan on the loop.
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
    """A gradient by kernels, which has no further gradient."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save nothing: the loop computes second derivatives."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Raise an error: torch.func differentiates a gradient again that was planned as a first derivative."""
        raise RuntimeError(
            "scan: the fused backend has no second derivative inside torch.func. Call scan(..., backend='loop'), which "
            "has all of them"
        )


def first_derivative(kind: type[FirstDerivative], *arguments: Any) -> Sequence[Tensor]:
    """Return a gradient by kernels, by an operation that torch sees."""
    # torch.compile takes no Function in a Function, and no second derivative through a backward pass either
    function: Any = kind
    found: Sequence[Tensor] = (function.forward if torch.compiler.is_dynamo_compiling() else function.apply)(*arguments)
    return found


def known_signature(kind: Kind) -> Kind:
    """Return a Function with a stored signature, because torch reads the signature at every call.

    To compute the signature takes longer than the kernel of a small layer.
    """
    forward: Any = kind.forward
    forward.__signature__ = inspect.signature(forward)
    return kind


def is_differentiated(tensors: Sequence[Tensor], wanted: Sequence[bool]) -> bool:
    """Return True if the running backward pass is itself differentiated; ``wanted`` are the gradients that it computes.

    Inside a backward pass, gradients are recorded exactly under ``create_graph=True``. ``torch.func.grad`` and ``vjp``
    always record them, even if no second derivative follows; the choice of the backend has already handled theirs.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if any([level.key() == TransformType.Grad for level in get_interpreter_stack() or ()]):
        return False
    # no second derivative reaches the tensors of a torch.func.vjp that has returned; its wrappers have level -2
    leaves = [tensor for tensor, want in zip(tensors, wanted, strict=False) if want]
    return all([leaf.requires_grad and maybe_get_level(leaf) != -2 for leaf in leaves])
