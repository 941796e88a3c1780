"""Run all steps of a layer at once: inputs and outputs are (N T, ...), as in the network around it.

The states before the first step and after the last step have no gradient.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.tree import flatten
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.dispatch.call import ScanCall
from spikingtorch.functional.dispatch.eligibility import choose
from spikingtorch.functional.dispatch.no_gradient import warn_without_gradient
from spikingtorch.functional.dispatch.signature import Signature
from spikingtorch.functional.fused.runtime.executable import executable
from spikingtorch.functional.fused.trace.programs import TracedStep


class Folded(NamedTuple):
    """The results of a folded scan."""

    finals: Sequence[Tensor]  # the tensors of the state after the last step, without a gradient
    last: Tensor  # the output of the last step, without a gradient and in its own memory
    outs: Tensor  # folded outputs
    # the number of steps at which each neuron's output was not zero, (N, ...), if the scan counted
    fired: Tensor | None
    added: bool  # whether ``fired`` includes the earlier counts


def run(signature: Signature, counts: Sequence[Tensor] | None = None) -> Folded | None:
    """Run a folded scan, or return None if none like it has run, or an input is NaN or infinite.

    Args:
        signature: of the scan.
        counts: ``fired`` of an earlier scan, from which this one continues if it fits, and memory for the new counts;
            each may be missing. None to not count.
    """
    bound = bind.find(signature)
    if bound is None:
        return None
    launched, outs = bound.launch(*signature.numbers, counts)
    if not launched.finite:
        return None
    fired = None if counts is None else launched.fired[0]
    return Folded(launched.finals, launched.lasts[0], outs[0], fired, launched.added)


def first(
    signature: Signature, state: Any, xs: Any, fold: tuple[int, int], counts: Sequence[Tensor] | None = None
) -> Folded | None:
    """Run the first folded scan of a signature. Return None if it cannot run folded.

    Args:
        signature: of the scan.
        state: the state before the first step.
        xs: unfolded inputs, (N, T, ...).
        fold: N samples and T steps.
        counts: as in ``run``.
    """
    contract.check_inputs(state, xs, signature.params, 1)
    if not signature.is_plain:
        return None
    call = ScanCall.of(signature.step, state, xs, signature.params, 1, contract.output_dtype(xs))
    traced = choose(call, "auto")
    if not isinstance(traced, TracedStep) or not traced.form.is_leaf() or not traced.floats_are_inputs:
        return None
    streams = call.streams()
    if flatten(state)[1] != signature.state_form or not streams.fit(call.tensors):
        return None
    goes_on = len(signature.tensors) > len(call.xs) + len(call.tensor_params)
    spec = bind.spec_of(traced, call, streams.dim)._replace(fold=fold, goes_on=goes_on)
    bind.keep(signature, traced, call, executable(spec, signature.tensors, keeps_format=True), None)
    found = run(signature, counts)
    if found is not None:  # the program describes each path of any length, so only the states matter here
        warn_without_gradient(signature.step, (state, xs, signature.params), (found.finals, found.outs), fold[1])
    return found
