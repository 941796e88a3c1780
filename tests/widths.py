"""Scans of every dtype in every layout, beside the loop: what the tests of widths and AddressSanitizer run."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.testing import TOLERANCE, relative_error
from tests.fused import Scan, assert_same_bits

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
WHOLE = [torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]
SURROGATE = F.FastSigmoid(3.0)
# puts a tensor, strides and all, into memory of its own
Placing: TypeAlias = Callable[[Tensor], Tensor]


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


class One(NamedTuple):
    """A state with a variable that is no float."""

    v: Tensor
    other: Tensor


def one(state: One, x: Tensor, *, decay: Tensor) -> Any:
    """Return a bool or a count that changes; what is too small to be computed in comes through unchanged."""
    u = pushed(decay * state.v + x, state.other)
    fired, after = u > 0.8, state.other
    if after.dtype == torch.bool:
        after = fired
    elif after.dtype in (torch.int32, torch.int64):
        after = after + fired.to(after.dtype)
    return One(torch.where(fired, 0.0, u), after), (u, state.other)


def pushed(u: Tensor, by: Tensor) -> Tensor:
    """Return a membrane that a number of any dtype pushes up if it is positive."""
    return torch.where(by.to(u.dtype) > 0, u + 0.0625, u)


class Layout(NamedTuple):
    """How the tensors of a scan lie in memory.

    Attributes:
        shape: of the neurons of one step.
        parameter: shape of the parameters.
        dim: axis of time.
        stream: what is done to an input, with time where it belongs.
        rest: what is done to a state.
        fewest: steps that it takes at least.
    """

    shape: tuple[int, ...]
    parameter: tuple[int, ...]
    dim: int = 0
    stream: Placing = lambda x: x
    rest: Placing = lambda v: v
    fewest: int = 1


def scattered(t: Tensor) -> Tensor:
    """Return a tensor with the last two axes swapped in memory."""
    return t.mT.contiguous().mT


def spaced(t: Tensor) -> Tensor:
    """Return a tensor of which every other number of a wider one is part, from the second on."""
    return torch.stack([t, t], -1).flatten(-2)[..., 1::2]


def cut(t: Tensor) -> Tensor:
    """Return a tensor cut from a larger one, so that there are gaps between rows."""
    return torch.nn.functional.pad(t.to(torch.float64), (3, 2)).to(t.dtype)[..., 3:-2]


def spread(t: Tensor) -> Tensor:
    """Return a tensor in which all rows are the same memory."""
    return t[..., :1, :].expand_as(t)


def channels_last(t: Tensor) -> Tensor:
    """Return images with their channels beside each other."""
    return t.movedim(-3, -1).contiguous().movedim(-1, -3)


LAYOUTS = {
    "time first": Layout((3, 37), (37,)),
    "time second": Layout((3, 37), (3, 1), 1),
    "time last": Layout((3, 37), (37,), -1),
    "transposed": Layout((3, 37), (37,), 0, scattered, scattered),
    "transposed, time second": Layout((3, 37), (3, 1), 1, lambda x: x.transpose(0, 2).contiguous().transpose(0, 2)),
    "every other neuron": Layout((3, 37), (37,), 0, spaced, spaced),
    "rows with gaps": Layout((3, 37), (3, 1), 1, cut, cut),
    "rows that are one": Layout((3, 37), (1, 37), 0, spread, spread),
    "channels last": Layout((2, 5, 3, 4), (5, 1, 1), 1, channels_last, channels_last),
    "narrow": Layout((1024, 2), (2,), 1, fewest=17),
    "one number for a parameter": Layout((3, 37), (), 1),
    "one neuron": Layout((1,), (1,)),
    "no axes": Layout((), ()),
    "no neurons": Layout((0, 5), (5,), 1),
    "almost a block": Layout((255,), (1,)),
    "a block": Layout((2, 256), (256,), 1),
    "more than a block": Layout((257,), ()),
    "more than two blocks": Layout((513,), (1,), 1),
}
STEPS = [1, 2, 17, 33]


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

    def group(shape: tuple[int, ...], form: Placing, seed: int) -> tuple[Tensor, ...]:
        return tuple(place(form(drawn(each, shape, seed + k))) for k, each in enumerate(WHOLE))

    return Scan(
        mixed,
        Mixed(place(layout.rest(drawn(lifted, layout.shape, 1))), group(layout.shape, layout.rest, 10)),
        (place(layout.stream(drawn(dtype, over_time, 2))), group(over_time, layout.stream, 20)),
        {
            "decay": place(drawn(lifted, layout.parameter, 3)),
            "threshold": place(drawn(lifted, layout.parameter, 4)),
            "whole": group(layout.parameter, lambda p: p, 30),
        },
        layout.dim,
    )


def of_one(other: torch.dtype, rows: int, place: Placing) -> Scan:
    """Return a scan of a state with one variable of another dtype, for an input that may have one row for all."""
    dtype, M = torch.float32, 300
    state = One(place(drawn(dtype, (2, M), 1)), place(drawn(other, (2, M), 2)))
    return Scan(one, state, place(drawn(dtype, (18, rows, M), 3)), {"decay": place(drawn(dtype, (2, M), 4))})


class Found(NamedTuple):
    """What a scan gives: results, and the gradients of all floating leaves by name."""

    results: Any
    gradients: dict[str, Tensor]


def found(scan: Scan, backend: Any, place: Placing) -> Found:
    """Run a scan forward and backward, for random cotangents on every floating result."""
    watched, leaves = scan.watched()
    results = watched.run(backend)
    floating = [result for result in pytree.tree_leaves(results) if result.requires_grad]
    cotangents = [place(drawn(each.dtype, tuple(each.shape), 100 + k) - 0.5) for k, each in enumerate(floating)]
    gradients = torch.autograd.grad(
        floating, list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True
    )
    detached = pytree.tree_map(lambda result: result.detach(), results)
    return Found(detached, dict(zip(leaves, gradients, strict=True)))


def agree(scan: Scan, place: Placing, calls: int = 2) -> None:
    """Assert that the fused backend is the loop, at the first call and at those that it has prepared for."""
    want = found(scan, "loop", place)
    for _ in range(calls):
        with torch.no_grad():
            assert_same_bits(scan.run("fused"), want.results)
        got = found(scan, "fused", place)
        assert_same_bits(got.results, want.results)
        check_gradients(got.gradients, want.gradients)


def check_gradients(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Assert that gradients agree to the tolerance; those of half precision are rounded to it on either side."""
    for name, gradient in want.items():
        mine, half = got[name], gradient.dtype not in TOLERANCE
        assert (mine.dtype, mine.shape) == (gradient.dtype, gradient.shape), name
        allowed = 2 * torch.finfo(gradient.dtype).eps + 1e-5 if half else TOLERANCE[gradient.dtype]
        error = relative_error(mine.float(), gradient.float()) if half else relative_error(mine, gradient)
        assert error <= allowed, f"{name}: relative error {error:.3g}, allowed {allowed:g}"
