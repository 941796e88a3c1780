"""Layers that skip zeros as torch differentiates them: once by kernels, and a second time by torch's own operations."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.fused.runtime import memory
from spikingtorch.functional.sparse import kernels
from spikingtorch.functional.sparse.c_abi import Shape
from spikingtorch.functional.sparse.choose import can_run
from spikingtorch.functional.sparse.crossover import has_few_channels
from spikingtorch.functional.sparse.kernels import Events
from spikingtorch.functional.sparse.operations import Operation


class Call:
    """One call of a layer.

    Attributes:
        operation: the layer.
        events: where its input is not zero; None for torch's outputs.
        bits: what the backward pass reads in place of the input, if that is spikes.
    """

    def __init__(self, operation: Operation, events: Events | None) -> None:
        self.operation = operation
        self.events = events
        self.bits: Tensor | None = None


def marked(operation: Operation, x: Tensor, weight: Tensor, most: int | None = None) -> Events | None:
    """Return where the input of a layer is not zero, None if more than so many numbers are not."""
    numbers = memory.contiguous(operation.in_memory(x.detach()))
    return kernels.mark(numbers, operation.shape(x.shape, weight.shape).threads, most)


def run(operation: Operation, x: Tensor, weight: Tensor, bias: Tensor | None, events: Events | None) -> Tensor:
    """Return the outputs of a layer that ``choose`` has found to be one of the kernels.

    Spikes are kept as bits for the backward pass. What else is saved is left to hooks on saved tensors, if there are
    any, as is an input that is not spikes: the number of saved tensors does not depend on values.

    Args:
        operation: the layer.
        x: its input.
        weight: its weights.
        bias: its bias, if it has one.
        events: what ``marked`` returned; None where all but the input's gradient is torch's own.
    """
    call = Call(operation, events)
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if not (torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])):
        return _forward(call, x, weight, bias)
    hooked = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None  # pyright: ignore
    out: Tensor = _apply(call, hooked, x, weight, bias)
    if call.bits is not None:
        node: Any = out.grad_fn
        # torch lets go of x, and attaches what comes back to the graph of x
        node._raw_saved_tensors[0].register_hooks(_shape_of, _zeros)
    return out


class EventLayer(Function):
    """``apply(call, hooked, x, weight, bias)``; ``hooked`` says whether hooks take what is saved."""

    @staticmethod
    def forward(call: Call, hooked: bool, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG004
        """Return the outputs."""
        return _forward(call, x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Save weights, and the input if they have a gradient."""
        call, hooked, x, weight, _ = inputs
        ctx.save_for_backward(x if ctx.needs_input_grad[3] else None, weight)
        if hooked or not ctx.needs_input_grad[3]:
            call.bits = None
        ctx.operation, ctx.bits, ctx.form = call.operation, call.bits, (x.shape, call.operation.format(x))
        ctx.number = None if call.events is None else call.events.number
        ctx.weight_shape = weight.shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the wanted gradients."""
        wanted = ctx.needs_input_grad[2:]
        if g is None:
            return None, None, None, None, None
        x, weight = ctx.saved_tensors
        if x is None:
            x = _unread(ctx.form, weight)
        # hooks may have handed back something else, which torch is to complain about
        same = x.shape == ctx.form[0] and weight.shape == ctx.weight_shape
        if same and (can_run(g, x, weight) if ctx.bits is None else can_run(g, weight)):
            with torch.autocast(weight.device.type, enabled=False):
                return None, None, *_gradients(ctx, g, x, weight, wanted)
        if ctx.bits is not None:
            # x holds zeros, attached to the graph of the input
            x = x + _spikes(ctx, ctx.bits)
        return None, None, *ctx.operation.gradients(g, x, weight, wanted)


_apply: Any = getattr(super(Function, EventLayer), "apply")  # noqa: B009 - torch does not annotate it
# torch looks up the signature of forward at every call
_function: Any = EventLayer.forward
_function.__signature__ = inspect.signature(_function)


def _forward(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the outputs, and note the bits of the input if it is spikes."""
    operation = call.operation
    s = operation.shape(x.shape, weight.shape)
    x, weight, bias = x.detach(), weight.detach(), None if bias is None else bias.detach()
    events = call.events
    if events is None:
        return operation.dense(x, weight, bias)
    out = memory.empty(operation.out_shape(x.shape, s), torch.float32, x.device)
    start = None if bias is None else memory.contiguous(bias)
    if not kernels.forward(s, events, memory.contiguous(weight), start, out):  # zero times infinity is no zero
        return operation.dense(x, weight, bias)
    if events.graded is None:
        call.bits = events.bits
    out = operation.from_memory(out)
    return memory.contiguous(out) if operation.format(x, weight) == torch.contiguous_format else out


def _gradients(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
    """Return the wanted gradients, by kernels where these are faster."""
    operation: Operation = ctx.operation
    s = operation.shape(x.shape, weight.shape)
    layout = operation.format(_unread(ctx.form, weight), weight)
    incoming = memory.contiguous(operation.in_memory(g))
    of_x = _of_input(ctx, s, incoming, g, weight, layout) if wanted[0] else None
    if ctx.number is None:  # torch is faster as well where channels are last
        g, x = (operation.from_memory(each) for each in (incoming, memory.contiguous(operation.in_memory(x))))
        _, of_weight, of_bias = operation.gradients(g, x, weight, (False, *wanted[1:]))
        return [of_x, None if of_weight is None else of_weight.contiguous(memory_format=layout), of_bias]
    return [
        of_x,
        _of_weight(ctx, s, incoming, x, weight) if wanted[1] else None,
        kernels.bias_gradient(s, incoming) if wanted[2] else None,
    ]


def _of_input(
    ctx: Any, s: Shape, incoming: Tensor, g: Tensor, weight: Tensor, layout: torch.memory_format
) -> Tensor | None:
    """Return the gradient of the input, torch's own but for convolutions whose few channels leave its vectors empty.

    Args:
        ctx: of the call.
        s: the layer.
        incoming: gradient of the outputs, with its axes in the order of memory.
        g: the same as torch has it.
        weight: the weights.
        layout: that of torch's own result.
    """
    operation: Operation = ctx.operation
    if has_few_channels(s):
        found = kernels.input_gradient(s, incoming, memory.contiguous(weight))
        if found is not None:
            found = operation.from_memory(found)
            return memory.contiguous(found) if layout == torch.contiguous_format else found
    of_x: Tensor | None = operation.gradients(g, _unread(ctx.form, weight), weight, (True, False, False))[0]
    return of_x


def _of_weight(ctx: Any, s: Shape, incoming: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
    """Return the gradient of the weights, for that of the outputs as they lie in memory."""
    operation, bits = ctx.operation, ctx.bits
    events = marked(operation, x, weight) if bits is None else Events(bits, None, ctx.number)
    assert events is not None
    found = kernels.weight_gradient(s, events, incoming)
    if found is None:  # zero times infinity is no zero
        values = x if bits is None else _spikes(ctx, bits)
        found = operation.gradients(operation.from_memory(incoming), values, weight, (False, True, False))[1]
    return None if found is None else found.view(weight.shape)


def _spikes(ctx: Any, bits: Tensor) -> Tensor:
    """Return an input from its bits."""
    operation: Operation = ctx.operation
    return operation.from_memory(kernels.spread(bits, operation.in_memory(_zeros(ctx.form[0])).shape))


def _unread(form: tuple[torch.Size, torch.memory_format], like: Tensor) -> Tensor:
    """Return a tensor of which nothing but shape and strides is read."""
    shape, layout = form
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _shape_of(x: Tensor) -> torch.Size:
    return x.shape


def _zeros(shape: torch.Size) -> Tensor:
    return torch.zeros(()).expand(shape)
