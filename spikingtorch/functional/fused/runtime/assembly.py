"""Assemble a launcher: the place of each array of a kernel, the tensors to copy, and the results."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, Group
from spikingtorch.functional.fused.ir import DTYPES, Program
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.launcher import Change, Launcher, TensorSpec
from spikingtorch.functional.fused.runtime.layout import Layout
from spikingtorch.functional.fused.runtime.placement import Placement, summed
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.fused.runtime.target import Kernel, Target

# the record of a missing array
_NOTHING = [0] * (3 + AXES)


class Assembly(NamedTuple):
    """Assemble the launchers of a scan."""

    target: Target  # the device and its kernels
    spec: ScanSpec  # the scan
    program: Program  # its program
    placement: Placement  # the axes as the kernel has them
    shape: tuple[int, ...]  # of the neurons of one step
    steps: int  # T

    def forward(self, given: Sequence[Tensor], keep: bool, count: bool) -> Launcher:
        """Return a launcher of the forward pass, for tensors in the order of the kernel's arrays."""
        place, program = self.placement, self.program
        states, xs, params, before = self._groups(given)
        layout, streams = place.layout([place.stream(place.unfold(x)) for x in xs])
        dtypes, outs = [DTYPES[d] for d in program.states], [DTYPES[d] for d in program.outs]
        kept = self.target.kept_steps(program, self.steps)
        arrays: dict[str, Sequence[Tensor | None]] = {
            "states": [layout.placed(place.static(state)) for state in states],
            "xs": streams,
            "params": [layout.placed(place.static(param)) for param in params],
            "before": [layout.placed(place.static(each), shared=False) for each in before] or [None] * len(outs),
            "finals": [layout.one_step(dtype) for dtype in dtypes],
            "outs": [layout.stream(dtype) for dtype in outs],
            "lasts": [layout.one_step(dtype) if self.spec.fold else None for dtype in outs],
            "fired": [layout.one_step(torch.int32) if count else None for _ in outs],
            "kept": [layout.stream(dtype, kept) if keep else None for dtype in dtypes],
        }
        results = [
            place.result(found, over_time=group.over_time, folded=group.name == "outs")
            for group in FORWARD
            for found in arrays[group.name]
            if group.written and found is not None
        ]
        kernel = self.target.forward(self.spec.program) if layout.neuron_steps else None
        first = sum([len([a for a in arrays[name] if a is not None]) for name in ("finals", "outs", "lasts")])
        counts = range(first, first + len(outs)) if count else range(0)
        return self._launcher(kernel, layout, FORWARD, arrays, given, results, counts)

    def backward(self, given: Sequence[Tensor | None], kept: int, wanted: Sequence[bool]) -> Launcher:
        """Return a launcher of the backward pass, for all tensors and the ones whose gradient is wanted."""
        place, program, states = self.placement, self.program, self.spec.counts[0]
        leaves, saved = [
            cast(list[Tensor], given[a:b]) for a, b in ((0, len(wanted)), (len(wanted), len(wanted) + kept))
        ]
        cotangents = given[len(wanted) + kept :]
        of_outs = [None if c is None else place.unfold(c) for c in cotangents[states:]]
        coming = (*cotangents[:states], *of_outs)
        form = self.shape, self.steps, self.spec.dim
        checks.check_backward(self.target, program, form, saved, coming, wanted)
        # a kernel reads one for each neuron; vmap passes one for all members of its batch
        of_finals = [None if c is None else c.expand(self.shape) for c in cotangents[:states]]
        groups = self._groups(leaves)
        over_time_of_leaves = [states <= k < states + len(groups[1]) for k in range(len(leaves))]
        over_time = [*map(place.unfold, groups[1]), *saved, *of_outs]
        layout, placed = place.layout([place.stream(stream) for stream in over_time if stream is not None])
        streams = iter(placed)
        found = [None if stream is None else next(streams) for stream in over_time]
        xs, ends = len(groups[1]), len(groups[1]) + kept
        grads = [
            None if not want else layout.stream(leaf.dtype) if stream else layout.one_step(leaf.dtype)
            for leaf, want, stream in zip(leaves, wanted, over_time_of_leaves, strict=True)
        ]
        arrays: dict[str, Sequence[Tensor | None]] = {
            "states": [layout.placed(place.static(state)) for state in groups[0]],
            "xs": found[:xs],
            "params": [layout.placed(place.static(param)) for param in groups[2]],
            "kept": found[xs:ends] if kept else [None] * states,
            "of_finals": [None if c is None else layout.placed(place.static(c), shared=False) for c in of_finals],
            "of_outs": found[ends:],
            "of_states": grads[:states],
            "of_xs": grads[states : states + xs],
            "of_params": grads[states + xs :],
        }
        results = []
        for leaf, grad, stream in zip(leaves, grads, over_time_of_leaves, strict=True):
            if grad is not None:
                spec, change = place.result(grad, over_time=stream, folded=stream)
                results.append((spec, summed(change, spec, leaf.shape)))
        of_params = tuple(wanted[states + xs :])
        kernel = self.target.backward(self.spec.program, of_params) if layout.neuron_steps else None
        return self._launcher(kernel, layout, BACKWARD, arrays, given, results)

    def _launcher(
        self,
        kernel: Kernel | None,
        layout: Layout,
        groups: tuple[Group, ...],
        arrays: dict[str, Sequence[Tensor | None]],
        given: Sequence[Tensor | None],
        results: Sequence[tuple[TensorSpec, Change]],
        counts: Sequence[int] = (),
    ) -> Launcher:
        records = layout.header()
        pointers: list[int] = []
        inputs: list[tuple[Tensor, Group]] = []
        for group in groups:
            for array in arrays[group.name]:
                if array is None:
                    records += _NOTHING
                    continue
                pointers.append(len(records))
                records += layout.over_time(array) if group.over_time else layout.static(array)
                if not group.written:
                    inputs.append((array, group))
        present = [tensor for tensor in given if tensor is not None]
        copies = iter([self._copy(t, *into) for t, into in zip(present, inputs, strict=True)])
        return Launcher(
            None if kernel is None else kernel.launch(records, pointers, layout.neuron_steps, layout.device),
            layout.device,
            [None if tensor is None else next(copies) for tensor in given],
            [spec for spec, _ in results],
            [change for _, change in results],
            counts,
        )

    def _copy(self, given: Tensor, array: Tensor, group: Group) -> Change:
        """Return how to copy a tensor into the kernel's layout of a group; None if it already has that layout."""
        if array.data_ptr() == given.data_ptr():
            return None
        place, folded = self.placement, group.name in ("xs", "of_outs")
        if group.over_time:
            fresh = memory.like(given)
            if place.copy(place.unfold(fresh) if folded else fresh).data_ptr() == fresh.data_ptr():
                return _rewritten  # the kernel reads any contiguous tensor in place
            return lambda tensor: place.copy(place.unfold(tensor) if folded else tensor)
        whole = self.shape if group.name == "of_finals" else None
        lies = array.shape, array.stride(), array.dtype, array.device

        def copied(tensor: Tensor) -> Tensor:
            into = memory.strided(*lies)
            return into.copy_(place.static(tensor if whole is None else tensor.expand(whole)))

        return copied

    def _groups(self, given: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Return states, inputs, parameters and the tensors after them."""
        states, xs, params, _ = itertools.accumulate(self.spec.counts)
        return [given[:states], given[states:xs], given[xs:params], given[params:]]


def _rewritten(tensor: Tensor) -> Tensor:
    return memory.like(tensor).copy_(tensor)
