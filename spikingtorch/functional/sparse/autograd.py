"""Gradients of layers that skip zeros: the first derivative by kernels, the second by torch's operations."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.functional.core.torch_private import top_saving_hooks
from spikingtorch.functional.sparse import kernels
from spikingtorch.functional.sparse.c_abi import Shape
from spikingtorch.functional.sparse.choose import can_run, objection_to_sizes
from spikingtorch.functional.sparse.crossover import has_few_channels, has_few_outputs, most_events
from spikingtorch.functional.sparse.kernels import Events
from spikingtorch.functional.sparse.operations import Layer, Linear, Operation


@dataclass(slots=True, eq=False)
class SparseCall:
    """One call of a layer."""

    operation: Operation  # the layer
    events: Events | None  # the places where its input is not zero; None if torch computes the outputs
    wanted: Events | None  # the places where the gradient of its input is wanted; None if everywhere
    bits: Tensor | None = None  # the bits that the backward pass reads in place of the input, if the input is spikes


def marked(layer: Layer, most: int | None = None) -> Events | None:
    """Return the places where the input of a layer is not zero; None if there are more than a limit."""
    numbers = allocation.contiguous(layer.operation.in_memory(layer.x.detach()))
    return kernels.mark(numbers, layer.shape.threads, most)


def marked_support(layer: Layer, support: Tensor, most: int) -> Events | None:
    """Return the places where the gradient of a layer's input is wanted, from bools; None if they exceed a limit."""
    threads, places = layer.shape.threads, layer.operation.in_memory(support)
    # in any order, because counting needs no order and a copy takes longer
    if not places.is_contiguous() and kernels.mark_bools(allocation.contiguous(support), threads).number > most:
        return None
    found = kernels.mark_bools(allocation.contiguous(places), threads)
    return found if found.number <= most else None


def weight_gradient(layer: Layer, g: Tensor) -> Tensor | None:
    """Return the gradient of a recurrence's weights if kernels that skip zeros are faster; None if torch is.

    ``layer`` is that of the weights, with its input, and ``g`` the gradient of the outputs.
    """
    operation, x, weight, _ = layer
    if not can_run(g, x, weight) or (operation.misfit(x, weight) or objection_to_sizes(layer)):
        return None
    s = layer.shape
    most = most_events(s)
    events = marked(layer, most) if most else None
    if events is None:
        return None
    found = kernels.weight_gradient(s, events, allocation.contiguous(operation.in_memory(g)))
    return None if found is None else found.view(weight.shape)


def run(layer: Layer, events: Events | None, wanted: Events | None = None) -> Tensor:
    """Return the outputs of a layer for which ``choose`` has chosen kernels.

    Spikes are kept as bits for the backward pass. All other saved tensors pass through hooks on saved tensors, if there
    are any. So does an input that is not spikes. The number of saved tensors does not depend on values.

    Args:
        layer: the layer.
        events: the result of ``marked``; None if torch computes the outputs.
        wanted: the places where the gradient of its input is wanted; it is zero elsewhere. None if it is wanted
            everywhere.
    """
    operation, x, weight, bias = layer
    call = SparseCall(operation, events, wanted)
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if not (torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])):
        return _forward(call, x, weight, bias)
    hooked = top_saving_hooks(True) is not None
    out: Tensor = _apply(call, hooked, x, weight, bias)
    if call.bits is not None:
        node: Any = out.grad_fn
        # torch replaces x by the result, which it connects to the graph of x
        node._raw_saved_tensors[0].register_hooks(lambda x: x.shape, _zeros)
    return out


class EventLayer(Function):
    """``apply(call, hooked, x, weight, bias)``; ``hooked`` says whether hooks take the saved tensors."""

    @staticmethod
    def forward(call: SparseCall, hooked: bool, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG004
        """Return the outputs."""
        return _forward(call, x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Save the same tensors as torch: the input for the weights' gradient, and the weights for the input's."""
        call, hooked, x, weight, _ = inputs
        operation: Operation = call.operation
        of_x, of_weight = ctx.needs_input_grad[2:4]
        # torch saves the weights of a convolution even if the input has no gradient
        saves_weight = of_x or not isinstance(operation, Linear)
        # hooks may free what they are given, and get it again
        places = call.wanted.bits if hooked and call.wanted is not None else None
        kept = [] if places is None else [places]
        ctx.save_for_backward(x if of_weight else None, weight if saves_weight else None, *kept)
        if hooked or not of_weight:
            call.bits = None
        ctx.operation, ctx.bits, ctx.number = operation, call.bits, None if call.events is None else call.events.number
        ctx.wanted = None if hooked else call.wanted
        ctx.number_wanted = None if places is None or call.wanted is None else call.wanted.number
        ctx.form, ctx.weight_shape = (x.shape, operation.format(x)), weight.shape
        ctx.layout = operation.format(x, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the wanted gradients."""
        wanted = ctx.needs_input_grad[2:]
        if g is None:
            return None, None, None, None, None
        x, weight, *kept = ctx.saved_tensors
        places = Events(kept[0], None, ctx.number_wanted) if kept else ctx.wanted
        read = [g, *([] if x is None or ctx.bits is not None else [x]), *([] if weight is None else [weight])]
        x = _unread(ctx.operation, ctx.form, g) if x is None else x
        weight = _zeros(ctx.weight_shape) if weight is None else weight
        # hooks may have returned something else; torch raises the error
        same = x.shape == ctx.form[0] and weight.shape == ctx.weight_shape
        if same and can_run(*read):
            with without_autocast(g.device):
                return None, None, *_gradients(ctx, g, x, weight, places, wanted)
        if ctx.bits is not None:
            # x holds zeros, connected to the graph of the input
            x = x + _spikes(ctx, ctx.bits)
        return None, None, *ctx.operation.gradients(g, x, weight, wanted)


_apply: Any = getattr(super(Function, EventLayer), "apply")  # noqa: B009 - torch does not annotate it
# torch reads the signature of forward at every call
_function: Any = EventLayer.forward
_function.__signature__ = inspect.signature(_function)


def _forward(call: SparseCall, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the outputs, and save the bits of the input if it is spikes."""
    operation = call.operation
    s = operation.shape(x.shape, weight.shape)
    x, weight, bias = x.detach(), weight.detach(), None if bias is None else bias.detach()
    events = call.events
    if events is None:
        return operation.dense(x, weight, bias)
    out = _fresh(operation, operation.out_shape(x.shape, s), operation.format(x, weight), x.device)
    found, start = _for_kernel(operation, out), None if bias is None else allocation.contiguous(bias)
    if not kernels.forward(s, events, allocation.contiguous(weight), start, found):  # zero times infinity is not zero
        return operation.dense(x, weight, bias)
    if events.graded is None:
        call.bits = events.bits
    return _filled(operation, out, found)


def _gradients(
    ctx: Any, g: Tensor, x: Tensor, weight: Tensor, places: Events | None, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return the wanted gradients, by kernels where these are faster; that of the input at some places, or at all."""
    operation: Operation = ctx.operation
    s = operation.shape(x.shape, weight.shape)
    # before other memory is allocated: torch's gradient of a convolution takes much memory
    of_x = _of_input(ctx, s, g, weight, places) if wanted[0] else None
    incoming = allocation.contiguous(operation.in_memory(g))
    of_weight = None
    if ctx.number is None:
        x = allocation.contiguous(operation.in_memory(x))
        if wanted[1] and has_few_outputs(s):
            of_weight = kernels.dense_weight_gradient(s, x, incoming, weight.shape)
        if of_weight is None:  # torch is also faster if channels are last
            g, x = operation.from_memory(incoming), operation.from_memory(x)
            _, of_weight, of_bias = operation.gradients(g, x, weight, (False, *wanted[1:]))
            return [of_x, _laid_out(ctx, of_weight), of_bias]
    elif wanted[1]:
        of_weight = _of_weight(ctx, s, incoming, x, weight)
    of_bias = kernels.bias_gradient(s, incoming) if wanted[2] else None
    return [of_x, _laid_out(ctx, of_weight), of_bias]


def _of_input(ctx: Any, s: Shape, g: Tensor, weight: Tensor, places: Events | None) -> Tensor | None:
    """Return the gradient of the input at some places, None for everywhere.

    Torch computes it, unless it is wanted at few places, or few channels would leave torch's vectors empty.
    """
    operation: Operation = ctx.operation
    if places is not None or has_few_channels(s):
        out = _fresh(operation, tuple(ctx.form[0]), ctx.layout, g.device)
        incoming, found = allocation.contiguous(operation.in_memory(g)), _for_kernel(operation, out)
        weights = allocation.contiguous(weight)
        if (
            kernels.input_gradient(s, incoming, weights, found)
            if places is None
            else kernels.sampled_input_gradient(s, places, incoming, weights, found)
        ):
            return _filled(operation, out, found)
    of_x: Tensor | None = operation.gradients(g, _unread(operation, ctx.form, g), weight, (True, False, False))[0]
    return of_x


def _of_weight(ctx: Any, s: Shape, incoming: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
    """Return the gradient of the weights, from the gradient of the outputs in the layout of memory."""
    operation, bits = ctx.operation, ctx.bits
    events = marked(Layer(operation, x, weight)) if bits is None else Events(bits, None, ctx.number)
    assert events is not None
    found = kernels.weight_gradient(s, events, incoming)
    if found is None:  # zero times infinity is not zero
        values = x if bits is None else _spikes(ctx, bits)
        found = operation.gradients(operation.from_memory(incoming), values, weight, (False, True, False))[1]
    return None if found is None else found.view(weight.shape) if found.is_contiguous() else found


def _fresh(operation: Operation, shape: tuple[int, ...], layout: torch.memory_format, device: torch.device) -> Tensor:
    """Return memory for a result, with the strides that torch would use. It is not a view, and may be written to."""
    return allocation.strided(shape, operation.strides(shape, layout), torch.float32, device)


def _for_kernel(operation: Operation, out: Tensor) -> Tensor:
    """Return the tensor that a kernel fills for a result: the result's memory if its channels are last."""
    target = operation.in_memory(out)
    return target if target.is_contiguous() else allocation.like(target)


def _filled(operation: Operation, out: Tensor, found: Tensor) -> Tensor:
    """Return a result, after a kernel has filled in ``found``."""
    if found.data_ptr() != out.data_ptr():
        out.copy_(operation.from_memory(found))
    return out


def _laid_out(ctx: Any, of_weight: Tensor | None) -> Tensor | None:
    """Return the gradient of the weights with the strides that torch would give it."""
    if of_weight is None:
        return None
    strides = ctx.operation.strides(tuple(of_weight.shape), ctx.layout)
    if of_weight.stride() == strides:
        return of_weight
    return allocation.strided(tuple(of_weight.shape), strides, of_weight.dtype, of_weight.device).copy_(of_weight)


def _spikes(ctx: Any, bits: Tensor) -> Tensor:
    """Return an input from its bits."""
    operation: Operation = ctx.operation
    return operation.from_memory(kernels.spread(bits, operation.in_memory(_zeros(ctx.form[0])).shape))


def _unread(operation: Operation, form: tuple[torch.Size, torch.memory_format], like: Tensor) -> Tensor:
    """Return a tensor for its shape and strides; nothing else of it is read."""
    shape, layout = form
    return torch.empty_strided(shape, operation.strides(tuple(shape), layout), dtype=like.dtype, device=like.device)


def _zeros(shape: torch.Size) -> Tensor:
    return torch.zeros((), dtype=torch.float32, device=HOST).expand(shape)
