"""What a rule can do with a network, with an error in words, and what it leaves out of the gradient of each layer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.eligibility import Linearized, is_elementwise, leak_is_constant
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.neurons.synapses import Delay
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.learning.online_moment import Moment
from spikingtorch.learning.online_step import Stepper, Tape
from spikingtorch.learning.online_units import Structure, Unit
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.contents import Contents
from spikingtorch.spikingnet.trail import Trail

RULES = ("exact", "diagonal", "presynaptic", "last_step")
FEEDBACKS = ("symmetric", "random")
NO_LEAK = (
    "learning.online: rule='presynaptic' is exact only if the leak of all neurons of a layer is one constant, and that "
    "of layer {} depends on its state or on the neuron. Take reset=detached(by_subtraction) and one time constant, or "
    "rule='diagonal', or pass approximate=True"
)
_OTHERS = "Use rule='exact', or train with back-propagation through time"


def check_arguments(model: Any, rule: Any, feedback: Any, approximate: bool) -> None:
    """Raise unless the arguments of ``online`` fit each other.

    Raises:
        TypeError: model is no SpikingNet.
        ValueError: a name is unknown, or two arguments do not fit.
    """
    if not isinstance(model, SpikingNet):
        raise TypeError(f"learning.online: model is a {type(model).__name__}, expected a SpikingNet: SpikingNet(net)")
    if rule not in RULES:
        raise ValueError(f"learning.online: rule={rule!r}, expected one of {', '.join(map(repr, RULES))}")
    if feedback not in FEEDBACKS:
        raise ValueError(f"learning.online: feedback={feedback!r}, expected one of {', '.join(map(repr, FEEDBACKS))}")
    if rule == "exact" and feedback == "random":
        raise ValueError("learning.online: rule='exact' differentiates the network itself; leave feedback='random' out")
    if approximate and rule != "presynaptic":
        raise ValueError(f"learning.online: approximate=True is for rule='presynaptic', and rule is {rule!r}")


def check_units(rule: str, structure: Structure, stepper: Stepper, tape: Tape, *, approximate: bool) -> frozenset[str]:
    """Raise unless a rule can give the weights of a network their gradients.

    Returns:
        The paths of the layers whose leak is no constant, and which "presynaptic" approximates.

    Raises:
        ValueError: a layer delays its input, weights reach a layer in a way that has no trace, or a step has none.
    """
    if rule != "last_step":
        _check_tensors(rule, stepper, tape)
    if rule == "exact":
        return frozenset()
    for path, layer in stepper.layers.items():
        if isinstance(layer, Delay):
            raise ValueError(
                f"learning.online: layer {path} delays its input, and rule={rule!r} passes no gradient through the "
                f"past of another layer, so that nothing below it would learn. {_OTHERS}"
            )
    if rule == "last_step":
        return frozenset()
    for unit in structure.units:
        if unit.is_trained and type(unit.layer).forward is not StepLayer.forward:
            raise ValueError(
                f"learning.online: layer {unit} has a forward of its own, and rule={rule!r} derives traces from a step "
                f"with one input. {_OTHERS}"
            )
        check_ways(unit, unit.others, stepper.model)
    seen = {unit: moment_at_rest(unit.layer, tape) for unit in structure.units if unit.is_trained}
    for unit, each in seen.items():
        if not is_elementwise(each.step, each.state, each.z):
            raise ValueError(
                f"learning.online: the step of layer {unit} mixes neurons, and rule={rule!r} has traces for each "
                "neuron's own state alone. Use rule='exact' or rule='last_step'"
            )
    if rule == "diagonal":
        for unit, each in seen.items():
            _check_own(unit, each)
        return frozenset()
    # a parameter with an entry for each neuron drifts apart in training
    drifting = {unit for unit in seen if any(each.numel() > 1 for each in unit.own.values())}
    changing = [
        unit
        for unit, each in seen.items()
        if unit in drifting or not leak_is_constant(each.step, each.state, each.z, {})
    ]
    if changing and not approximate:
        raise ValueError(NO_LEAK.format(changing[0]))
    return frozenset(unit.path for unit in changing)


def _check_own(unit: Unit, seen: Moment) -> None:
    """Raise unless each neuron depends on its own entry of the neurons' parameters alone."""
    for name, value in unit.own.items():

        def by_entry(_: Any, entries: Tensor, name: str = name) -> Any:
            return seen.step(seen.state, seen.z, own={name: entries})

        if not is_elementwise(by_entry, (), value.detach().expand_as(seen.z)):
            raise ValueError(
                f"learning.online: each neuron of layer {unit} depends on all entries of {name}, and rule='diagonal' "
                f"has a trace for each neuron's own. {_OTHERS}"
            )


def _check_tensors(rule: str, stepper: Stepper, tape: Tape) -> None:
    tensors = {**tape.after, **dict(stepper.model.named_parameters())}
    found = [name.removeprefix("net.") for name, each in tensors.items() if each.is_complex() and each.requires_grad]
    if found:
        raise ValueError(f"learning.online: {found[0]} is complex, and rule={rule!r} takes floats. Make it two")
    for name, each in stepper.model.named_parameters():
        if each.requires_grad and getattr(each, "_post_accumulate_grad_hooks", None):
            raise ValueError(
                f"learning.online: {name.removeprefix('net.')} has a hook for when its gradient has accumulated, and "
                f"rule={rule!r} adds the gradient of a step in several parts. Call the optimizer after backward()"
            )


def moment_at_rest(layer: Any, tape: Tape) -> Moment:
    """Return what the neurons of a layer saw in a step at rest."""
    z: Tensor = tape.inputs[layer].detach()
    with torch.no_grad():
        return Moment.of(layer, layer.initial_state(z), z, True, True)


def check_repeats(
    rule: str, structure: Structure, tape: Tape, elementwise: frozenset[StatefulLayer], stepper: Stepper
) -> None:
    """Raise unless what traces compute again after a step is what the step has computed."""
    for unit in structure.units if rule != "last_step" else ():
        layer: Any = unit.layer
        linearized = rule == "diagonal" and layer in elementwise and not unit.own
        trail = Trail()
        contents: Any = None
        for _ in range(2 if unit.is_trained else 0):
            contents = Contents(modules_of(stepper.net), (stepper.model, ()))
            trail.note(layer, "weights", [(each.module.weight, each.module.bias) for each, _ in unit.all_synapses])
            if not linearized:
                seen = moment_at_rest(layer, tape)
                trail.note(layer, "neurons", layer.whole_step()[1], seen.state, seen.step(seen.state, seen.z))
        half = len(trail.notes) // 2
        if trail.notes[:half] != trail.notes[half:] or (half and contents.changed()):
            raise ValueError(
                f"learning.online: parameters or weights of layer {unit} draw random numbers or count their calls, and "
                f"rule={rule!r} computes them again after a step. {_OTHERS}"
            )


def elementwise_layers(structure: Structure, tape: Tape, *, of_states: bool) -> frozenset[StatefulLayer]:
    """Return the layers without recurrence whose derivatives a kernel computes along with their step.

    Args:
        structure: of the network.
        tape: of a step at rest.
        of_states: whether the derivatives of the next state are needed.
    """
    found: list[StatefulLayer] = []
    for unit in structure.units:
        layer: Any = unit.layer
        own = not isinstance(layer, StepLayer) or layer.runs_own_step or type(layer).forward is not StepLayer.forward
        if own or layer.synapse is not None:
            continue
        seen = moment_at_rest(layer, tape)
        step, params = layer._returning()
        xs, linearized = seen.z.unsqueeze(0), cached_step(Linearized, step, of_states)
        if not (layer.is_pointwise or is_elementwise(seen.step, seen.state, seen.z)):
            continue
        with torch.no_grad():
            if F.explain_scan(linearized, seen.state, xs, params=params).backend == "fused":
                found.append(layer)
    return frozenset(found)


def check_ways(unit: Unit, others: tuple[Tensor, ...], model: nn.Module) -> None:
    """Raise if anything trained leads to a layer in a way that has no trace."""
    if others:
        ids = {*map(id, others)}
        names = [name.removeprefix("net.") for name, each in model.named_parameters() if id(each) in ids]
        names = names or [f"a tensor of shape {tuple(each.shape)} that is no parameter" for each in others]
        raise ValueError(
            "learning.online: rules 'diagonal' and 'presynaptic' have traces for an nn.Linear or a convolution whose "
            f"result goes straight into a layer, and {', '.join(names)} reach layer {unit} in another way. Use "
            "rule='exact' or rule='last_step', or freeze them with requires_grad_(False)"
        )


class LayerGradient(NamedTuple):
    """Whether the gradient of the weights that lead to a layer is exact.

    Attributes:
        layer: path and kind of the layer; "output" for weights after the last layer with a state.
        exact: True if the gradient is that of back-propagation through time.
        left_out: what is left out; empty if it is exact.
    """

    layer: str
    exact: bool
    left_out: tuple[str, ...]


class OnlineExplanation(NamedTuple):
    """The gradients of all layers; ``str()`` of it is a table.

    Attributes:
        rule: the rule.
        layers: the layers, in the order of their calls.
    """

    rule: str
    layers: tuple[LayerGradient, ...]

    def __str__(self) -> str:
        width = max((len(each.layer) for each in self.layers), default=0)
        rows = [
            f"  {each.layer:{width}}  {'exact' if each.exact else 'leaves out ' + '; '.join(each.left_out)}"
            for each in self.layers
        ]
        return "\n".join([f"rule={self.rule!r}", *rows])


def explained(rule: str, feedback: str, structure: Structure, approximated: frozenset[str]) -> OnlineExplanation:
    """Return what a rule leaves out of the gradient of each layer of a network."""
    last = structure.units[-1].path if structure.units else ""
    layers = []
    for unit in structure.units:
        left_out = _left_out(rule, unit, approximated)
        if feedback == "random" and unit.path != last and rule != "exact":
            left_out = (*left_out, "the weights of the layers above (random feedback)")
        layers.append(LayerGradient(str(unit), not left_out, left_out))
    if structure.readout:
        layers.append(LayerGradient("output", True, ()))
    return OnlineExplanation(rule, tuple(layers))


def _left_out(rule: str, unit: Unit, approximated: frozenset[str]) -> tuple[str, ...]:
    if rule == "exact":
        return ()
    found = []
    if rule == "last_step":
        found.append("all steps before the last one")
    else:
        if unit.is_recurrent:
            found.append("the past through recurrent spikes")
        if unit.above:
            found.append(f"the past through the state of {', '.join(unit.above)}")
    if rule == "presynaptic":
        if unit.path in approximated:
            found.append("the change of the leak with the state")
        if unit.own:
            found.append(f"the past of {', '.join(unit.own)}")
    return tuple(found)
