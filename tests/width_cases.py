"""The cases of ``widths`` by name: each runs scans on tensors that are placed in memory, and compares with the loop."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import flatten
from spikingtorch.functional.dispatch import bind, folded
from spikingtorch.functional.dispatch.signature import folded_signature
from spikingtorch.functional.fused.recurrent.c_loop import runs_in_c
from spikingtorch.functional.fused.runtime.executable import Executable
from tests.fused import Placing, Scan, agree, assert_close_gradients, assert_same_bits
from tests.widths import (
    FLOATS,
    LAYOUTS,
    SURROGATE,
    WHOLE,
    Mixed,
    channels_last,
    drawn,
    in_layout,
    mixed,
)

Case: TypeAlias = Callable[[Placing], None]


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
    x, form = scan.xs.flatten(0, 1), flatten(scan.state)[1]
    signed = folded_signature(scan.step, form, [x], dict(scan.params), scan.xs.shape[:2])
    assert signed is not None
    assert folded.first(signed, scan.state, scan.xs, scan.xs.shape[:2]) is not None
    bound = bind.find(signed)
    assert bound is not None
    return bound.executable, signed.tensors, (*signed.floats, *bound.literals)


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
