"""From a signature to the executable that runs it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.precision import rounded
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import Form, flatten, unflatten
from spikingtorch.functional.dispatch.call import ScanCall, Streams
from spikingtorch.functional.dispatch.reference import LoopReference, reference_of
from spikingtorch.functional.dispatch.signature import Signature
from spikingtorch.functional.fused.ir import depends_over_time
from spikingtorch.functional.fused.runtime.autograd import differentiable, fused_scan
from spikingtorch.functional.fused.runtime.executable import Executable, Launched
from spikingtorch.functional.fused.runtime.recurrent.executable import executable
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.fused.runtime.targets import target_of
from spikingtorch.functional.fused.trace.programs import Arguments, TracedStep

_LIMIT = 1024


class Bound(NamedTuple):
    """The execution of the scans of one signature."""

    executable: Executable  # for tensors of this layout
    literals: tuple[float, ...]  # the floats that the step's own code holds
    floats_are_inputs: bool  # whether the floats of a signature come before ``literals``
    form: Form  # structure of the outputs
    arguments: Arguments  # of the step, without their numbers
    fits: Streams | None  # how to make its tensors fit the kernel; None if they already fit
    rounds: torch.dtype | None  # the dtype that outputs in float32 are rounded to; None if the kernel has rounded them
    differentiates: bool  # whether autograd records it

    @classmethod
    def of(
        cls, traced: TracedStep, call: ScanCall, run: Executable, fits: Streams | None, tensors: Sequence[Tensor]
    ) -> "Bound":
        """Return how scans like a call on tensors run."""
        form = flatten(pytree.tree_unflatten([0.0] * traced.outputs, traced.form))[1]
        known = run, traced.literals, traced.floats_are_inputs, form, call.arguments(), fits, call.rounds
        return cls(*known, torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors]))

    def run(self, signature: Signature) -> tuple[Any, Any]:
        """Return the state after the last step, and the outputs."""
        return self._grown(self.launch(signature.step, signature.tensors, signature.floats), signature)

    def run_finite(self, signature: Signature) -> tuple[Any, Any] | None:
        """Return the same as ``run``, or None if an input is NaN or infinite."""
        launched = self.launch(signature.step, signature.tensors, signature.floats)
        return self._grown(launched, signature) if launched.finite else None

    def _grown(self, launched: Launched, signature: Signature) -> tuple[Any, Any]:
        outs = unflatten(rounded(launched.outs, self.rounds), self.form)
        return unflatten(launched.finals, signature.known.state_form), outs

    def launch(
        self,
        step: Callable[..., Any],
        tensors: list[Tensor],
        floats: tuple[float, ...],
        counts: Sequence[Tensor] | None = None,
    ) -> Launched:
        """Return what the kernel computed, with the graph of autograd if it records the scan."""
        run = self.executable
        if self.fits is not None:
            tensors = self.fits.aligned(tensors)
        scalars = floats + self.literals if self.floats_are_inputs else self.literals
        launched = run.forward(tensors, scalars, keep=self.differentiates and run.saves_states, counts=counts)
        if self.differentiates:
            reference = LoopReference(step, self.arguments).gradients
            launched.found[run.results] = differentiable(launched, scalars, reference, tensors)
        return launched


# by signature. BY_VALUE: the program depends on the values of the floats, so the key includes them as well. LOOP: a
# scan with these values is not fused.
_bound: LRUCache[Bound | str] = LRUCache(_LIMIT)
BY_VALUE, LOOP = "by value", "loop"


def find(signature: Signature) -> Bound | None:
    """Return how the scans of a signature run, if one has run."""
    bounds = signature.known.bounds
    own: Bound | None = bounds.get(signature.form)
    if own is not None:
        return own
    found = _bound.get(signature.key)
    if not isinstance(found, str):
        if found is not None:
            bounds.keep(signature.form, found)
        return found
    valued = _bound.get(signature.valued)
    return None if isinstance(valued, str) else valued


def refuse(signature: Signature) -> None:
    """Store that the scans of a signature are not fused."""
    _bound.keep(signature.valued, LOOP)


def refuses(signature: Signature) -> bool:
    """Return True if the scans of a signature are known not to be fused."""
    return _bound.get(signature.valued) == LOOP


def run(traced: TracedStep, call: ScanCall, signature: Signature | None) -> tuple[Any, Any]:
    """Run a traced step on a call, and store how under its signature, if it has one."""
    streams = call.streams()
    spec = spec_of(traced, call, streams.dim)
    if signature is None or target_of(signature.tensors) is None:  # true of no scan that has run before
        scalars = (*(call.floats if traced.floats_are_inputs else ()), *traced.literals)
        results = fused_scan(spec, scalars, reference_of(call), streams.aligned(call.tensors))
        states, outs = spec.counts[0], spec.counts[0] + spec.counts[3]
        given_out = pytree.tree_unflatten(rounded([*results[states:outs]], call.rounds), traced.form)
        return pytree.tree_unflatten(results[:states], call.forms[0]), given_out
    tensors = streams.aligned(signature.tensors)
    fits = None if streams.fit(signature.tensors) else streams
    bound = Bound.of(traced, call, executable(spec, tensors, keeps_format=True), fits, signature.tensors)
    if not traced.floats_are_inputs:
        _bound.keep(signature.key, BY_VALUE)
    _bound.keep(signature.key if traced.floats_are_inputs else signature.valued, bound)
    return bound.run(signature)


def spec_of(traced: TracedStep, call: ScanCall, dim: int) -> ScanSpec:
    """Return the scan of a traced step, for the tensors of a call with time at an axis."""
    counts = len(call.states), len(call.xs), len(call.tensor_params), traced.outputs
    depends = depends_over_time(traced.depends, counts[0])
    return ScanSpec(traced.program, dim, traced.saves_states, traced.differentiable, counts, depends=depends)
