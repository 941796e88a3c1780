"""Trace a recurrent step for the fused backend: its neuron, and the product between its steps."""

from collections.abc import Callable
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.core.torch_private import peek_interpreter_stack, pytree
from spikingtorch.functional.dispatch.call import ScanCall, product_of
from spikingtorch.functional.fused.errors import NotFusible, UseLoop
from spikingtorch.functional.fused.ir import NAMES, Product, recurrent
from spikingtorch.functional.fused.runtime.recurrent.c_loop import runs_in_c
from spikingtorch.functional.fused.runtime.recurrent.synapses import IN_C
from spikingtorch.functional.fused.trace.examples import is_spec
from spikingtorch.functional.fused.trace.programs import Arguments, TracedStep
from spikingtorch.functional.recurrent import RecurrentState, misfit

_WEIGHT = "recurrent_weight"


def trace_recurrence(call: ScanCall, plan_of: Callable[[ScanCall], TracedStep]) -> TracedStep:
    """Return the plan of a recurrent step, whose program has a product; raise NotFusible if the backend cannot run it.

    ``plan_of`` returns the plan of the scan of the neuron, with the inputs from outside.
    """
    if peek_interpreter_stack() is not None:
        raise UseLoop("is inside a transform of torch.func, where a recurrent step takes the loop")
    leaves = call.states, call.xs, call.params
    state, xs, params = (pytree.tree_unflatten(part, form) for part, form in zip(leaves, call.forms, strict=True))
    weight = params.get(_WEIGHT)
    if not isinstance(state, RecurrentState) or not isinstance(state.s, Tensor) or not isinstance(weight, Tensor):
        raise NotFusible("has no RecurrentState, or no recurrent_weight")
    step, s, rest = call.step, state.s, {name: value for name, value in params.items() if name != _WEIGHT}
    neuron, shape = ScanCall.of(step.step, state.neuron, xs, rest, call.dim, s.dtype), s.shape
    try:
        fits = neuron.neurons() == tuple(shape) and all([each.shape == shape for each in neuron.states])
    except ValueError:
        fits = False
    if not fits or weight.dtype != s.dtype or misfit(step.synapse, shape, weight.shape):
        raise NotFusible("has a state, parameters or weights that do not fit")
    if neuron.xs[0].dtype != s.dtype:
        raise NotFusible("has a first input of another dtype than its spikes")
    if any([size == 0 for size in shape]):  # which may be symbols
        raise UseLoop("has no neurons")
    plan, synapse = plan_of(neuron), product_of(step)
    if not _begins_with_a_tensor(plan.form):
        raise NotFusible("gives out neither a tensor nor a tuple that begins with one")
    if synapse == "dense" and runs_in_c(s, neuron.xs[0].movedim(call.dim, 0)):
        synapse = IN_C
    before = [params[name] for name in takewhile(lambda name: name != _WEIGHT, params)]
    place = len([leaf for leaf in pytree.tree_leaves(before) if isinstance(leaf, Tensor)])
    found = _with_product(synapse, place, plan.program)
    if found.spikes != NAMES[s.dtype]:
        raise NotFusible("gives out another dtype than its state has")
    return plan._replace(program=found.program, saves_states=True, differentiable=found.flows, depends=found.depends)


def neuron_arguments(arguments: Arguments) -> Arguments:
    """Return the arguments of the neuron of a recurrence, from those of the recurrence."""
    of_state, of_xs, of_params = arguments.forms
    state, params = (
        pytree.tree_unflatten(arguments.states, of_state),
        pytree.tree_unflatten(arguments.params, of_params),
    )
    trees = state.neuron, {name: value for name, value in params.items() if name != _WEIGHT}
    (states, of_state), (rest, of_params) = (pytree.tree_flatten(tree, is_leaf=is_spec) for tree in trees)
    return Arguments(tuple(states), arguments.xs, tuple(rest), (of_state, of_xs, of_params), None)


def _begins_with_a_tensor(form: pytree.TreeSpec) -> bool:
    if form.is_leaf():
        return True
    kind = form.type
    is_tuple = isinstance(kind, type) and issubclass(kind, tuple) and form.num_children > 0
    return is_tuple and _begins_with_a_tensor(form.children()[0])


class _Recurrence(NamedTuple):
    """What a plan has of the program of a recurrence."""

    program: str  # as text
    spikes: str  # dtype of what feeds back
    flows: tuple[bool, ...]  # for each state, input and parameter, whether there is a gradient
    depends: tuple[tuple[bool, ...], ...]


@lru_cache(maxsize=256)
def _with_product(synapse: str, weight: int, neuron: str) -> _Recurrence:
    """Return the program of a neuron with a product, whose weights are the parameter at a place."""
    found = recurrent(Product(synapse, weight, neuron))
    flows = tuple([node >= 0 for node in found.gradients])
    return _Recurrence(found.to_text(), found.outs[0], flows, found.depends)


# a constant to torch.compile, as in ``dynamo``
_with_product._dynamo_marked_constant = True  # type: ignore[attr-defined]
