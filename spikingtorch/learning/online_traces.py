"""Eligibility traces of each synapse (e-prop) and of each input (OTTT), for the units of a network.

Both keep the derivative of a neuron's own state alone, e = dh/dw. They leave out the way from one neuron's past through
other neurons: recurrent spikes, and layers above with a state. Rule "diagonal" keeps a trace for each synapse. Where
the derivative D of a neuron's state is a constant, the traces of all neurons are the same, and rule "presynaptic" keeps
one for each input.

Source: G. Bellec et al., Nat. Commun. 11 (2020), doi:10.1038/s41467-020-17236-y; M. Xiao et al., arXiv:2210.04195.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.eligibility import Partials, eligibility, leak_at_rest, leak_is_constant
from spikingtorch.functional.state import reset_where
from spikingtorch.learning.online_rules import NO_LEAK, Unit, check_ways, others_behind
from spikingtorch.learning.online_step import Moment
from spikingtorch.learning.online_synapses import (
    Product,
    Synapses,
    add_gradient,
    check_leaves,
    leaves_behind,
    pass_on,
    summed,
)

_HINT = "Hand over what get_state() of a learner with the same rule and network returned"
Trace = tuple[Tensor, ...]
# signals for the floating tensors of a unit's state, neuron by neuron
Signals = list[Tensor]


class Local(NamedTuple):
    """A layer in one step."""

    moment: Moment  # what its neurons saw
    z: Any  # its input, with the graph that leads to it
    outs: list[Tensor]  # the leaves that stand for its floating outputs
    made: list[Tensor]  # these outputs with their graph, if autograd differentiates the layer; else empty
    before: list[Tensor]  # the floating tensors of the neurons' state before the step, leaves of this graph
    # derivatives of the outputs by state and input, (1, N, ...), if the step has computed them
    of_out: Partials | None = None
    of_state: Partials | None = None  # the same for the next state
    version: int = 0  # of z as the layer got it

    def pull(self, grads: list[Tensor | None]) -> tuple[Tensor | None, list[Tensor] | None]:
        """Turn the gradients of the outputs into those of the input and of the state before the step.

        Returns:
            The gradient of the input, or None if autograd has passed it on already; and that of each floating tensor of
            the state, or None if there was no state.
        """
        given = [(at, grad) for at, grad in enumerate(grads) if grad is not None]
        if self.of_out is None:
            pairs = [(self.made[at], grad) for at, grad in given if self.made[at].requires_grad]
            pass_on(pairs)
            found = [(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad) for leaf in self.before]
            for leaf in self.before:
                leaf.grad = None
            return None, found or None
        of_state, of_input, _ = self.of_out
        z = summed([grad * of_input[at][0] for at, grad in given])
        if self.moment.starts:
            return z, None
        number = len(of_state[given[0][0]])
        return z, [summed([grad * of_state[at][k][0] for at, grad in given]) for k in range(number)]


class Seen(NamedTuple):
    """What traces advance from: what the neurons saw, and derivatives of their next state."""

    moment: Moment
    found: Partials  # by state and input
    x: Tensor | None  # the input of the synapses that lead to them
    own: dict[str, Trace]  # by trained parameters of the neurons


class Traced(NamedTuple):
    """A weight with its trace: ``e[t] = D[t] e[t-1] + b[t] x[t]``, where D and b are those of the neurons."""

    name: str  # of the weight in a saved state
    dense: bool  # whether each synapse has a trace, or each input
    is_fed: bool  # whether x is the input of the layer; else it is the spikes that come back
    part: str  # "weight", "bias" (x is one), or "own" for a parameter of the neurons (x is one, and b the derivative)
    synapses: Synapses | None = None  # those of the weight or bias; None for a parameter of the layer
    value: Tensor | None = None  # the parameter of the layer

    def advance(self, trace: Trace | None, seen: Seen) -> Trace:
        """Return the trace after a step; one of a single tensor is written on. At rest, there is None before."""
        of_state, of_input = seen.found[:2]
        x: Any = seen.x if self.is_fed else seen.moment.s
        if self.part != "weight":
            z = seen.moment.z
            x = torch.ones_like(z) if self.dense else z.new_ones((len(z), *(1,) * (z.ndim - 1)))
            of_input = seen.own[self.name] if self.part == "own" else of_input
        elif self.dense and self.synapses is not None:
            x = self.synapses.over_inputs(x)
            over = self.synapses.over_neurons
            of_state, of_input = tuple([tuple(map(over, row)) for row in of_state]), tuple(map(over, of_input))
        if trace is None:
            return tuple([each * x for each in of_input])
        if len(trace) == 1:
            return (trace[0].mul_(of_state[0][0]).addcmul_(of_input[0], x),)
        return eligibility(trace, (of_state, of_input, x))[0]

    def add(self, signals: Signals, trace: Trace) -> None:
        """Add the gradient of the weight to ``.grad``, from signals and the trace."""
        pairs = [*zip(signals, trace, strict=True)]
        if self.synapses is None:
            assert self.value is not None
            add_gradient(self.value, summed([each * e for each, e in pairs]).sum_to_size(self.value.shape))
            return
        with torch.enable_grad():  # for one that is computed
            weight = getattr(self.synapses.module, self.part)
        if self.part == "bias":
            add_gradient(weight, self.synapses.of_bias(summed([each * e for each, e in pairs])))
        for signal, each in pairs if self.part == "weight" else ():
            if self.dense:
                add_gradient(weight, self.synapses.gradient(signal, each))
            else:
                self.synapses.add_outer(weight, signal, each)


def traced_weights(dense: bool, unit: Unit) -> list[Traced]:
    """Return the weights of a unit, each with a trace for every synapse (dense) or for every input."""
    own = unit.own.items() if dense else ()
    found = [Traced(name, dense, True, "own", value=value) for name, value in own]
    for synapses, is_fed in unit.all_synapses:
        for part in ("weight", "bias"):
            value: Any = getattr(synapses.module, part)
            if value is not None and value.requires_grad:
                found.append(Traced(part if is_fed else f"recurrent.{part}", dense, is_fed, part, synapses))
    if isinstance(recurrent := getattr(unit.layer, "recurrent", None), Tensor) and recurrent.requires_grad:
        found.append(Traced("recurrent", dense, False, "weight", value=recurrent))
    return found


class Traces:
    """Eligibility traces of all units, for each synapse if they are dense ("diagonal"), else for each input.

    The traces before a step are needed until its last ``add``. So they advance when the next step begins.
    """

    def __init__(self, model: nn.Module, units: tuple[Unit, ...], *, dense: bool, approximate: bool) -> None:
        self.units = {unit.path: (unit, weights) for unit in units if (weights := traced_weights(dense, unit))}
        self.model, self.dense, self.approximate = model, dense, approximate
        self._units = {unit.layer: unit for unit in units}
        self._leaks: dict[str, tuple[Any, Partials]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.before: dict[str, list[Trace]] = {}  # a unit at rest has none
        self._seen: dict[str, Seen] = {}
        self._versions: dict[str, list[int]] = {}  # of computed weights, since the traces began

    def advance(self) -> None:
        """Advance the traces by the last step, if that has not been done yet."""
        self.before |= {path: self._after(path, self.before.get(path, ())) for path in self._seen}
        self._seen = {}

    def _after(self, path: str, traces: Sequence[Trace]) -> list[Trace]:
        """Return the traces of a unit after the last step, from those before it."""
        seen, (_, weights) = self._seen[path], self.units[path]
        old: Any = [None] * len(weights) if seen.moment.starts else traces
        return [each.advance(trace, seen) for each, trace in zip(weights, old, strict=True)]

    def get(self) -> dict[str, Tensor]:
        """Return copies of the traces after the last step, by the layer and the weight."""
        found: dict[str, Tensor] = {}
        for path, (_, weights) in self.units.items():
            traces = [tuple([leaf.clone() for leaf in trace]) for trace in self.before.get(path, ())]
            traces = self._after(path, traces) if path in self._seen else traces
            for each, trace in zip(weights, traces, strict=bool(traces)):
                found |= {_key(path, each.name, k): leaf for k, leaf in enumerate(trace)}
        return found

    def set(self, traces: Mapping[str, Tensor]) -> None:
        """Continue from traces that ``get`` returned; raise ValueError for those of other weights."""
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
            if not self.dense:
                found = self._leak(unit, local.moment)
            elif local.of_state is None:
                found = local.moment.partials()
            else:
                found = Partials(*tree_map(lambda each: each[0], local.of_state[:2]))
            seen[unit.path] = Seen(local.moment, found, x, own)
        if fresh:
            self.before = {}
        for path, each in seen.items():
            if isinstance(starts := each.moment.init, Tensor) and path in self.before:
                self.before[path] = [reset_where(starts, trace) for trace in self.before[path]]
        self._seen, self._versions = seen, versions

    def _leak(self, unit: Unit, seen: Moment) -> Partials:
        """Return the derivatives of the neurons of a unit at rest, without an input: numbers for all neurons."""
        found: Any = seen.params if seen.params is not None else seen.layer.whole_step()[1]
        params = [each for name, each in found.items() if name != "recurrent_weight"]
        fixed = [each for each in params if not isinstance(each, Tensor)]
        key = (fixed, seen.z.shape, seen.z.dtype, seen.z.device)
        known, leak = self._leaks.get(unit.path, (None, None))
        # computed again if a parameter or the form of the input changes; a tensor may be written on
        if leak is None or len(fixed) < len(params) or known != key:
            at_rest: Any = leak_at_rest(seen.step, seen.state, seen.z, {})[:2]
            if not self.approximate:
                same = all([torch.allclose(each, each.flatten()[0]) for each in leaves_of(at_rest)])
                if not same or (known != key and not leak_is_constant(seen.step, seen.state, lift(seen.z), {})):
                    raise ValueError(NO_LEAK.format(unit))
            leak = Partials(*tree_map(lambda each: each.flatten()[0], at_rest))
            self._leaks[unit.path] = key, leak
        return leak

    def _check_versions(self, unit: Unit, starts: bool, known: dict[str, list[int]]) -> None:
        """Raise if what a weight is computed from was changed since the trace of the computed weight began."""
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
    return f"{path}.{name}.{k}".removeprefix(".")


def _popped(traces: dict[str, Tensor], path: str, name: str) -> Trace:
    """Return the trace of a weight, with its tensors in memory of their own, and take it out."""
    found: list[Tensor] = []
    while (leaf := traces.pop(_key(path, name, len(found)), None)) is not None:
        found.append(leaf.detach().clone())
    return tuple(found)
