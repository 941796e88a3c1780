"""Scans of every dtype in every layout, beside the loop: what the tests of layouts and AddressSanitizer run.

Each case runs scans on tensors that are placed in memory, and compares with the loop.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import flatten
from spikingtorch.functional.dispatch.folded import FoldedStep
from spikingtorch.functional.fused.runtime.executable import Executable
from spikingtorch.functional.fused.runtime.recurrent.c_loop import runs_in_c
from tests.fused import Placing, Scan, agree, assert_close_gradients, assert_same_bits

Case: TypeAlias = Callable[[Placing], None]
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


class Count(NamedTuple):
    """A state with a float, and variables of the other dtypes: bools, what is too small to be computed in, counts."""

    v: Tensor
    fired: Any
    small: Any
    counts: Any

    @classmethod
    def of(cls, v: Tensor, others: list[Tensor]) -> "Count":
        """Return a state of variables of any dtypes."""
        kinds = (WHOLE[:1], WHOLE[1:4], WHOLE[4:])
        return cls(v, *(tuple(each for each in others if each.dtype in kind) for kind in kinds))


def counting(state: Count, x: Tensor, *, decay: Tensor, threshold: Tensor) -> tuple[Count, Tensor]:
    """Count spikes, in one output like the input."""
    u = decay * state.v + x
    for each in (*state.fired, *state.small, *state.counts):
        u = torch.where(each.to(u.dtype) > 0, u + 0.0625, u)
    spike = SURROGATE(u - threshold)
    fired = spike > 0
    counts = tuple(count + fired.to(count.dtype) for count in state.counts)
    return Count(u * (1.0 - spike), tuple(fired for _ in state.fired), state.small, counts), spike


def count_at(v: Tensor, place: Placing, dtypes: list[torch.dtype] = WHOLE) -> Count:
    """Return a state of ``counting``."""
    return Count.of(place(v), [place(drawn(dtype, tuple(v.shape), 10 + k)) for k, dtype in enumerate(dtypes)])


def layout_case(name: str, steps: int, dtype: torch.dtype, place: Placing) -> None:
    """Run all dtypes in a layout."""
    agree(in_layout(name, steps, dtype, place), place)


def half_case(dtype: torch.dtype, place: Placing) -> None:
    """Run states and parameters of half precision, which are lifted."""
    scan = in_layout("time second", 33, torch.float32, lambda t: t).converted(dtype)
    state, xs, params = pytree.tree_map(place, (scan.state, scan.xs, dict(scan.params)))
    agree(Scan(scan.step, state, xs, params, scan.dim), place)


def one_case(other: torch.dtype, rows: int, place: Placing) -> None:
    """Run a state with one variable of another dtype, for an input that may have one row for all."""
    dtype, shape = torch.float32, (2, 300)
    params = {"decay": place(drawn(dtype, shape, 4)), "threshold": place(drawn(dtype, (), 5))}
    x = place(drawn(dtype, (18, rows, 300), 3))
    agree(Scan(counting, count_at(drawn(dtype, shape, 1), place, [other]), x, params), place)


def recurrent_case(synapse: Any, steps: int, dtype: torch.dtype, place: Placing) -> None:
    """Run a neuron of all dtypes in a recurrence; sums of spikes and weights round nowhere, in whatever order."""
    dense = synapse is F.dense
    shape, square = ((5, 37), (37, 37)) if dense else ((2, 6, 9), (6, 3, 3))
    weight = torch.randint(-8, 9, square, generator=torch.Generator().manual_seed(3)).to(dtype) / 64
    x = (64 * drawn(dtype, (steps, *shape), 2)).round() / 64
    state = F.RecurrentState(count_at(drawn(dtype, shape, 6), place), place(drawn(torch.bool, shape, 1).to(dtype)))
    parameters = {"decay": drawn(dtype, shape[-1:], 4), "threshold": drawn(dtype, (), 5), "recurrent_weight": weight}
    step: Any = F.Recurrent(counting, synapse)
    scan = Scan(step, state, place(x), {name: place(value) for name, value in parameters.items()})
    assert not dense or runs_in_c(state.s, scan.xs) == (steps >= 8)
    agree(scan, place)


def folded_case(images: bool, dtype: torch.dtype, place: Placing) -> None:
    """Run all steps of a layer at once, from rest: twice, for the second backward pass takes what the first found."""
    lifted = torch.promote_types(dtype, torch.float32)
    N, T, *shape = (2, 33, 5, 3, 4) if images else (3, 33, 37)
    x = drawn(dtype, (N, T, *shape), 1)
    v, *others = [torch.zeros((N, *shape), dtype=each) for each in (lifted, *WHOLE)]
    state = Count.of(v, others)
    params = {"decay": place(drawn(lifted, (1,), 2)), "threshold": place(drawn(lifted, (), 3))}
    scan = Scan(counting, state, place(channels_last(x) if images else x), params, 1)
    cotangent = place(drawn(dtype, (N * T, *shape), 4) - 0.5)
    results, gradients = _from_rest(scan, cotangent)
    run, tensors, scalars = _folded(scan)
    for _ in range(2):
        found = run.forward(tensors, scalars, keep=run.saves_states)
        assert_same_bits([*found.finals, *found.outs, *found.lasts], results)
        got = run.backward(tensors, found.kept, [cotangent], scalars, (True, True, True))
        assert_close_gradients(dict(zip(gradients, got, strict=True)), gradients)


def _from_rest(scan: Scan, cotangent: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return what the loop finds for a folded layer: final states, folded outputs, the last ones, and gradients."""
    watched, leaves = scan.watched(("['xs']", "['params']['decay']", "['params']['threshold']"))
    finals, outs = watched.run("loop")
    gradients = torch.autograd.grad(outs, list(leaves.values()), cotangent.view_as(outs))
    folded = [gradients[0].flatten(0, 1), *gradients[1:]]
    return [*pytree.tree_leaves(finals), outs.flatten(0, 1), outs[:, -1]], dict(zip(leaves, folded, strict=True))


def _folded(scan: Scan) -> tuple[Executable, list[Tensor], tuple[float, ...]]:
    """Return a scan as a layer runs it, with its tensors and floats."""
    x = scan.xs.flatten(0, 1)
    taken: Any = FoldedStep.of(scan.step, type(scan.state), dict(scan.params))
    known = taken.known._replace(state_form=flatten(scan.state)[1])  # a layer's is no tree of trees
    fold, tensors = scan.xs.shape[:2], [x, *known.tensors_of(taken.params)]
    assert taken._replace(known=known).first(scan.state, x, fold, False) is not None
    bound: Any = known.bounds.get(known.form((fold, 0), taken.floats, tensors))
    return bound.executable, tensors, (*taken.floats, *bound.literals)


def mapped_case(shape: tuple[int, ...], members: int, learns: bool, dtype: torch.dtype, place: Placing) -> None:
    """Run under vmap: state and input are mapped; parameters, other inputs and cotangents belong to every member.

    Only where the parameters learn nothing are there narrow rows.
    """
    T = 17
    v, x = place(drawn(dtype, (members, *shape), 1)), place(drawn(dtype, (members, T, *shape), 2))
    decay, threshold = place(drawn(dtype, shape[-1:], 3)), place(drawn(dtype, shape[-1:], 4))
    cotangents = tuple(place(drawn(dtype, each, 5) - 0.5) for each in (shape, (T, *shape), (T, *shape)))

    def group(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        return tuple(place(drawn(each, shape, 10 + k)) for k, each in enumerate(WHOLE))

    of_state, of_xs, of_params = group((members, *shape)), group((T, *shape)), group(shape[-1:])

    def run(backend: Any) -> Any:
        def member(v: Tensor, whole: Any, x: Tensor) -> Any:
            def scan(v: Tensor, x: Tensor, *numbers: Tensor) -> Any:
                params = {"decay": numbers[0], "threshold": numbers[1], "whole": of_params}
                final, outs = F.scan(mixed, Mixed(v, whole), (x, of_xs), params=params, backend=backend)
                return (final.v, *outs[:2]), (final.whole, outs[2:])

            numbers = (decay, threshold)
            function, leaves = (scan, numbers) if learns else (lambda v, x: scan(v, x, *numbers), ())
            results, pull, others = torch.func.vjp(function, v, x, *leaves, has_aux=True)  # type: ignore[misc]
            return results, others, pull(cotangents)

        return torch.func.vmap(member)(v, of_state, x)

    *want, gradients = run("loop")
    for _ in range(2):
        *got, found = run("fused")
        assert_same_bits(got, want)
        names = "vxdt"[: len(gradients)]
        assert_close_gradients(dict(zip(names, found, strict=True)), dict(zip(names, gradients, strict=True)))


def _cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, layout in LAYOUTS.items():
        for steps in layout.steps:
            cases[f"{name}, {steps} steps"] = partial(layout_case, name, steps, torch.float32)
    for dtype in FLOATS:
        for name in ("time second", "every other neuron, time on axis 0", "channels last", "narrow", "a block"):
            if dtype != torch.float32:
                cases[f"{name}, {dtype}"] = partial(layout_case, name, 33, dtype)
        cases[f"folded, {dtype}"] = partial(folded_case, False, dtype)
        cases[f"folded images, {dtype}"] = partial(folded_case, True, dtype)
    for dtype in FLOATS[2:]:
        cases[f"all of it {dtype}"] = partial(half_case, dtype)
    for other in WHOLE:
        cases[f"{other} and float32"] = partial(one_case, other, 2)
    cases["an input for all rows"] = partial(one_case, torch.int16, 1)
    for dtype in FLOATS[:2]:
        for steps in (1, 5, 33):
            cases[f"dense recurrence, {steps} steps of {dtype}"] = partial(recurrent_case, F.dense, steps, dtype)
        cases[f"convolutional recurrence of {dtype}"] = partial(recurrent_case, F.convolution, 18, dtype)
        cases[f"vmap, {dtype}"] = partial(mapped_case, (3, 7), 5, True, dtype)
    cases["vmap over many of one neuron"] = partial(mapped_case, (1,), 1024, False, torch.float32)
    return cases


CASES = _cases()
