"""Add gradients to ``.grad`` of weights, and pass them on through an ``nn.Linear``, as autograd does."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of


class Product(NamedTuple):
    """A product of a module in one step.

    Attributes:
        module: an ``nn.Linear`` or a convolution.
        x: its input.
        out: its output.
        versions: of the input, the weight and the output.
    """

    module: Any
    x: Tensor
    out: Tensor
    versions: tuple[int, int, int]

    @classmethod
    def of(cls, module: Any, x: Tensor, out: Tensor) -> "Product":
        """Return the product of a call of a module."""
        weight = module._parameters.get("weight")  # a parametrized one is not computed again
        return cls(module, x, out, (x._version, getattr(weight, "_version", -1), out._version))

    def is_given(self, z: Any) -> bool:
        """Return True if z is this product, as the module computed it."""
        return self.out is z and z._version == self.versions[2]

    def is_plain(self, z: Any) -> bool:
        """Return True if ``pull`` passes on the gradient of z, because z is this product."""
        module = self.module
        weight, out = module._parameters.get("weight"), self.out
        hooks = module._backward_hooks or module._backward_pre_hooks or out._backward_hooks or out.retains_grad
        plain = type(module) is nn.Linear and type(weight) is nn.Parameter and not hooks
        return plain and self.is_given(z) and out.dtype == self.x.dtype == weight.dtype

    def pull(self, grad: Tensor) -> None:
        """Add the gradients of weight and bias to ``.grad``, and pass on that of the input.

        Args:
            grad: gradient of the product, in its shape.

        Raises:
            RuntimeError: the input or the weight has been overwritten since the step.
        """
        module, x = self.module, self.x
        weight, bias = module.weight, module.bias
        if (x._version, weight._version) != self.versions[:2]:
            raise RuntimeError(
                "learning.online: the weight or the input of an nn.Linear was overwritten between step() and "
                "backward(). Call optimizer.step() after the last backward() of a step"
            )
        flat = grad.to(self.out.dtype).reshape(-1, grad.shape[-1])
        if weight.requires_grad:
            add_product(weight, flat, x.detach().reshape(-1, x.shape[-1]))
        if bias is not None and bias.requires_grad:
            add_gradient(bias, flat.sum(0))
        if x.requires_grad:
            pass_on([(x, (flat @ weight.detach()).view(x.shape))])


def leaves_behind(tree: Any) -> list[Tensor]:
    """Return the leaves of the graph that tensors depend on, and that require a gradient."""
    tensors = [each for each in leaves_of(tree) if isinstance(each, Tensor) and each.requires_grad]
    found = [each for each in tensors if each.grad_fn is None]
    ahead: list[Any] = [each.grad_fn for each in tensors if each.grad_fn is not None]
    seen = {*ahead}
    while ahead:
        node = ahead.pop()
        if (leaf := getattr(node, "variable", None)) is not None:
            found.append(leaf)
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                ahead.append(below)
    return found


def check_leaves(what: str, tree: Any, known: Iterable[Tensor]) -> None:
    """Raise if tensors depend on something trained that is not known."""
    ids = {*map(id, known)}
    if other := [each for each in leaves_behind(tree) if id(each) not in ids]:
        raise ValueError(
            f"learning.online: {what} depends on a tensor of shape {tuple(other[0].shape)} that requires a gradient "
            "and is no parameter there. Make it an nn.Parameter of the module that takes it, or detach it"
        )


def parameter_of(module: nn.Module, name: str) -> Tensor:
    """Return a weight or bias of a module; a parametrized one with its graph."""
    found: Any = module._parameters.get(name)
    if found is None:
        with torch.enable_grad():
            found = getattr(module, name)
    return found  # type: ignore[no-any-return]


def with_graph(out: Any, grads: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the tensors of an output that have a graph, with their gradients, one for each floating tensor."""
    floats = [each for each in leaves_of(out) if each.is_floating_point()]
    return [pair for pair in zip(floats, grads, strict=True) if pair[0].requires_grad]


def pass_on(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Pass gradients of activations on to the leaves from which these were computed, and add them to their ``.grad``.

    Args:
        pairs: activations that require gradients, each with its gradient.
    """
    if computed := [pair for pair in pairs if not pair[0].is_leaf]:
        torch.autograd.backward([x for x, _ in computed], [grad for _, grad in computed], retain_graph=True)
    for x, grad in pairs:
        if x.is_leaf:
            x.grad = grad if x.grad is None else x.grad + grad


def add_gradient(weight: Tensor, grad: Tensor) -> None:
    """Add a gradient to ``.grad`` of a weight, or of what it is computed from."""
    grad = grad.to(weight.dtype)
    if not _is_plain(weight):
        torch.autograd.backward([weight], [grad], retain_graph=True)
    elif weight.grad is None:
        weight.grad = grad
    else:
        weight.grad += grad


def add_product(weight: Tensor, a: Tensor, b: Tensor) -> None:
    """Add the gradient ``a.T @ b`` of a weight, in one pass over ``.grad`` if it has one."""
    if weight.grad is not None and _is_plain(weight) and weight.dtype == a.dtype == b.dtype:
        weight.grad.addmm_(a.T, b)
    else:
        add_gradient(weight, a.T @ b)


def _is_plain(weight: Tensor) -> bool:
    """Return True if no hook looks at the gradient of a weight, and nothing computes the weight."""
    hooks: Any = weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None)
    grad = weight.grad if weight.is_leaf else None
    plain = grad is None or not (grad.requires_grad or grad.is_sparse)
    return weight.is_leaf and not hooks and plain and type(weight) in (Tensor, nn.Parameter)
