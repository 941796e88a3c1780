"""Units of a network for online rules: a layer with a state, and the synapses that lead to it."""

from collections.abc import Container
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.learning.online_gradients import Product, leaves_behind
from spikingtorch.learning.online_step import Stepper, Tape
from spikingtorch.learning.online_synapses import Synapses, synapses_of
from spikingtorch.learning.online_trial import Before


class Unit(NamedTuple):
    """A layer with a state, and what leads to it.

    Attributes:
        path: path of the layer in the network.
        layer: the layer.
        synapses: the ``nn.Linear`` or convolution whose product is the input of the layer; None if there is none.
        is_fed: whether weights between the layers below and this one are trained.
        others: trained tensors that lead to this one in another way than as the weights of its synapses.
        above: paths of the layers with a state whose input depends on this layer's output at the same step.
    """

    path: str
    layer: StatefulLayer
    synapses: Synapses | None
    is_fed: bool
    others: tuple[Tensor, ...]
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


def structure_of(stepper: Stepper, x: Tensor, before: Before) -> tuple[Structure, Tape]:
    """Return the structure of a network, and the step that shows it: at rest, and no layer passes gradients on."""
    handed: dict[StatefulLayer, list[Tensor]] = {}
    paths = {layer: path for path, layer in stepper.layers.items()}

    def outward(layer: StatefulLayer, out: Any) -> Any:
        passed = tree_map(lambda leaf: leaf.detach().requires_grad_(), out)
        handed[layer] = leaves_of(passed)
        return passed

    with torch.enable_grad():
        tape = stepper.rehearse(x, outward, before)
    cut = {id(leaf): layer for layer, leaves in handed.items() for leaf in leaves}
    behind = {layer: leaves_behind(z) for layer, z in tape.inputs.items()}

    def of(layer: StatefulLayer, z: Any) -> Unit:
        product = next((each for each in tape.products.values() if each and each.is_given(z)), None)
        is_fed = any(id(leaf) not in cut for leaf in behind[layer])
        above = [paths[up] for up, leaves in behind.items() if any(cut.get(id(leaf)) is layer for leaf in leaves)]
        synapses = None if product is None else synapses_of(product.module)
        return Unit(paths[layer], layer, synapses, is_fed, others_behind(z, product, cut), tuple(above))

    readout = {*map(id, leaves_behind(tape.out))}
    names = tuple(name for name, each in stepper.model.named_parameters() if id(each) in readout)
    return Structure(tuple(of(layer, z) for layer, z in tape.inputs.items()), names), tape


def others_behind(z: Any, product: Product | None, known: Container[int]) -> tuple[Tensor, ...]:
    """Return the trained tensors that lead to a layer in another way than as the weights of its synapses.

    Args:
        z: the input of the layer.
        product: of its synapses, if it has any.
        known: the ids of what the layers below have handed on.
    """
    return tuple(each for each in leaves_behind(z if product is None else product.x) if id(each) not in known)
