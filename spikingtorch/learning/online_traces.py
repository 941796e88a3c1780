"""Eligibility traces of each synapse (e-prop) and of each input (OTTT), for the units of a network.

Both keep the derivative of a neuron's own state alone, e = dh/dw. They leave out the way from one neuron's past through
other neurons: recurrent spikes, and layers above with a state. Rule "diagonal" keeps a trace for each synapse. Where
the derivative D of a neuron's state is a constant, the traces of all neurons are the same, and rule "presynaptic" keeps
one for each input.

Source: G. Bellec et al., Nat. Commun. 11 (2020), doi:10.1038/s41467-020-17236-y; M. Xiao et al., arXiv:2210.04195.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.eligibility import Partials, eligibility, floating, partials
from spikingtorch.functional.state import reset_where
from spikingtorch.learning.online_step import Tape
from spikingtorch.learning.online_synapses import Synapses, synapses_of
from spikingtorch.learning.online_units import Moment, Unit, moment

Trace = tuple[Tensor, ...]
# signals for the floating tensors of a unit's state, neuron by neuron
Signals = list[Tensor]


class Traced(NamedTuple):
    """A weight with its trace.

    Attributes:
        weight: returns the weight; a parametrized one with its graph.
        advance: the trace after a step, from the trace before it (None at rest), what the neurons saw, and the tape.
        gradient: the gradient of the weight, from signals and trace.
    """

    weight: Callable[[], Tensor]
    advance: Callable[[Trace | None, Moment, Partials, Tape], Trace]
    gradient: Callable[[Signals, Trace], Tensor]


class Traces:
    """Eligibility traces of all units.

    Args:
        units: the units of the network.
        traced: the weights of a unit that have traces.
        of_neurons: returns the derivatives that traces are computed from.
    """

    def __init__(
        self,
        units: tuple[Unit, ...],
        traced: Callable[[Unit], list[Traced]],
        of_neurons: Callable[[Unit, Moment], Partials],
    ) -> None:
        self.units = {unit: traced(unit) for unit in units}
        self.of_neurons = of_neurons
        self.before: dict[int, tuple[tuple[str, ...], list[Trace]]] = {}
        self.now: dict[int, tuple[tuple[str, ...], list[Trace]]] = {}

    def reset(self) -> None:
        """Forget the past."""
        self.now = {}

    def advance(self, tape: Tape) -> None:
        """Compute the traces after a step."""
        self.before, self.now = self.now, {}
        for number, (unit, weights) in enumerate(self.units.items()):
            if not weights:
                continue
            seen = moment(unit, tape)
            found = self.of_neurons(unit, seen)
            old: list[Any] = [None] * len(weights) if seen.starts else self.before[number][1]
            if isinstance(tape.init, Tensor) and not seen.starts:
                old = [reset_where(tape.init, trace) for trace in old]
            traces = [each.advance(trace, seen, found, tape) for each, trace in zip(weights, old, strict=True)]
            self.now[number] = seen.names, traces

    def add(self, signals: dict[str, Tensor]) -> None:
        """Add the gradient through each neuron's own state before the step to ``.grad``."""
        for number, weights in enumerate(self.units.values()):
            if number not in self.before:
                continue
            names, traces = self.before[number]
            own = [signals.get(name) for name in names]
            here = [signal for signal in own if signal is not None]
            if not here:
                continue
            whole = [torch.zeros_like(here[0]) if signal is None else signal for signal in own]
            for each, trace in zip(weights, traces, strict=True):
                torch.autograd.backward([each.weight()], [each.gradient(whole, trace)])


def per_synapse(unit: Unit) -> list[Traced]:
    """Return the weights of a unit, each with a trace for every synapse."""
    found = [_parameter(name, each) for name, each in unit.own.items()]
    for synapses, fed in _synapses(unit):
        module: Any = synapses.module
        if module.weight.requires_grad:
            found.append(Traced(partial(getattr, module, "weight"), partial(_dense, synapses, fed), _summed(synapses)))
        if fed and module.bias is not None and module.bias.requires_grad:
            of_bias = partial(_contracted, synapses.of_bias)
            found.append(Traced(partial(getattr, module, "bias"), partial(_elementwise, _one), of_bias))
    recurrent: Any = getattr(unit.layer, "recurrent", None)
    if isinstance(recurrent, Tensor) and recurrent.requires_grad:
        to_shape = partial(_contracted, lambda signal: signal.sum_to_size(recurrent.shape))
        found.append(Traced(lambda: recurrent, partial(_elementwise, _spikes), to_shape))
    return found


def per_input(unit: Unit) -> list[Traced]:
    """Return the weights of a unit, each with a trace for every input."""
    found = []
    for synapses, fed in _synapses(unit):
        module: Any = synapses.module
        if module.weight.requires_grad:
            advance, outer = partial(_common, synapses, fed), partial(_outer, synapses)
            found.append(Traced(partial(getattr, module, "weight"), advance, outer))
        if fed and module.bias is not None and module.bias.requires_grad:
            of_bias = partial(_contracted, synapses.of_bias)
            found.append(Traced(partial(getattr, module, "bias"), partial(_elementwise, _one), of_bias))
    return found


class LeakAtRest:
    """The derivatives of neurons at rest; they are computed again if a parameter or the shape of the input changes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Partials]] = {}

    def __call__(self, unit: Unit, seen: Moment) -> Partials:
        """Return the derivatives of the neurons of a unit at rest, without an input."""
        layer: Any = unit.layer
        params = [each for name, each in layer.whole_step()[1].items() if name != "recurrent_weight"]
        if any(isinstance(leaf, Tensor) for leaf in leaves_of(params)):  # a tensor may be written on
            return leak_at_rest(seen)
        key = (params, seen.z.shape, seen.z.dtype, seen.z.device)
        if unit.path not in self._known or self._known[unit.path][0] != key:
            self._known[unit.path] = key, leak_at_rest(seen)
        return self._known[unit.path][1]


def own_partials(_: Unit, seen: Moment) -> Partials:
    """Return the derivatives of neurons by their own state and input."""
    return seen.partials()


def leak_at_rest(seen: Moment) -> Partials:
    """Return the derivatives of neurons at rest, without an input."""
    leaves, rebuild = floating(seen.state)
    return partials(seen.step, rebuild([torch.zeros_like(each) for each in leaves]), torch.zeros_like(seen.z))


def leak_is_constant(seen: Moment) -> bool:
    """Return True if the derivatives of all neurons are one constant, as far as random states show."""
    leaves, rebuild = floating(seen.state)
    numbers = torch.Generator(seen.z.device).manual_seed(0)
    moved = 4.0 * torch.randn(len(leaves) + 1, *seen.z.shape, generator=numbers, device=seen.z.device).to(seen.z.dtype)
    found = partials(seen.step, rebuild(list(moved[1:])), moved[0])
    at_rest, elsewhere = leaves_of(leak_at_rest(seen)), leaves_of(found)
    same = [one.flatten()[:1].expand_as(one) for one in at_rest]
    return all(map(torch.allclose, at_rest, same)) and all(map(torch.allclose, elsewhere, same))


def _synapses(unit: Unit) -> list[tuple[Synapses, bool]]:
    """Return the synapses that lead to a unit, and whether its input feeds them; else its own spikes do."""
    found = [] if unit.synapses is None else [(unit.synapses, True)]
    recurrent = getattr(unit.layer, "recurrent", None)
    if isinstance(recurrent, nn.Module) and (synapses := synapses_of(recurrent)) is not None:
        found.append((synapses, False))
    return found


def _arriving(synapses: Synapses, fed: bool, seen: Moment, tape: Tape) -> Tensor:
    return tape.products[synapses.module][0].detach() if fed else _spikes(seen)


def _spikes(seen: Moment) -> Tensor:
    assert seen.s is not None
    return seen.s


def _one(seen: Moment) -> Tensor:
    return torch.ones_like(seen.z)


def _advanced(trace: Trace | None, of_state: Any, of_input: Trace, x: Tensor) -> Trace:
    """Return ``D e + b x``. A kernel of one step takes as long as these few products."""
    if trace is None:
        return tuple(each * x for each in of_input)
    return eligibility(trace, (of_state, of_input, x))[0]


def _dense(synapses: Synapses, fed: bool, trace: Trace | None, seen: Moment, found: Partials, tape: Tape) -> Trace:
    x = synapses.over_inputs(_arriving(synapses, fed, seen, tape))
    of_state = tuple(tuple(synapses.over_neurons(each) for each in row) for row in found.of_state)
    return _advanced(trace, of_state, tuple(map(synapses.over_neurons, found.of_input)), x)


def _elementwise(x: Callable[[Moment], Tensor], trace: Trace | None, seen: Moment, found: Partials, _: Tape) -> Trace:
    return _advanced(trace, found.of_state, found.of_input, x(seen))


def _common(synapses: Synapses, fed: bool, trace: Trace | None, seen: Moment, found: Partials, tape: Tape) -> Trace:
    """Advance the traces of the inputs, with the constants of one neuron."""
    of_state = tuple(tuple(each.flatten()[0] for each in row) for row in found.of_state)
    return _advanced(
        trace, of_state, tuple(each.flatten()[0] for each in found.of_input), _arriving(synapses, fed, seen, tape)
    )


def _parameter(name: str, value: nn.Parameter) -> Traced:
    def advance(trace: Trace | None, seen: Moment, found: Partials, _: Tape) -> Trace:
        return _advanced(trace, found.of_state, seen.of_parameter(name, value), torch.ones_like(seen.z))

    def gradient(signals: Signals, trace: Trace) -> Tensor:
        return _contracted(lambda signal: signal.sum_to_size(value.shape), signals, trace)

    return Traced(lambda: value, advance, gradient)


def _summed(synapses: Synapses) -> Callable[[Signals, Trace], Tensor]:
    def gradient(signals: Signals, trace: Trace) -> Tensor:
        found = [synapses.gradient(signal, each) for signal, each in zip(signals, trace, strict=True)]
        return sum(found[1:], found[0])

    return gradient


def _outer(synapses: Synapses, signals: Signals, trace: Trace) -> Tensor:
    found = [synapses.outer(signal, each) for signal, each in zip(signals, trace, strict=True)]
    return sum(found[1:], found[0])


def _contracted(reduce: Callable[[Tensor], Tensor], signals: Signals, trace: Trace) -> Tensor:
    found = [signal * each for signal, each in zip(signals, trace, strict=True)]
    return reduce(sum(found[1:], found[0]))
