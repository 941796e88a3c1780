"""Eligibility traces of each synapse (e-prop) and of each input (OTTT), for the units of a network.

Both keep the derivative of a neuron's own state alone, e = dh/dw. They leave out the way from one neuron's past through
other neurons: recurrent spikes, and layers above with a state. Rule "diagonal" keeps a trace for each synapse. Where
the derivative D of a neuron's state is a constant, the traces of all neurons are the same, and rule "presynaptic" keeps
one for each input.

Source: G. Bellec et al., Nat. Commun. 11 (2020), doi:10.1038/s41467-020-17236-y; M. Xiao et al., arXiv:2210.04195.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.eligibility import Partials, eligibility, leak_at_rest, leak_is_constant
from spikingtorch.functional.state import reset_where
from spikingtorch.learning.online_gradients import (
    Product,
    add_gradient,
    add_product,
    check_leaves,
    leaves_behind,
    parameter_of,
)
from spikingtorch.learning.online_moment import Local, Moment
from spikingtorch.learning.online_rules import NO_LEAK, check_ways
from spikingtorch.learning.online_synapses import Linear, Synapses
from spikingtorch.learning.online_units import Unit, others_behind

_HINT = "Hand over what get_state() of a learner with the same rule and network returned"
Trace = tuple[Tensor, ...]
# signals for the floating tensors of a unit's state, neuron by neuron
Signals = list[Tensor]


class Seen(NamedTuple):
    """What traces advance from.

    Attributes:
        moment: what the neurons saw.
        found: the derivatives of their next state.
        x: the input of the synapses that lead to them; None if there are none.
        own: derivatives of the next state by trained parameters of the neurons, by name.
    """

    moment: Moment
    found: Partials
    x: Tensor | None
    own: dict[str, Trace]


def _unchanged(of_neurons: Tensor) -> Tensor:
    return of_neurons


class Traced(NamedTuple):
    """A weight with its trace: ``e[t] = D[t] e[t-1] + b[t] x[t]``, where D and b are those of the neurons.

    Attributes:
        name: of the weight, in the module that has it.
        x: returns x from what the neurons saw, ready to be multiplied by traces.
        add: adds the gradient of the weight to ``.grad``, from signals and the trace.
        over: brings D and b to a form that can be multiplied by traces.
        is_own: whether it is a parameter of the neurons, by which b is the derivative.
    """

    name: str
    x: Callable[[Seen], Tensor]
    add: Callable[[Signals, Trace], None]
    over: Callable[[Tensor], Tensor] = _unchanged
    is_own: bool = False

    def advance(self, trace: Trace | None, seen: Seen) -> Trace:
        """Return the trace after a step; one of a single tensor is written on. At rest, there is None before."""
        gains = seen.own[self.name] if self.is_own else seen.found.of_input
        of_input, x = tuple(map(self.over, gains)), self.x(seen)
        if trace is None:
            return tuple([each * x for each in of_input])
        of_state = tuple([tuple(map(self.over, row)) for row in seen.found.of_state])
        if len(trace) == 1:
            return (trace[0].mul_(of_state[0][0]).addcmul_(of_input[0], x),)
        return eligibility(trace, (of_state, of_input, x))[0]


class Traces:
    """Eligibility traces of all units.

    The traces before a step are needed until its last ``add``. So they advance when the next step begins.

    Args:
        model: the network.
        units: its units.
        dense: whether each synapse has a trace ("diagonal"), or each input ("presynaptic").
        approximate: whether the leak of "presynaptic" may be no constant.
    """

    def __init__(self, model: nn.Module, units: tuple[Unit, ...], *, dense: bool, approximate: bool) -> None:
        self.units = {unit.path: (unit, weights) for unit in units if (weights := traced_weights(dense, unit))}
        self.model, self.of_neurons = model, own_partials if dense else LeakAtRest(approximate)
        self._units = {unit.layer: unit for unit in units}
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.before: dict[str, list[Trace]] = {}  # a unit at rest has none
        self._seen: dict[str, Seen] = {}
        self._versions: dict[str, list[int]] = {}  # of computed weights, since the traces began

    def advance(self) -> None:
        """Advance the traces by the last step, if that has not been done yet."""
        for path, seen in self._seen.items():
            _, weights = self.units[path]
            old: list[Any] = [None] * len(weights) if seen.moment.starts else self.before[path]
            self.before[path] = [each.advance(trace, seen) for each, trace in zip(weights, old, strict=True)]
        self._seen = {}

    def get(self) -> dict[str, Tensor]:
        """Return copies of the traces after the last step, by the layer and the weight."""
        found: dict[str, Tensor] = {}
        for path, (_, weights) in self.units.items():
            seen, before = self._seen.get(path), self.before.get(path)
            for at, each in enumerate(weights):
                trace = None if before is None else tuple([leaf.clone() for leaf in before[at]])
                if seen is not None:
                    trace = each.advance(None if seen.moment.starts else trace, seen)
                for k, leaf in enumerate(trace or ()):
                    found[_key(path, each.name, k)] = leaf
        return found

    def set(self, traces: Mapping[str, Tensor]) -> None:
        """Continue from traces that ``get`` returned.

        Raises:
            ValueError: they are those of other weights.
        """
        self.reset()
        rest = dict(traces)
        for path, (_, weights) in self.units.items():
            found = [_popped(rest, path, each.name) for each in weights]
            if all(found):
                self.before[path] = found
            elif any(found):
                raise ValueError(f"learning.online: the traces of layer {path} are incomplete. {_HINT}")
        if rest:
            raise ValueError(f"learning.online: this learner has no traces {', '.join(rest)}. {_HINT}")

    def note(self, locals_: dict[Any, Local], products: Mapping[Any, Product | None], *, fresh: bool) -> None:
        """Note what each unit saw in a step, once all of them are known to be right; ``fresh`` forgets the past."""
        seen, known = dict[str, Seen](), set[int]()  # what layers have handed on
        versions = {} if fresh else {**self._versions}
        for layer, local in locals_.items():
            unit = self._units[layer]
            product = None if unit.synapses is None else products[unit.synapses.module]
            if unit.synapses is not None and (product is None or not product.is_given(local.z)):
                raise ValueError(
                    f"learning.online: the input of layer {unit} was the product of its weights in the first step, and "
                    "is something else now. Make a new learner, or let the network do the same at each step"
                )
            check_ways(unit, others_behind(local.z, product, known), self.model)
            known |= {id(leaf) for leaf in local.outs}
            _check_local(unit, local, product)
            if unit.path not in self.units:
                continue
            self._check_versions(unit, local.moment.starts, versions)
            x = None if product is None else lift(product.x.detach())
            named = {each.name for each in self.units[unit.path][1]}
            # now, because these parameters may change before the traces advance
            own = {name: local.moment.of_parameter(name, each) for name, each in unit.own.items() if name in named}
            seen[unit.path] = Seen(local.moment, self.of_neurons(unit, local), x, own)
        if fresh:
            self.before = {}
        for path, each in seen.items():
            if isinstance(starts := each.moment.init, Tensor) and path in self.before:
                self.before[path] = [reset_where(starts, trace) for trace in self.before[path]]
        self._seen, self._versions = seen, versions

    def _check_versions(self, unit: Unit, starts: bool, known: dict[str, list[int]]) -> None:
        """Raise if a weight that is computed from others was changed since its trace began.

        The trace is that of the computed weight. What it is computed from has a trace only while it does not change.
        """
        computed = [each.module for each, _ in unit.all_synapses if each.module._parameters.get("weight") is None]
        if not computed:
            return
        versions = [each._version for module in computed for each in (*module.parameters(), *module.buffers())]
        if starts or unit.path not in known:
            known[unit.path] = versions
        elif known[unit.path] != versions:
            raise ValueError(
                f"learning.online: a weight that leads to layer {unit} is computed from others, as by a "
                "parametrization, and these were changed within a sequence, while the traces belong to their earlier "
                "values. Change them between sequences, or use rule='last_step'"
            )

    def add(self, unit: Unit, signals: Signals) -> None:
        """Add the gradient through each neuron's own state before the step to ``.grad``."""
        if unit.path in self.before:
            for each, trace in zip(self.units[unit.path][1], self.before[unit.path], strict=True):
                each.add(signals, trace)


def _check_local(unit: Unit, local: Local, product: Product | None) -> None:
    """Raise if what a layer saw was overwritten, or depends on something trained that is no parameter."""
    given = leaves_of(local.z)[0]._version != local.version
    if given or (product is not None and product.x._version != product.versions[0]):
        raise ValueError(
            f"learning.online: the input of layer {unit}, or of the weights that lead to it, was overwritten within "
            "the step, while traces need it. Write on a copy: x.clone()"
        )
    if local.made:
        known = *leaves_behind(local.z), *local.before, *unit.layer.parameters()
        check_leaves(f"layer {unit}", local.made, known)


def _key(path: str, name: str, k: int) -> str:
    return f"{path}.{name}.{k}" if path else f"{name}.{k}"


def _popped(traces: dict[str, Tensor], path: str, name: str) -> Trace:
    """Return the trace of a weight, with its tensors in memory of their own, and take it out."""
    found: list[Tensor] = []
    while (leaf := traces.pop(_key(path, name, len(found)), None)) is not None:
        found.append(leaf.detach().clone())
    return tuple(found)


def traced_weights(dense: bool, unit: Unit) -> list[Traced]:
    """Return the weights of a unit, each with a trace for every synapse (dense) or for every input."""
    found = []
    for name, value in unit.own.items() if dense else ():
        found.append(Traced(name, _ones, partial(_add_contracted, value), is_own=True))
    for synapses, fed in unit.all_synapses:
        module: Any = synapses.module
        place, arriving = ("", _input) if fed else ("recurrent.", _own_spikes)
        if module.weight.requires_grad and dense:
            x = partial(_over_inputs, synapses, arriving)
            found.append(Traced(f"{place}weight", x, partial(_add_summed, synapses), synapses.over_neurons))
        elif module.weight.requires_grad:
            found.append(Traced(f"{place}weight", arriving, partial(_add_outer, synapses)))
        if module.bias is not None and module.bias.requires_grad:
            found.append(Traced(f"{place}bias", _ones if dense else _one, partial(_add_to_bias, synapses)))
    if isinstance(recurrent := getattr(unit.layer, "recurrent", None), Tensor) and recurrent.requires_grad:
        found.append(Traced("recurrent", _own_spikes, partial(_add_contracted, recurrent)))
    return found


class LeakAtRest:
    """The derivatives of neurons at rest; they are computed again if a parameter or the form of the input changes.

    Args:
        approximate: whether the derivatives may differ from neuron to neuron and with the state.
    """

    def __init__(self, approximate: bool) -> None:
        self.approximate = approximate
        self._known: dict[str, tuple[Any, Partials]] = {}

    def __call__(self, unit: Unit, local: Local) -> Partials:
        """Return the derivatives of the neurons of a unit at rest, without an input: numbers for all neurons."""
        layer, seen = unit.layer, local.moment
        found: Any = seen.params if seen.params is not None else layer.whole_step()[1]  # type: ignore[operator]
        params = [each for name, each in found.items() if name != "recurrent_weight"]
        fixed = [each for each in params if not isinstance(each, Tensor)]
        key = (fixed, seen.z.shape, seen.z.dtype, seen.z.device)
        known = self._known.get(unit.path)
        # a tensor may be written on
        if known is None or len(fixed) < len(params) or known[0] != key:
            of_state, of_input = leak_at_rest(seen.step, seen.state, seen.z, {})[:2]
            if not self.approximate:
                same = all([torch.allclose(each, each.flatten()[0]) for each in leaves_of((of_state, of_input))])
                changed = known is None or known[0] != key
                if not same or (changed and not leak_is_constant(seen.step, seen.state, lift(seen.z), {})):
                    raise ValueError(NO_LEAK.format(unit))
            rows = tuple(tuple(each.flatten()[0] for each in row) for row in of_state)
            known = self._known[unit.path] = key, Partials(rows, tuple(each.flatten()[0] for each in of_input))
        return known[1]


def own_partials(unit: Unit, local: Local) -> Partials:  # noqa: ARG001
    """Return the derivatives of neurons by their own state and input."""
    if local.of_state is None:
        return local.moment.partials()
    of_state, of_input = local.of_state[:2]
    return Partials(
        tuple([tuple([each[0] for each in row]) for row in of_state]), tuple([each[0] for each in of_input])
    )


def _input(seen: Seen) -> Tensor:
    assert seen.x is not None
    return seen.x


def _own_spikes(seen: Seen) -> Tensor:
    assert seen.moment.s is not None
    return seen.moment.s


def _over_inputs(synapses: Synapses, arriving: Callable[[Seen], Tensor], seen: Seen) -> Tensor:
    return synapses.over_inputs(arriving(seen))


def _ones(seen: Seen) -> Tensor:
    return torch.ones_like(seen.moment.z)


def _one(seen: Seen) -> Tensor:
    """Return ones for each sample, which broadcast to its neurons."""
    z = seen.moment.z
    return z.new_ones((len(z), *(1,) * (z.ndim - 1)))


def _add_summed(synapses: Synapses, signals: Signals, trace: Trace) -> None:
    for signal, each in zip(signals, trace, strict=True):
        add_gradient(parameter_of(synapses.module, "weight"), synapses.gradient(signal, each))


def _add_outer(synapses: Synapses, signals: Signals, trace: Trace) -> None:
    for signal, each in zip(signals, trace, strict=True):
        if isinstance(synapses, Linear):
            rows, inputs = signal.reshape(-1, signal.shape[-1]), each.reshape(-1, each.shape[-1])
            add_product(parameter_of(synapses.module, "weight"), rows, inputs)
        else:
            add_gradient(parameter_of(synapses.module, "weight"), synapses.outer(signal, each))


def _add_to_bias(synapses: Synapses, signals: Signals, trace: Trace) -> None:
    add_gradient(parameter_of(synapses.module, "bias"), synapses.of_bias(_contracted(signals, trace)))


def _add_contracted(weight: Tensor, signals: Signals, trace: Trace) -> None:
    add_gradient(weight, _contracted(signals, trace).sum_to_size(weight.shape))


def _contracted(signals: Signals, trace: Trace) -> Tensor:
    found = [signal * each for signal, each in zip(signals, trace, strict=True)]
    return found[0] if len(found) == 1 else sum(found[1:], found[0])
