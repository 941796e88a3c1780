"""Scans of every dtype in every layout, beside the loop: what the tests of widths and AddressSanitizer run."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.fused import Placing, Scan

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
WHOLE = [torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]
SURROGATE = F.FastSigmoid(3.0)


class Mixed(NamedTuple):
    """A state with a variable of each dtype."""

    v: Tensor
    whole: Any


def mixed(
    state: Mixed, x: tuple[Tensor, tuple[Tensor, ...]], *, decay: Tensor, threshold: Tensor, whole: tuple[Tensor, ...]
) -> Any:
    """Delay inputs of all dtypes by a step, and let them and parameters of all dtypes drive the neuron."""
    u = decay * state.v + x[0]
    for delayed, parameter in zip(state.whole, whole, strict=True):
        u = torch.where(delayed > parameter, u + 0.0625, u)
    spike = SURROGATE(u - threshold)
    shown = tuple(parameter.expand_as(u) for parameter in whole)
    return Mixed(u * (1.0 - spike), tuple(each.expand_as(u) for each in x[1])), (spike, u, state.whole, shown)


class Layout(NamedTuple):
    """How the tensors of a scan lie in memory.

    Attributes:
        shape: of the neurons of one step.
        parameter: shape of the parameters; those of the neurons' shape lie like states.
        dim: axis of time.
        stream: what is done to an input, with time where it belongs.
        rest: what is done to a state.
        steps: how many there are.
    """

    shape: tuple[int, ...]
    parameter: tuple[int, ...]
    dim: int = 0
    stream: Placing = lambda x: x
    rest: Placing = lambda v: v
    steps: tuple[int, ...] = (1, 2, 17, 33)


def in_memory(*order: int) -> Placing:
    """Return what puts axes into another order in memory."""
    return lambda t: t.permute(order).contiguous().permute([order.index(axis) for axis in range(t.ndim)])


def swapped(t: Tensor) -> Tensor:
    """Return a tensor with the last two axes swapped in memory."""
    return t.mT.contiguous().mT


def spaced(axis: int) -> Placing:
    """Return what makes a tensor every other number of a larger one, from the second on."""
    return lambda t: t.repeat_interleave(2, axis).unflatten(axis, (-1, 2)).select(axis, 1)


def cut(t: Tensor) -> Tensor:
    """Return a tensor cut from a larger one, so that there are gaps along all axes."""
    whole = torch.nn.functional.pad(t.to(torch.float64), (3, 2) * t.ndim).to(t.dtype)
    return whole[(slice(3, -2),) * t.ndim]


def same(*axes: int) -> Placing:
    """Return what makes all of a tensor along some axes the same memory."""
    return lambda t: t[tuple(slice(0, 1 if axis - t.ndim in axes else None) for axis in range(t.ndim))].expand_as(t)


def overlapping(t: Tensor) -> Tensor:
    """Return a tensor in which each step has all but one of the numbers of the last step."""
    return t.flatten().as_strided(t.shape, (1, 0, 1))


def channels_last(t: Tensor) -> Tensor:
    """Return images with their channels beside each other."""
    return t.movedim(-3, -1).contiguous().movedim(-1, -3)


# what is done to inputs, states and parameters alike, and to inputs alone, for time on each axis
ALIKE = {
    "contiguous": lambda t: t,
    "transposed": swapped,
    "every other neuron": spaced(-1),
    "every other row": spaced(-2),
    "gaps": cut,
    "one row for all": same(-2),
    "one neuron for all": same(-1),
    "one number for all": same(-1, -2),
}
STREAMS = {
    "first two axes swapped": in_memory(1, 0, 2),
    "first axis last": in_memory(1, 2, 0),
    "axes reversed": in_memory(2, 1, 0),
    "every other of the first axis": spaced(-3),
    "one for all of the first axis": same(-3),
    "one number for all": same(-1, -2, -3),
}
LAYOUTS = {
    **{
        f"{name}, time on axis {dim}": Layout((3, 37), (3, 37), dim, form, form, steps=(1, 33))
        for name, form in ALIKE.items()
        for dim in range(3)
    },
    **{
        f"inputs with {name}, time on axis {dim}": Layout((3, 37), (3, 1), dim, form, steps=(2, 17))
        for name, form in STREAMS.items()
        for dim in range(3)
    },
    **{
        f"parameters of {shape}, time on axis {dim}": Layout((3, 4, 5), shape, dim, steps=(17,))
        for shape in ((), (1,), (1, 1, 1), (5,), (4, 1), (3, 1, 1), (3, 1, 5), (3, 4, 5), (1, 4, 5))
        for dim in (0, 1, 3)
    },
    "time first": Layout((3, 37), (37,)),
    "time second": Layout((3, 37), (3, 1), 1),
    "time last": Layout((3, 37), (37,), -1),
    "overlapping steps": Layout((3, 37), (37,), 0, overlapping),
    "channels last": Layout((2, 5, 3, 4), (5, 1, 1), 1, channels_last, channels_last),
    "eight axes": Layout((2, 1, 2, 2, 1, 2, 3), (3,), 3),
    "eight axes, time last": Layout((2, 1, 2, 2, 1, 2, 3), (1, 2, 1), 7),
    "nine axes, scattered": Layout((2, 1, 2, 1, 2, 1, 2, 3), (2, 1), 0, in_memory(7, 6, 5, 4, 3, 2, 1, 0, 8)),
    "narrow": Layout((1024, 2), (2,), 1, steps=(17, 33)),
    "few neurons": Layout((40, 2), (1, 1), 1),
    "one number for a parameter": Layout((3, 37), (), 1),
    "one neuron": Layout((1,), (1,)),
    "no axes": Layout((), ()),
    "no neurons": Layout((0, 5), (5,), 1),
    "no rows": Layout((3, 0), (3, 1)),
    "almost a block": Layout((255,), (1,)),
    "a block": Layout((2, 256), (256,), 1),
    "more than a block": Layout((257,), ()),
    "more than two blocks": Layout((513,), (1,), 1),
    "rows of more than a block": Layout((2, 301), (1, 301), -2),
}


def drawn(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw numbers, whole ones from all that the dtype has."""
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    info = torch.iinfo(dtype)
    return torch.randint(info.min, info.max, shape, generator=generator, dtype=dtype)


def in_layout(name: str, steps: int, dtype: torch.dtype, place: Placing) -> Scan:
    """Return a scan of all dtypes that are no floats, and this one, in a layout."""
    layout = LAYOUTS[name]
    lifted, dim = torch.promote_types(dtype, torch.float32), layout.dim % (len(layout.shape) + 1)
    over_time = (*layout.shape[:dim], steps, *layout.shape[dim:])
    form: Placing = layout.rest if layout.parameter == layout.shape else lambda p: p

    def group(shape: tuple[int, ...], form: Placing, seed: int) -> tuple[Tensor, ...]:
        return tuple(place(form(drawn(each, shape, seed + k))) for k, each in enumerate(WHOLE))

    return Scan(
        mixed,
        Mixed(place(layout.rest(drawn(lifted, layout.shape, 1))), group(layout.shape, layout.rest, 10)),
        (place(layout.stream(drawn(dtype, over_time, 2))), group(over_time, layout.stream, 20)),
        {
            "decay": place(form(drawn(lifted, layout.parameter, 3))),
            "threshold": place(form(drawn(lifted, layout.parameter, 4))),
            "whole": group(layout.parameter, form, 30),
        },
        layout.dim,
    )
