"""A program that is ready to run on tensors with the same layout in memory."""

import itertools
import math
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.modes import described
from spikingtorch.functional.core.shapes import with_time
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, Group
from spikingtorch.functional.fused.ir import DTYPES, from_text
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.layout import (
    Change,
    Layout,
    Placement,
    TensorSpec,
    layouts_of,
    memory_format_of,
    summed,
)
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.fused.runtime.target import Kernel, Launch
from spikingtorch.functional.fused.runtime.targets import target_on

_EXECUTABLES, _LAUNCHERS = 1024, 8
_NOTHING = [0] * (3 + AXES)  # the record of a missing array


class Launcher:
    """A launch with its results, for tensors of a known layout in memory: only the pointers differ."""

    def __init__(
        self,
        launch: Launch | None,  # of the kernel; None if there are no neurons
        device: torch.device,  # where the results are
        copies: Sequence[Change],  # how to copy each given tensor into the layout; None if it is read in place
        results: Sequence[TensorSpec],  # the layout of each result in memory
        changes: Sequence[Change],  # of each result afterwards; None for no change
        counts: Sequence[int] = (),  # the positions of the results for which a call may provide memory
        missing: bool = False,  # whether some of the given tensors are None
    ) -> None:
        self._launch, self._device, self._counts = launch, device, counts
        self._copies = copies if any(copies) else None
        self._changes = changes if any(changes) else None
        self._missing = missing
        self.results = results
        sizes = [math.prod(shape) * dtype.itemsize for shape, _, dtype in results]
        self._large = [place for place, size in enumerate(sizes) if size >= allocation.LARGE]

    def __call__(
        self, given: Sequence[Tensor | None], scalars: Sequence[float], spare: Sequence[Tensor] = ()
    ) -> tuple[list[Tensor], bool]:
        """Return the results for tensors, and whether all inputs of a forward pass are finite.

        ``spare`` is memory for the counts, in their layout; it is empty for new memory.
        """
        results = allocation.allocated(self.results, self._device)
        for place in self._large:
            allocation.take_note(results[place])
        for place, count in zip(self._counts, spare, strict=False):
            results[place] = count
        finite = True
        if self._launch is not None:
            if self._copies is not None:
                pairs = zip(given, self._copies, strict=True)
                # detached, so that autograd ignores the copies
                given = [t if t is None or copy is None else copy(t.detach()) for t, copy in pairs]
            arrays: Any = (*given, *results)
            finite = self._launch([a for a in arrays if a is not None] if self._missing else arrays, scalars)
        if self._changes is not None:
            pairs_of = zip(results, self._changes, strict=True)
            results = [result if change is None else change(result) for result, change in pairs_of]
        return results, finite

    @property
    def launch(self) -> Launch:
        """The launch of the kernel, for arrays that need no copy."""
        assert self._launch is not None, "there are neurons"
        return self._launch


class Launched:
    """The results of a forward pass, without autograd.

    ``found`` holds the tensors that follow, in this order. ``finite`` says whether all inputs are, ``counts`` whether
    the scan counted, and ``added`` whether its counts include the earlier ones.
    """

    __slots__ = ("added", "counts", "executable", "finite", "found")

    def __init__(
        self, executable: "Executable", found: list[Tensor], finite: bool, counts: bool = False, added: bool = False
    ) -> None:
        self.executable, self.found, self.finite, self.counts, self.added = executable, found, finite, counts, added

    @property
    def finals(self) -> list[Tensor]:
        """States after the last step."""
        return self.found[: self.executable.ends[0]]

    @property
    def outs(self) -> list[Tensor]:
        """Outputs."""
        return self.found[self.executable.ends[0] : self.executable.ends[1]]

    @property
    def lasts(self) -> list[Tensor]:
        """The outputs of the last step of a folded scan, in their own memory."""
        return self.found[self.executable.ends[1] : self.executable.ends[2]]

    @property
    def fired(self) -> list[Tensor]:
        """The number of steps at which each output of a neuron was not zero, if the scan counted."""
        first = self.executable.ends[2]
        return self.found[first : first + self.counts * self.executable.spec.counts[3]]

    @property
    def kept(self) -> list[Tensor]:
        """States that the backward pass starts from."""
        return self.found[self.executable.ends[2] + self.counts * self.executable.spec.counts[3] :]

    @property
    def results(self) -> list[Tensor]:
        """The results for autograd."""
        return self.found[self.executable.results]


class Executable:
    """The scan of a program on tensors of one layout: a forward launcher, and a backward one for each set of gradients.

    The tensors are inputs, parameters, and states unless the scan starts at rest. With ``keeps_format``, outputs are
    channels-last if inputs are; otherwise they are contiguous. Raise ValueError if the program does not take the
    tensors.
    """

    def __init__(self, spec: ScanSpec, tensors: Tensors, *, keeps_format: bool) -> None:
        self.spec, self._keeps_format = spec, keeps_format
        self.program = from_text(spec.program)
        device = tensors[0].device
        self.target = target_on(device)
        first, last = spec.given_states, spec.given_states + spec.counts[1]
        fold = spec.fold
        streams = [x if fold is None else x.unflatten(0, fold) for x in tensors[first:last]]
        one = (1,) * (streams[0].ndim - 1)  # one zero stands for all neurons at rest
        at_rest = [allocation.empty(one, DTYPES[dtype], device).zero_() for dtype in self.program.states]
        self.rest = at_rest if fold and not first else []
        if fold:
            self.target.settle(device)
        self._of_rest = [None for _ in self.rest]  # the incoming gradient of the states after the last step
        states, params = self.rest or tensors[:first], tensors[last:]
        self.shape = checks.check_forward(self.program, states, streams, params, spec.dim)
        self.steps = streams[0].shape[spec.dim]
        # a backward pass over a single chunk starts from the first states
        self.saves_states = spec.saves_states and self.steps > self.target.chunk_of(self.program)
        uniform = [param for param, (_, single) in zip(params, self.program.params, strict=True) if single]
        memory_format = memory_format_of(streams, spec.dim) if keeps_format else None
        self._placement = Placement(self.target, self.shape, spec.dim, self.steps, spec.fold, memory_format, uniform)
        self._forward: dict[tuple[bool, bool, int], Launcher] = {}
        self._backward: dict[Any, Launcher] = {}
        self._constant: dict[tuple[bool, ...], tuple[int, ...]] = {}  # results without a gradient
        outs = spec.counts[0] + spec.counts[3]
        self.ends = spec.counts[0], outs, outs + (spec.counts[3] if fold else 0)  # of states, outputs, last outputs
        self.results = slice(spec.counts[0] if fold else 0, outs)  # those with a gradient
        self._of_fired: list[Any] = []  # the layout of its counts
        self.forms: list[checks.Form] = []  # of the tensors saved for the backward pass

    def forward(
        self, tensors: Tensors, scalars: Sequence[float], *, keep: bool, counts: Tensors | None = None
    ) -> Launched:
        """Run forward on tensors as in the constructor, with other numbers.

        With ``keep``, return the states that the backward pass starts from. ``counts`` are ``fired`` of an earlier
        call, and memory for the new counts; each may be missing. The call continues the earlier counts if they have the
        same layout as the new ones. None stands for not counting.
        """
        count = counts is not None
        before, spare = self._going_on_from(counts) if counts else ((), ())
        given = (*self.rest, *tensors, *before)
        launcher = self._forward.get((keep, count, len(given))) or self.forward_launcher(given, keep, count)
        found, finite = launcher(given, scalars, spare)
        launched = Launched(self, found, finite, count, len(before) > 0)
        if not self.forms and keep == self.saves_states:
            self.forms = checks.forms((*tensors, *launched.kept))
        if count and not self._of_fired:
            self._of_fired = layouts_of(launched.fired)
        return launched

    def forward_launcher(self, given: Tensors, keep: bool, count: bool = False) -> Launcher:
        """Return the launcher of the forward pass."""
        launcher = self._forward.get(key := (keep, count, len(given)))
        if launcher is None:
            launcher = self._forward[key] = self.assemble_forward(given, keep, count)
        return launcher

    def _going_on_from(self, counts: Tensors) -> tuple[Tensors, Tensors]:
        """Return the counts of an earlier call, and memory for new ones, if all have the layout of new counts."""
        lies = self._of_fired
        if not lies or layouts_of(counts) != lies * (len(counts) // len(lies)):
            return (), ()
        return counts[: len(lies)], counts[len(lies) :]

    def backward(
        self, tensors: Tensors, kept: Tensors, cotangents: Gradients, scalars: Sequence[float], wanted: tuple[bool, ...]
    ) -> list[Tensor]:
        """Return the wanted gradients of states, inputs and parameters, each in the shape of its tensor.

        ``kept`` are the states that the forward pass on the same tensors has kept, and ``cotangents`` are the gradients
        of its results, None for zero. Raise ValueError if a tensor does not match the forward pass.
        """
        launcher = self.backward_launcher(tensors, kept, cotangents, wanted)
        return launcher(self._given(tensors, kept, cotangents), scalars)[0]

    def backward_launcher(
        self, tensors: Tensors, kept: Tensors, cotangents: Gradients, wanted: tuple[bool, ...]
    ) -> Launcher:
        """Return the launcher of the backward pass for the arguments of ``backward``."""
        key, given = (wanted, *layouts_of((*tensors, *kept, *cotangents))), self._given(tensors, kept, cotangents)
        return self._backward.get(key) or self._assembled(key, given, len(tensors), len(kept), wanted)

    def gradients(
        self, tensors: Tensors, kept: Tensors, cotangents: Gradients, scalars: Sequence[float], wanted: tuple[bool, ...]
    ) -> list[Tensor] | None:
        """Return the result of ``backward``, or None if the tensors are not plain ones."""
        whole = (*tensors, *kept, *cotangents)
        forms = described(whole)
        if forms is None:
            return None
        key, given = (wanted, *forms), self._given(tensors, kept, cotangents)
        launcher = self._backward.get(key)
        if launcher is None:
            if not self.target.holds([tensor for tensor in whole if tensor is not None]):
                return None
            launcher = self._assembled(key, given, len(tensors), len(kept), wanted)
        return launcher(given, scalars)[0]

    def _given(self, tensors: Tensors, kept: Tensors, cotangents: Gradients) -> Gradients:
        """Return the arrays of a backward pass, in the order of its kernel."""
        return (*self.rest, *tensors, *kept, *self._of_rest, *cotangents)

    def _assembled(
        self, key: Hashable, given: Gradients, tensors: int, kept: int, wanted: tuple[bool, ...]
    ) -> Launcher:
        """Return a new launcher of a backward pass with so many tensors and kept states, and keep it."""
        if self._keeps_format:  # otherwise an operator calls this, for which autograd has saved nothing
            first = len(self.rest)
            checks.check_saved(cast(Tensors, given[first : first + tensors + kept]), self.forms)
        launcher = self.assemble_backward(given, kept, (*[False] * len(self.rest), *wanted))
        if len(self._backward) >= _LAUNCHERS:  # cotangents whose layout in memory changes again and again
            self._backward.clear()
        self._backward[key] = launcher
        return launcher

    def without_gradient(self, needed: tuple[bool, ...]) -> tuple[int, ...]:
        """Return the function of the scan's spec, evaluated once."""
        known = self._constant.get(needed)
        if known is None:
            known = self._constant[needed] = self.spec.without_gradient(needed)
        return known

    def assemble_forward(self, given: Sequence[Tensor], keep: bool, count: bool) -> Launcher:
        """Return a launcher of the forward pass, for tensors in the order of the kernel's arrays."""
        place, program = self._placement, self.program
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

    def assemble_backward(self, given: Gradients, kept: int, wanted: Sequence[bool]) -> Launcher:
        """Return a launcher of the backward pass, for all tensors and the ones whose gradient is wanted."""
        place, program, states = self._placement, self.program, self.spec.counts[0]
        leaves, saved = [
            cast(list[Tensor], given[a:b]) for a, b in ((0, len(wanted)), (len(wanted), len(wanted) + kept))
        ]
        cotangents = given[len(wanted) + kept :]
        of_outs = [None if c is None else place.unfold(c) for c in cotangents[states:]]
        coming = (*cotangents[:states], *of_outs)
        form = self.shape, self.steps, self.spec.dim
        checks.check_backward(program, form, (saved, self._kept(kept > 0)), coming, wanted)
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

    def _kept(self, given: bool) -> list[tuple[torch.dtype, Sequence[int], int | None]]:
        """Return dtype, shape and axis of time of the kept states that a backward pass needs, or is given."""
        program, dim = self.program, self.spec.dim
        # a backward pass over a single chunk starts from the first states
        if not given and (self.steps <= self.target.chunk_of(program) or not program.reads_states(program.gradients)):
            return []
        shape = with_time(self.shape, dim, self.target.kept_steps(program, self.steps))
        return [(DTYPES[dtype], shape, dim) for dtype in program.states]

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
            len(present) < len(given),
        )

    def _copy(self, given: Tensor, array: Tensor, group: Group) -> Change:
        """Return how to copy a tensor into the kernel's layout of a group; None if it already has that layout."""
        if array.data_ptr() == given.data_ptr():
            return None
        place, folded = self._placement, group.name in ("xs", "of_outs")
        if group.over_time:
            fresh = allocation.like(given)
            if place.copy(place.unfold(fresh) if folded else fresh).data_ptr() == fresh.data_ptr():
                return _rewritten  # the kernel reads any contiguous tensor in place
            return lambda tensor: place.copy(place.unfold(tensor) if folded else tensor)
        whole = self.shape if group.name == "of_finals" else None
        lies = array.shape, array.stride(), array.dtype, array.device

        def copied(tensor: Tensor) -> Tensor:
            into = allocation.strided(*lies)
            return into.copy_(place.static(tensor if whole is None else tensor.expand(whole)))

        return copied

    def _groups(self, given: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Return states, inputs, parameters and the tensors after them."""
        states, xs, params, _ = itertools.accumulate(self.spec.counts)
        return [given[:states], given[states:xs], given[xs:params], given[params:]]


_executables: LRUCache[Executable] = LRUCache(_EXECUTABLES)


def executable(spec: ScanSpec, tensors: Tensors, *, keeps_format: bool) -> Executable:
    """Return the executable of a scan for tensors with this layout in memory; see ``Executable``."""
    key = (spec, keeps_format, *layouts_of(tensors))
    return _executables.get_or_make(key, partial(Executable, spec, tensors, keeps_format=keeps_format))


def _rewritten(tensor: Tensor) -> Tensor:
    return allocation.like(tensor).copy_(tensor)
