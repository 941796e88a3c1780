"""Which weights of a network lead to which layers, what a rule can do with them, and what it leaves out."""

from collections.abc import Container
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.eligibility import Linearized, is_elementwise, leak_is_constant
from spikingtorch.functional.recurrent import delayed_dense
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.neurons.synapses import Delay
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.learning.online_step import Before, Moment, Outward, Stepper, Tape
from spikingtorch.learning.online_synapses import Product, Synapses, leaves_behind, synapses_of
from spikingtorch.spikingnet.contents import Contents
from spikingtorch.spikingnet.trail import Trail

NO_LEAK = (
    "learning.online: rule='presynaptic' is exact only if the leak of all neurons of a layer is one constant, and that "
    "of layer {} depends on its state or on the neuron. Take reset=detached(by_subtraction) and one time constant, or "
    "rule='diagonal', or pass approximate=True"
)
_OTHERS = "Use rule='exact', or train with back-propagation through time"


class Unit(NamedTuple):
    """A layer with a state, and what leads to it."""

    path: str  # of the layer in the network
    layer: StatefulLayer
    # the ``nn.Linear`` or convolution whose product is the input of the layer; None if there is none
    synapses: Synapses | None
    is_fed: bool  # whether weights between the layers below and this one are trained
    # trained tensors that lead to this one in another way than as the weights of its synapses
    others: tuple[Tensor, ...]
    # paths of the layers with a state whose input depends on this layer's output at the same step
    above: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path} ({type(self.layer).__name__})" if self.path else type(self.layer).__name__

    @property
    def is_trained(self) -> bool:
        """Whether weights that lead to the layer, or its own parameters, are trained."""
        return self.is_fed or any(each.requires_grad for each in self.layer.parameters())

    @property
    def own(self) -> dict[str, nn.Parameter]:
        """The trained parameters of the neurons, such as time constants; recurrent weights are not among them."""
        found = self.layer.named_parameters()
        return {name: each for name, each in found if each.requires_grad and name.split(".")[0] != "recurrent"}

    @property
    def all_synapses(self) -> list[tuple[Synapses, bool]]:
        """The synapses that lead to the layer, and whether its input feeds them; else its own spikes do."""
        found = [] if self.synapses is None else [(self.synapses, True)]
        recurrent = getattr(self.layer, "recurrent", None)
        if isinstance(recurrent, nn.Module) and (synapses := synapses_of(recurrent)) is not None:
            found.append((synapses, False))
        return found


def units_of(stepper: Stepper, x: Tensor, before: Before) -> tuple[tuple[Unit, ...], Tape]:
    """Return the units in the order of their calls, and a step at rest in which no layer passes gradients on."""
    handed: dict[StatefulLayer, list[Tensor]] = {}
    paths = {layer: path for path, layer in stepper.layers.items()}

    def outward(layer: StatefulLayer, out: Any) -> Any:
        passed = tree_map(lambda leaf: leaf.detach().requires_grad_(), out)
        handed[layer] = leaves_of(passed)
        return passed

    tape = _rehearsed(stepper, x, outward, before)
    cut = {id(leaf): layer for layer, leaves in handed.items() for leaf in leaves}
    behind = {layer: leaves_behind(z) for layer, z in tape.inputs.items()}

    def of(layer: StatefulLayer, z: Any) -> Unit:
        product = next((each for each in tape.products.values() if each and each.is_given(z)), None)
        is_fed = any(id(leaf) not in cut for leaf in behind[layer])
        above = [paths[up] for up, leaves in behind.items() if any(cut.get(id(leaf)) is layer for leaf in leaves)]
        synapses = None if product is None else synapses_of(product.module)
        return Unit(paths[layer], layer, synapses, is_fed, others_behind(z, product, cut), tuple(above))

    return tuple(of(layer, z) for layer, z in tape.inputs.items()), tape


def _rehearsed(stepper: Stepper, x: Tensor, outward: Outward, before: Before) -> Tape:
    """Run a step at rest twice and leave the network as it was; raise RuntimeError if the two runs differ."""

    def trial(trail: Trail) -> Tape:
        tape = stepper.run(None, x, True, outward, trail)
        before.put_back()
        if (found := before.contents.overwritten()) is not None:
            raise RuntimeError(
                f"learning.online: a step writes on {found[0]}, a tensor of shape {tuple(found[1].shape)} that is "
                f"no buffer, and trial steps changed it. Register it: self.register_buffer({found[0]!r}, tensor)"
            )
        return tape

    trails = Trail(), Trail()
    tape = [trial(trail) for trail in trails][1]
    trails[0].check(trails[1], stepper.net, "learning.online: it has run a step twice to find what leads to each layer")
    return tape


def others_behind(z: Any, product: Product | None, known: Container[int]) -> tuple[Tensor, ...]:
    """Return the trained tensors that lead to a layer in another way than as the weights of its synapses.

    ``known`` are the ids of what the layers below have handed on.
    """
    return tuple(each for each in leaves_behind(z if product is None else product.x) if id(each) not in known)


def check_units(
    rule: str, units: tuple[Unit, ...], stepper: Stepper, tape: Tape, *, approximate: bool
) -> frozenset[str]:
    """Raise unless a rule can give the weights of a network their gradients.

    Returns:
        The paths of the layers whose leak is no constant, and which "presynaptic" approximates.
    """
    if rule != "last_step":
        _check_tensors(rule, stepper, tape)
    if rule == "exact":
        return frozenset()
    for path, layer in stepper.layers.items():
        late = "its spikes" if getattr(layer, "synapse", None) is delayed_dense else "its input"
        if isinstance(layer, Delay | DelayedLinear) or late == "its spikes":
            raise ValueError(
                f"learning.online: layer {path} delays {late}, and rule={rule!r} passes no gradient through the "
                f"past of another layer, so that nothing below it would learn. {_OTHERS}"
            )
    if rule == "last_step":
        return frozenset()
    for unit in units:
        if unit.is_trained and type(unit.layer).forward is not StepLayer.forward:
            raise ValueError(
                f"learning.online: layer {unit} has a forward of its own, and rule={rule!r} derives traces from a step "
                f"with one input. {_OTHERS}"
            )
        check_ways(unit, unit.others, stepper.model)
    seen = {unit: moment_at_rest(unit.layer, tape) for unit in units if unit.is_trained}
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
    rule: str, units: tuple[Unit, ...], tape: Tape, elementwise: frozenset[StatefulLayer], stepper: Stepper
) -> None:
    """Raise unless what traces compute again after a step is what the step has computed."""
    for unit in units if rule != "last_step" else ():
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


def elementwise_layers(units: tuple[Unit, ...], tape: Tape, *, of_states: bool) -> frozenset[StatefulLayer]:
    """Return the layers without recurrence whose derivatives, of outputs or also of states, a kernel computes."""
    found: list[StatefulLayer] = []
    for unit in units:
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


def left_out(rule: str, unit: Unit, approximated: frozenset[str]) -> list[str]:
    """Return what a rule leaves out of the gradient of a layer; "presynaptic" approximates the leak of some."""
    found: list[str] = []
    if rule == "exact":
        return found
    if rule == "last_step":
        found.append("all steps before the last one")
    else:
        if getattr(unit.layer, "synapse", None) is not None:
            found.append("the past through recurrent spikes")
        if unit.above:
            found.append(f"the past through the state of {', '.join(unit.above)}")
    if rule == "presynaptic":
        if unit.path in approximated:
            found.append("the change of the leak with the state")
        if unit.own:
            found.append(f"the past of {', '.join(unit.own)}")
    return found
