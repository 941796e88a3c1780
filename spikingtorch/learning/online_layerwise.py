"""Gradients of a step, layer by layer: rules "diagonal", "presynaptic" and "last_step"."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.learning.online_gradients import pass_on
from spikingtorch.learning.online_layers import LayerSteps, Local
from spikingtorch.learning.online_step import Memories, Products, Stepper
from spikingtorch.learning.online_traces import LeakAtRest, Traces, own_partials, traced_weights
from spikingtorch.learning.online_units import Structure, Unit


class Layerwise:
    """Runs a network step by step; a loss reaches the layers above first, at this step alone.

    Args:
        stepper: runs the network.
        structure: its layers, and what leads to them.
        rule: "diagonal", "presynaptic" or "last_step".
        elementwise: the layers whose derivatives a kernel computes.
        feedback: random weights from the output to the layers below the last one; None for symmetric feedback.
        approximate: whether the leak of "presynaptic" may be no constant.
    """

    def __init__(
        self,
        stepper: Stepper,
        structure: Structure,
        rule: str,
        elementwise: frozenset[StatefulLayer],
        feedback: "RandomFeedback | None",
        approximate: bool,
    ) -> None:
        self.stepper = stepper
        self.structure = structure
        self.feedback = feedback
        self.units: dict[StatefulLayer, Unit] = {unit.layer: unit for unit in structure.units}
        self.steps = LayerSteps(elementwise, rule)
        self.traces: Traces | None = None
        if rule != "last_step":
            dense = rule == "diagonal"
            of_neurons = own_partials if dense else LeakAtRest(approximate)
            self.traces = Traces(stepper.model, structure.units, partial(traced_weights, dense), of_neurons)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.memories: Memories | None = None
        self._out: Any = None
        self._products: Products = {}
        self.steps.begin({})
        if self.traces is not None:
            self.traces.reset()

    def get_past(self) -> dict[str, Tensor]:
        """Return copies of the traces after the last step."""
        with torch.no_grad():
            return {} if self.traces is None else self.traces.get()

    def set_past(self, memories: Memories, past: Mapping[str, Tensor], samples: int) -> None:  # noqa: ARG002
        """Continue from memories and traces."""
        self.reset()
        if self.traces is not None:
            self.traces.set(past)
        elif past:
            raise ValueError("learning.online: rule='last_step' has no traces, and the state holds some")
        self.memories = memories

    def step(self, x: Tensor, init: bool | Tensor) -> Any:
        """Advance one step and return the output, with its graph from the last layers."""
        before = {} if init is True else self.memories or {}
        if self.traces is not None and before:
            with torch.no_grad(), without_autocast(x.device):
                self.traces.advance()
        self.steps.begin(before)
        products: Products = {unit.synapses.module: None for unit in self.structure.units if unit.synapses is not None}
        with torch.enable_grad():
            out, memories = self.stepper.run_layers(before, x, init, self.steps.advance, products)
        found = self.steps.found
        if new := [layer for layer in found if layer not in self.units]:
            raise ValueError(
                f"learning.online: the network calls a {type(new[0]).__name__} that it did not call in the first step, "
                "and nothing is known of it. Call all layers at each step, or take rule='exact'"
            )
        if self.traces is not None:
            with torch.no_grad(), without_autocast(x.device):
                self.traces.note(found, products, fresh=init is True)
        self._out, self._products = out, products  # a step that fails does not come here
        self.memories = {layer: each if layer in found else layer._cut(each) for layer, each in memories.items()}
        return out

    def backward(self, grads: list[Tensor]) -> None:
        """Add the gradient of a loss to ``.grad``, from its gradients by the outputs of the step."""
        if grads:
            with torch.no_grad(), without_autocast(grads[0].device):
                self._backward(grads)

    def _backward(self, grads: list[Tensor]) -> None:
        floats = [out for out in leaves_of(self._out) if out.is_floating_point()]
        outs = [(out, grad) for out, grad in zip(floats, grads, strict=True) if out.requires_grad]
        pass_on(outs)
        whole = None if self.feedback is None else torch.cat([grad.flatten(1) for grad in grads], dim=1)
        last = self.structure.units[-1].layer if self.structure.units else None
        for layer, local in reversed(self.steps.found.items()):
            found = [leaf.grad for leaf in local.outs]
            for leaf in local.outs:
                leaf.grad = None
            if whole is not None and self.feedback is not None and layer is not last and local.outs:
                found = [self.feedback.signal(self.units[layer], whole, local.outs[0]), *[None] * (len(found) - 1)]
            if any([grad is not None for grad in found]):
                self._pull(self.units[layer], local, found)

    def _pull(self, unit: Unit, local: Local, grads: list[Tensor | None]) -> None:
        """Add the gradients of the weights that lead to a layer, and pass on what goes to the layers below."""
        of_input, of_state = local.pull(grads)
        if of_input is not None:
            product = None if unit.synapses is None else self._products[unit.synapses.module]
            if product is not None and product.is_plain(local.z):
                product.pull(of_input)
            elif local.z.requires_grad:
                pass_on([(local.z, of_input.to(local.z.dtype))])
        if of_state is not None and self.traces is not None:
            self.traces.add(unit, of_state)


class RandomFeedback:
    """Fixed random weights from the output to each layer.

    Args:
        seed: of the weights.
    """

    def __init__(self, seed: int) -> None:
        self._numbers = torch.Generator().manual_seed(seed)
        self._weights: dict[str, Tensor] = {}

    def signal(self, unit: Unit, error: Tensor, out: Tensor) -> Tensor:
        """Return the signal for an output of a layer, from the gradients of the network's output, (N, sizes)."""
        size = out[0].numel()
        if unit.path not in self._weights:
            drawn = torch.randn(error.shape[1], size, generator=self._numbers) / error.shape[1] ** 0.5
            self._weights[unit.path] = drawn.to(error)
        return (error @ self._weights[unit.path]).reshape(out.shape)
