"""What a rule leaves out of the gradient of each layer."""

from typing import NamedTuple

from spikingtorch.learning.online_units import Structure, Unit


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
