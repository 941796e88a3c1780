"""The weights of a step: the products of modules, synapses as traces see them, and gradients added to ``.grad``."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikingtorch.functional.core.tree import leaves_of

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d


class Product(NamedTuple):
    """A product of an ``nn.Linear`` or a convolution in one step."""

    module: Any
    x: Tensor
    out: Tensor
    versions: tuple[int, int, int]  # of the input, the weight and the output

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
        """Add the gradients of weight and bias to ``.grad``, and pass on that of the input, from one of the product."""
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


def with_graph(out: Any, grads: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the tensors of an output that have a graph, with their gradients, one for each floating tensor."""
    floats = [each for each in leaves_of(out) if each.is_floating_point()]
    return [pair for pair in zip(floats, grads, strict=True) if pair[0].requires_grad]


def pass_on(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Pass gradients of activations on to the leaves that these were computed from, and add them to their ``.grad``."""
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


def summed(parts: list[Tensor]) -> Tensor:
    """Return the sum of some tensors."""
    return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])


def _is_plain(weight: Tensor) -> bool:
    """Return True if no hook looks at the gradient of a weight, and nothing computes the weight."""
    hooks: Any = weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None)
    grad = weight.grad if weight.is_leaf else None
    plain = grad is None or not (grad.requires_grad or grad.is_sparse)
    return weight.is_leaf and not hooks and plain and type(weight) in (Tensor, nn.Parameter)


class Linear(NamedTuple):
    """Each neuron of the last axis has a weight for each input: traces (..., out, in)."""

    module: nn.Linear

    def over_neurons(self, of_neurons: Tensor) -> Tensor:
        """Return a tensor (..., out), ready to be multiplied by traces."""
        return of_neurons.unsqueeze(-1)

    def over_inputs(self, x: Tensor) -> Tensor:
        """Return the inputs (..., in), ready to be multiplied by traces."""
        return x.unsqueeze(-2)

    def gradient(self, signal: Tensor, trace: Tensor) -> Tensor:
        """Return the sum of signal times trace over all but (out, in)."""
        out, size = trace.shape[-2:]
        return torch.einsum("no,noi->oi", signal.reshape(-1, out), trace.reshape(-1, out, size))

    def add_outer(self, weight: Tensor, signal: Tensor, x: Tensor) -> None:
        """Add the gradient of the weight to ``.grad``, from a gradient of the product and an input."""
        add_product(weight, signal.reshape(-1, signal.shape[-1]), x.reshape(-1, x.shape[-1]))

    def of_bias(self, signal: Tensor) -> Tensor:
        """Return a signal (..., out) summed to the shape of the bias."""
        return signal.reshape(-1, signal.shape[-1]).sum(0)


class Convolved(NamedTuple):
    """Each neuron of an image has a weight for each input in its window: traces (N, out, positions, window)."""

    module: Convolution

    def over_neurons(self, of_neurons: Tensor) -> Tensor:
        """Return a tensor (N, out, *size), ready to be multiplied by traces."""
        return of_neurons.flatten(2).unsqueeze(-1)

    def over_inputs(self, x: Tensor) -> Tensor:
        """Return the windows of an image (N, C, *size), ready to be multiplied by traces."""
        module: Any = self.module
        sides: Any = module._reversed_padding_repeated_twice  # what nn.Conv2d itself pads with, "same" included
        windows = functional.pad(x, sides, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
        axes = len(module.kernel_size)
        for axis, (size, stride, apart) in enumerate(
            zip(module.kernel_size, module.stride, module.dilation, strict=True)
        ):
            windows = windows.unfold(2 + axis, apart * (size - 1) + 1, stride)[..., ::apart]
        N, groups, each = len(x), module.groups, module.in_channels // module.groups
        # (N, C, *positions, *window) -> (N, groups, positions, each window)
        split = windows.reshape(N, groups, each, math.prod(windows.shape[2 : 2 + axes]), math.prod(module.kernel_size))
        found = split.transpose(2, 3).flatten(3)
        return found if groups == 1 else found.repeat_interleave(module.out_channels // groups, dim=1)

    def gradient(self, signal: Tensor, trace: Tensor) -> Tensor:
        """Return the sum of signal times trace over samples and positions."""
        return torch.einsum("ncl,nclq->cq", signal.flatten(2), trace).reshape(self.module.weight.shape)

    def add_outer(self, weight: Tensor, signal: Tensor, x: Tensor) -> None:
        """Add the gradient of the weight, as for ``Linear``."""
        module: Any = self.module
        with torch.enable_grad():
            leaf = weight.detach().requires_grad_()
            product: Tensor = module._conv_forward(x, leaf, None)
        add_gradient(weight, torch.autograd.grad(product, leaf, signal)[0])

    def of_bias(self, signal: Tensor) -> Tensor:
        """Return a signal (N, out, *size) summed to the shape of the bias."""
        return signal.flatten(2).sum((0, 2))


Synapses: TypeAlias = Linear | Convolved


def synapses_of(module: nn.Module) -> Synapses | None:
    """Return the synapses of a module, or None if it does not run as an ``nn.Linear`` or a convolution of torch."""
    own = vars(module).keys() & {"forward", "_conv_forward"}
    for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d):
        same = all(
            getattr(type(module), name, None) is getattr(kind, name, None) for name in ("forward", "_conv_forward")
        )
        if isinstance(module, kind) and same and not own:
            return Linear(module) if isinstance(module, nn.Linear) else Convolved(module)
    return None
