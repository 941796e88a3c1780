"""Check the tensors of a kernel, and raise errors.

A kernel does not check its arguments: with a wrong dtype, length or axis it would read or write outside of a tensor. So
the first call of each form is checked here. Later calls with the same dtypes, shapes and strides have been checked
already.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.shapes import broadcast, with_time, without_time
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, Program
from spikingtorch.functional.fused.runtime.targets import DEVICES, has_target

# the form of a tensor: all except its numbers
Form: TypeAlias = tuple[torch.dtype, torch.Size, torch.device]


def check_counts(
    program: Program, states: Sequence[Any], xs: Sequence[Any], params: Sequence[Any], scalars: Sequence[float]
) -> None:
    """Raise ValueError unless the numbers of tensors and floats match the program."""
    check_count("states", len(states), len(program.states))
    check_count("xs", len(xs), len(program.xs))
    check_count("params", len(params), len(program.params))
    check_count("scalars", len(scalars), program.scalars)


def check_forward(program: Program, states: Tensors, xs: Tensors, params: Tensors, dim: int) -> tuple[int, ...]:
    """Return the shape of the neurons of one step; raise ValueError if the program does not take these tensors."""
    for name, group, expected in (
        ("states", states, program.states),
        ("xs", xs, program.xs),
        ("params", params, [dtype for dtype, _ in program.params]),
    ):
        check_count(name, len(group), len(expected))
        for index, (tensor, dtype) in enumerate(zip(group, expected, strict=True)):
            check_tensor(f"{name}[{index}]", tensor, DTYPES[dtype], tensor.shape)
    check_devices((*states, *xs, *params))
    first = tuple(xs[0].shape)
    if not 0 <= dim < len(first) or first[dim] == 0:
        raise ValueError(f"scan: dim={dim} and xs[0] of shape {first}, expected an axis of it, with one step at least")
    shape = neurons(program, states, xs, params, dim)
    for index, x in enumerate(xs):
        check_tensor(f"xs[{index}]", x, x.dtype, with_time(shape, dim, first[dim]), dim)
    for index, (param, (_, uniform)) in enumerate(zip(params, program.params, strict=True)):
        # the axes before time are those of vmap, and each of their members has its own number
        if uniform and any([size != 1 for size in param.shape[max(param.ndim - len(shape) + dim, 0) :]]):
            raise ValueError(f"scan: params[{index}] has shape {tuple(param.shape)}, expected a single number")
    return shape


def check_backward(
    program: Program,
    form: tuple[tuple[int, ...], int, int],
    kept: tuple[Tensors, Sequence[tuple[torch.dtype, Sequence[int], int | None]]],
    cotangents: Gradients,
    wanted: Sequence[bool],
) -> None:
    """Raise ValueError unless the kept tensors and incoming gradients match a backward pass of the program.

    ``form`` is the shape of the neurons of one step, T, and the axis of time in inputs and outputs. ``kept`` is what
    the forward pass has kept, and the arguments of ``check_tensor`` for each that is expected. ``cotangents`` are the
    gradients of final states and outputs, None for zero.
    """
    check_backward_counts(program, cotangents, wanted)
    (shape, steps, dim), states = form, len(program.states)
    check_count("kept", len(kept[0]), len(kept[1]))
    for index, (tensor, expected) in enumerate(zip(*kept, strict=True)):
        check_tensor(f"kept[{index}]", tensor, *expected)
    for index, (given, dtype) in enumerate(zip(cotangents, (*program.states, *program.outs), strict=True)):
        if given is not None and index < states:
            check_tensor(f"cotangents[{index}]", given, DTYPES[dtype], shape, len(shape))
        elif given is not None:
            check_tensor(f"cotangents[{index}]", given, DTYPES[dtype], with_time(shape, dim, steps), dim)


def check_backward_counts(program: Program, cotangents: Sequence[Any], wanted: Sequence[bool]) -> None:
    """Raise ValueError unless there are as many cotangents as results, and every wanted gradient exists."""
    check_count("wanted", len(wanted), len(program.gradients))
    has = [node >= 0 for node in program.gradients]
    if any([want and not there for want, there in zip(wanted, has, strict=True)]):
        raise ValueError(f"scan: got wanted {[*wanted]}, but only these gradients exist: {has}")
    check_count("cotangents", len(cotangents), len(program.states) + len(program.outs))


def neurons(program: Program, states: Tensors, xs: Tensors, params: Tensors, dim: int) -> tuple[int, ...]:
    """Return the shape of a step's neurons, to which all but a product's weights broadcast; or raise ValueError."""
    try:
        params = [params[k] for k in program.pointwise_params]
        return broadcast([*(t.shape for t in (*states, *params)), *(without_time(x.shape, dim) for x in xs)])
    except ValueError as error:
        raise ValueError(f"scan: the call {error}") from None


def check_count(name: str, got: int, expected: int) -> None:
    """Raise ValueError unless the number is as expected."""
    if got != expected:
        raise ValueError(f"scan: got {got} {name}, expected {expected}")


def check_tensor(name: str, tensor: Tensor, dtype: torch.dtype, shape: Sequence[int], time: int | None = None) -> None:
    """Raise ValueError unless a tensor has a dtype and a shape, and is on a device with a target.

    For messages, ``name`` names it. With ``time``, all axes but this one may have length one.
    """
    if tensor.dtype == dtype and has_target(tensor.device) and _fits(tensor.shape, shape, time):
        return
    raise ValueError(
        f"scan: {name} is {_described(tensor.dtype, tensor.shape, tensor.device)}, "
        f"expected {_described(dtype, shape, DEVICES)}"
    )


def check_devices(tensors: Iterable[Tensor | None]) -> None:
    """Raise ValueError unless tensors are on one device, when torch asks only for the shapes of results."""
    devices = sorted({str(tensor.device) for tensor in tensors if tensor is not None})
    if len(devices) > 1:
        raise ValueError(f"scan: got tensors on {' and '.join(devices)}, expected all of them on one device")


def forms(tensors: Iterable[Tensor]) -> list[Form]:
    """Return the forms of tensors."""
    return [(tensor.dtype, tensor.shape, tensor.device) for tensor in tensors]


def save(ctx: Any, tensors: Tensors) -> None:
    """Save tensors for a backward pass, and note their forms."""
    ctx.save_for_backward(*tensors)
    ctx.saved_forms = None if torch.compiler.is_compiling() else forms(tensors)


def check_saved(tensors: Tensors, expected: Sequence[Form] | None) -> None:
    """Raise ValueError unless saved tensors come back to the backward pass in their forms, where these are known."""
    if expected is None:  # inside torch.compile
        return
    for got, want in zip(forms(tensors), expected, strict=True):
        if got != want:
            raise ValueError(
                f"scan: a tensor saved for the backward pass, {_described(*want)}, came back as "
                f"{_described(*got)}. The hooks of torch.autograd.graph.saved_tensors_hooks must return the "
                "tensors that they got, and a layer must not change between forward and backward: convert it "
                "before or after"
            )


def _fits(shape: Sequence[int], expected: Sequence[int], time: int | None) -> bool:
    if time is None:
        return tuple(shape) == tuple(expected)
    pairs = enumerate(zip(shape, expected, strict=False))
    return len(shape) == len(expected) and all([size == n or (size == 1 and axis != time) for axis, (size, n) in pairs])


def _described(dtype: torch.dtype, shape: Sequence[int], device: object) -> str:
    return f"{dtype} of shape {tuple(shape)} on {device}"
