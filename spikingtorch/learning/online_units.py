"""Units of a network for online rules: a layer with a state, and the synapses that lead to it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.learning.online_step import Stepper, Tape
from spikingtorch.learning.online_synapses import Synapses, synapses_of


class Unit(NamedTuple):
    """A layer with a state, and what leads to it.

    Attributes:
        path: path of the layer in the network.
        layer: the layer.
        synapses: the ``nn.Linear`` or convolution whose product is the input of the layer; None if there is none.
        weights: names of the weights between the layers below and this one.
        above: paths of the layers with a state whose input depends on this layer's output at the same step.
    """

    path: str
    layer: StatefulLayer
    synapses: Synapses | None
    weights: tuple[str, ...]
    above: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path} ({type(self.layer).__name__})" if self.path else type(self.layer).__name__

    @property
    def is_trained(self) -> bool:
        """Whether weights that lead to the layer, or its own parameters, are trained."""
        return bool(self.weights) or any(each.requires_grad for each in self.layer.parameters())

    @property
    def own(self) -> dict[str, nn.Parameter]:
        """The trained parameters of the neurons, such as time constants; recurrent weights are not among them."""
        found = self.layer.named_parameters()
        return {name: each for name, each in found if each.requires_grad and name.split(".")[0] != "recurrent"}

    @property
    def is_recurrent(self) -> bool:
        """Whether spikes of the layer come back to it."""
        return getattr(self.layer, "synapse", None) is not None


class Structure(NamedTuple):
    """Which weights lead to which layers.

    Attributes:
        units: the layers with a state, in the order of their calls.
        readout: names of the weights that the output depends on through no layer with a state.
    """

    units: tuple[Unit, ...]
    readout: tuple[str, ...]


def structure_of(stepper: Stepper, x: Tensor) -> tuple[Structure, Tape]:
    """Return the structure of a network, and the step that shows it: at rest, and no layer passes gradients on."""
    cut: dict[StatefulLayer, list[Tensor]] = {}

    def outward(layer: StatefulLayer, out: Any) -> Any:
        passed = tree_map(lambda leaf: leaf.detach().requires_grad_(), out)
        cut[layer] = leaves_of(passed)
        return passed

    with torch.enable_grad():
        tape = stepper.rehearse(x, outward)
    names = {each: name for name, each in stepper.model.named_parameters() if each.requires_grad}
    paths = {layer: path for path, layer in stepper.layers.items()}
    feeds: dict[StatefulLayer, list[StatefulLayer]] = {}
    found: dict[StatefulLayer, tuple[str, ...]] = {}
    for layer, z in tape.inputs.items():
        below = [each for each in cut if each is not layer]
        weights, layers = _behind(z, list(names), {each: cut[each] for each in below})
        found[layer] = tuple(names[each] for each in weights)
        for each in layers:
            feeds.setdefault(each, []).append(layer)

    def leading_to(z: Any) -> Synapses | None:
        return next((synapses_of(each.module) for each in tape.products.values() if each and each.is_given(z)), None)

    units = tuple(
        Unit(paths[layer], layer, leading_to(z), found[layer], tuple(paths[up] for up in feeds.get(layer, ())))
        for layer, z in tape.inputs.items()
    )
    readout, _ = _behind(tape.out, list(names), {})
    return Structure(units, tuple(names[each] for each in readout)), tape


def _behind(
    result: Any, weights: list[nn.Parameter], cut: dict[StatefulLayer, list[Tensor]]
) -> tuple[list[nn.Parameter], list[StatefulLayer]]:
    """Return the weights and the layers that a result depends on."""
    total = torch.zeros(())
    for leaf in leaves_of(result):
        total = total + (leaf.sum().cpu() if leaf.is_floating_point() else 0.0)
    outputs = [(layer, leaf) for layer, leaves in cut.items() for leaf in leaves]
    if not total.requires_grad:
        return [], []
    asked = [*weights, *[leaf for _, leaf in outputs]]
    grads = torch.autograd.grad(total, asked, retain_graph=True, allow_unused=True)
    used = [each for each, grad in zip(weights, grads, strict=False) if grad is not None]
    layers = [layer for (layer, _), grad in zip(outputs, grads[len(weights) :], strict=True) if grad is not None]
    return used, list(dict.fromkeys(layers))
