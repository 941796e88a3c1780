"""A program that is ready to run on tensors with the same layout in memory."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.modes import described
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, from_text
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.assembly import Assembly
from spikingtorch.functional.fused.runtime.launcher import Launcher, layouts_of
from spikingtorch.functional.fused.runtime.memory_format import memory_format_of
from spikingtorch.functional.fused.runtime.placement import Placement
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.fused.runtime.targets import target_on

_EXECUTABLES, _LAUNCHERS = 1024, 8


class Launched(NamedTuple):
    """The results of a forward pass, without autograd."""

    executable: "Executable"  # the executable
    found: list[Tensor]  # the tensors that follow, in this order
    finite: bool  # whether all inputs are
    counts: bool = False  # whether the scan counted
    added: bool = False  # whether its counts include the earlier ones

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

    Args:
        spec: the scan.
        tensors: inputs, parameters, and states unless the scan starts at rest, in the layout of later calls.
        keeps_format: whether outputs are channels-last if inputs are; otherwise they are contiguous.

    Raises:
        ValueError: the program does not take these tensors.
    """

    def __init__(self, spec: ScanSpec, tensors: Tensors, *, keeps_format: bool) -> None:
        self.spec, self._keeps_format = spec, keeps_format
        self.program = from_text(spec.program)
        device = tensors[0].device
        self.target = target_on(device)
        first, last = spec.given_states, spec.given_states + spec.counts[1]
        fold = spec.fold
        streams = [x if fold is None else x.unflatten(0, fold) for x in tensors[first:last]]
        # one zero stands for all neurons at rest
        at_rest = [memory.empty((1,) * (streams[0].ndim - 1), DTYPES[d], device).zero_() for d in self.program.states]
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
        placement = Placement(self.target, self.shape, spec.dim, self.steps, spec.fold, memory_format, uniform)
        self.assembly = Assembly(self.target, spec, self.program, placement, self.shape, self.steps)
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
        """Run forward.

        Args:
            tensors: as in the constructor, with other numbers.
            scalars: floats of the program.
            keep: whether to return the states that the backward pass starts from.
            counts: ``fired`` of an earlier call, and memory for the new counts; each may be missing. The call continues
                the earlier counts if they have the same layout as the new ones. None to not count.
        """
        count = counts is not None
        before, spare = self._going_on_from(counts) if counts else ((), ())
        given = (*self.rest, *tensors, *before)
        found, finite = self.forward_launcher(given, keep, count)(given, scalars, spare)
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
            launcher = self._forward[key] = self.assembly.forward(given, keep, count)
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

        Args:
            tensors: as in the forward pass.
            kept: the states that the forward pass has kept.
            cotangents: gradients of the results, None for zero.
            scalars: floats of the program.
            wanted: for each of the tensors, whether its gradient is wanted.

        Raises:
            ValueError: a tensor does not match the forward pass.
        """
        key, given = (wanted, *layouts_of((*tensors, *kept, *cotangents))), self._given(tensors, kept, cotangents)
        launcher = self._backward.get(key) or self._assembled(key, given, len(tensors), len(kept), wanted)
        return launcher(given, scalars)[0]

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
        launcher = self.assembly.backward(given, kept, (*[False] * len(self.rest), *wanted))
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


_executables: LRUCache[Executable] = LRUCache(_EXECUTABLES)


def executable(spec: ScanSpec, tensors: Tensors, *, keeps_format: bool) -> Executable:
    """Return the executable of a scan for tensors with this layout in memory; see ``Executable``."""
    key = (spec, keeps_format, *layouts_of(tensors))
    return _executables.get_or_make(key, partial(Executable, spec, tensors, keeps_format=keeps_format))
