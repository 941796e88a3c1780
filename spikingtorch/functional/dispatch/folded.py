"""Run all steps of a layer at once: inputs and outputs are (N T, ...), as in the network around it.

The states before the first step and after the last step have no gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.tree import LEAF, flatten, tree_map
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.dispatch.backend import choose
from spikingtorch.functional.dispatch.call import ScanCall, product_of
from spikingtorch.functional.dispatch.no_gradient import warn_without_gradient
from spikingtorch.functional.dispatch.signature import Parameters, known_parameters
from spikingtorch.functional.fused.runtime.executable import Launched, executable
from spikingtorch.functional.fused.runtime.targets import target_of
from spikingtorch.functional.fused.trace.programs import TracedStep
from spikingtorch.functional.recorded import Returning


class FoldedStep(NamedTuple):
    """A step with its parameters, for folded scans that nothing traces or transforms."""

    step: Callable[..., Any]  # the step
    params: dict[str, Any]  # its keyword arguments
    known: Parameters  # all that such a scan depends on except tensors and top-level floats
    floats: tuple[float, ...]  # the parameters that are floats

    @classmethod
    def of(cls, step: Callable[..., Any], state_type: type[Any], params: dict[str, Any]) -> "FoldedStep | None":
        """Return a step with its parameters, or None if each of its scans has to be examined anew.

        The tensors of its state, a NamedTuple of ``state_type``, are all zero at first.
        """
        form = (state_type, None, *[LEAF] * len(getattr(state_type, "_fields", ())))
        known = known_parameters(step, params, (form, LEAF))
        return None if known is None else cls(step, params, known, known.floats_of(params))

    def run(
        self,
        xs: Sequence[Tensor],
        fold: tuple[int, int],
        states: Sequence[Tensor] = (),
        counts: Sequence[Tensor] | None = None,
    ) -> Launched | None:
        """Run a folded scan of inputs (N T, ...); return None if none like it has run, or an input is not finite.

        Its outputs have their graph of autograd; its states and its last output have none. ``states`` are the leaves of
        the first state; none for a scan from rest. ``counts`` are ``fired`` of an earlier scan, from which this one
        continues if it fits, and memory for the new counts; each may be missing. None stands for not counting.
        """
        known, tensors = self.known, [*states, *xs]
        if known.tensors:
            tensors += known.tensors_of(self.params)
        bound = known.bounds.get(known.form((fold, len(states)), self.floats, tensors))
        if bound is None:
            return None
        found = bound.launch(self.step, tensors, self.floats, counts)
        return found if found.finite else None

    def first(
        self, state: Any, inputs: Any, fold: tuple[int, int], goes_on: bool, counts: Sequence[Tensor] | None = None
    ) -> Launched | None:
        """Run the first folded scan of its form; return None if it cannot run folded.

        The inputs are a tree of (N T, ...), and ``goes_on`` says whether the scan does not start at rest but from the
        state.
        """
        states = flatten(state)[0] if goes_on else []
        tensors = [*states, *flatten(inputs)[0], *self.known.tensors_of(self.params)]
        form = self.known.form((fold, len(states)), self.floats, tensors)
        if form is None or target_of(tensors) is None:
            return None
        xs = tree_map(lambda x: x.unflatten(0, fold), inputs)
        contract.check_inputs(state, xs, self.params, 1)
        call = ScanCall.of(self.step, state, xs, self.params, 1, contract.output_dtype(xs))
        traced = choose(call, "auto")
        if not isinstance(traced, TracedStep) or not traced.floats_are_inputs or product_of(self.step) is not None:
            return None
        returned = len(self.step.names) + 1 if isinstance(self.step, Returning) else 0
        if not traced.form.is_leaf() and traced.outputs != returned:  # a tree of the step's own
            return None
        streams = call.streams()
        if flatten(state)[1] != self.known.state_form or not streams.fit(call.tensors):
            return None
        spec = bind.spec_of(traced, call, streams.dim)._replace(fold=fold, goes_on=goes_on)
        bound = bind.Bound.of(traced, call, executable(spec, tensors, keeps_format=True), None, tensors)
        self.known.bounds.keep(form, bound)
        found = bound.launch(self.step, tensors, self.floats, counts)
        if not found.finite:
            return None
        # the program describes each path of any length, so only the states matter here
        warn_without_gradient(self.step, (state, xs, self.params), (found.finals, found.outs), fold[1])
        return found
