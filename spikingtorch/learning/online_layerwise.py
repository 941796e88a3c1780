"""Gradients of a step, layer by layer: rules "diagonal", "presynaptic" and "last_step".

Each layer keeps its derivatives, so that no graph of autograd goes through neurons: it hands a leaf of the graph on to
the layers above. The gradient of a loss reaches the leaves of the last layers first. Each layer, the last one first,
turns it into the gradient of its input and of its state before the step. A kernel of the step has computed both
derivatives along with the step, or autograd computes them. What leads from the layers below to the input is left to
autograd, but for an ``nn.Linear``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.core.precision import lift, rounded, without_autocast
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.eligibility import Linearized, floating
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.checkpoint import region
from spikingtorch.layers.frame import frame_of
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.learning.online_rules import Unit
from spikingtorch.learning.online_step import TWICE, Memories, Moment, Products, Stepper, leaf_of
from spikingtorch.learning.online_synapses import pass_on, with_graph
from spikingtorch.learning.online_traces import Local, Traces


class Layerwise:
    """Runs a network step by step; a loss reaches the layers above first, at this step alone.

    Args:
        stepper: runs the network.
        units: its layers, and what leads to them.
        rule: "diagonal", "presynaptic" or "last_step".
        elementwise: the layers whose derivatives a kernel computes.
        seed: of random weights from the output to the layers below the last one; None for symmetric feedback.
        approximate: whether the leak of "presynaptic" may be no constant.
    """

    def __init__(
        self,
        stepper: Stepper,
        units: tuple[Unit, ...],
        rule: str,
        elementwise: frozenset[StatefulLayer],
        seed: int | None,
        approximate: bool,
    ) -> None:
        self.stepper, self.elementwise = stepper, elementwise
        self._numbers = None if seed is None else torch.Generator().manual_seed(seed)
        self._feedback: dict[str, Tensor] = {}  # the random weights of each layer
        self.units: dict[StatefulLayer, Unit] = {unit.layer: unit for unit in units}
        self.dense, self.traced = rule == "diagonal", rule != "last_step"
        traced = units if self.traced else ()
        self.traces = Traces(stepper.model, traced, dense=self.dense, approximate=approximate)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.memories: Memories | None = None
        self._before: Memories = {}
        self._found: dict[StatefulLayer, Local] = {}
        self._out: Any = None
        self._products: Products = {}
        self.traces.reset()

    def get_past(self) -> dict[str, Tensor]:
        """Return copies of the traces after the last step."""
        with torch.no_grad():
            return self.traces.get()

    def set_past(self, memories: Memories, past: Mapping[str, Tensor], samples: int) -> None:  # noqa: ARG002
        """Continue from memories and traces."""
        self.reset()
        if past and not self.traced:
            raise ValueError("learning.online: rule='last_step' has no traces, and the state holds some")
        self.traces.set(past)
        self.memories = memories

    def step(self, x: Tensor, init: bool | Tensor) -> Any:
        """Advance one step and return the output, with its graph from the last layers."""
        before = {} if init is True else self.memories or {}
        if self.traced and before:
            with torch.no_grad(), without_autocast(x.device):
                self.traces.advance()
        self._before, self._found = before, {}
        synapses = [unit.synapses for unit in self.units.values() if unit.synapses is not None]
        products: Products = {each.module: None for each in synapses}
        with torch.enable_grad():
            out, memories = self.stepper.run_layers(before, x, init, self._advance, products)
        found = self._found
        if new := [layer for layer in found if layer not in self.units]:
            raise ValueError(
                f"learning.online: the network calls a {type(new[0]).__name__} that it did not call in the first step, "
                "and nothing is known of it. Call all layers at each step, or take rule='exact'"
            )
        if self.traced:
            with torch.no_grad(), without_autocast(x.device):
                self.traces.note(found, products, fresh=init is True)
        self._out, self._products = out, products  # a step that fails does not come here
        self.memories = {layer: each if layer in found else layer._cut(each) for layer, each in memories.items()}
        return out

    def _advance(self, layer: Any, inputs: Any, init: bool | Tensor, running: Tensor | None) -> Any:
        """Advance a layer by one step, in place of its own ``_advance_one``."""
        if region() is not None:
            raise ValueError(
                "learning.online: the network runs layers inside checkpoint, which runs them again in a backward pass "
                "that an online rule does not have. Leave checkpoint out"
            )
        if layer.memoryless:
            return layer._advance_one(inputs, init, running)
        if layer in self._found:
            raise ValueError(TWICE.format(f"a {type(layer).__name__}"))
        frame = frame_of(layer)
        assert frame is not None
        if init is not frame.init:
            raise ValueError(
                f"learning.online: the network hands a {type(layer).__name__} another init than the step got, and its "
                "traces do not follow it. Pass init on as it is, or take rule='exact'"
            )
        starts = init is True or frame.memories.get(layer) is None
        if not starts and frame.memories[layer] is not self._before.get(layer):
            raise ValueError(
                f"learning.online: the network sets the state of a {type(layer).__name__} within a step, and its "
                "traces do not follow it. Start a new sequence there, or take rule='exact'"
            )
        if layer in self.elementwise and not any([each.requires_grad for each in layer.parameters()]):
            return self._linearized(layer, inputs, init, starts)
        return self._recorded(layer, inputs, init, running, starts)

    def _linearized(self, layer: Any, x: Tensor, init: bool | Tensor, starts: bool) -> Any:
        """Advance a layer whose derivatives come with its step."""
        step, params = layer._returning()
        if any([isinstance(each, Tensor) and each.requires_grad for each in params.values()]):
            return self._recorded(layer, x, init, None, starts)  # trained, and yet no parameter of the layer
        with torch.no_grad():
            first = layer._check_inputs(x.detach())
            memory = layer._start(first, init)
            layer._starts(memory, params, first)
            linearized = cached_step(Linearized, step, self.dense)
            xs = lift(first).unsqueeze(0)
            state, (out, of_out, of_state) = F.scan(linearized, memory.state, xs, params=params)
            out = tree_map(lambda leaf: leaf.squeeze(0), out)
            layer._remember(memory, state, layer._spikes(out), layer._spikes(out))
        handed = tree_map(leaf_of, rounded(out, first.dtype))
        moment = Moment(layer, memory.state, first, None, init, starts, params)
        self._found[layer] = Local(moment, x, leaves_of(handed), [], [], of_out, of_state, x._version)
        return handed

    def _recorded(self, layer: Any, inputs: Any, init: bool | Tensor, running: Tensor | None, starts: bool) -> Any:
        """Advance a layer that autograd differentiates, from a state that requires gradients."""
        first, frame = leaves_of(inputs)[0], frame_of(layer)
        moment, version = Moment(layer, None, first, None, init, starts), first._version
        assert frame is not None
        leaves: list[Tensor] = []
        if not starts:
            known: Memory = frame.memories[layer]
            state = tree_map(leaf_of, known.state)
            if getattr(layer, "synapse", None) is not None:
                state = state._replace(s=state.s.detach())  # the past through recurrent spikes is left out
            leaves = [leaf for leaf in floating(state)[0] if leaf.requires_grad]
            frame.memories[layer] = known._replace(state=state)
        if isinstance(layer, StepLayer) and not layer.runs_own_step:
            memory = frame.memories[layer] = layer._start(first, init)
            if self.traced:
                moment = Moment.of(layer, memory.state, first, init, starts)
            out = layer._advance_one(inputs, False, running)
        else:
            out = layer._advance_one(inputs, init, running)
        frame.memories[layer] = layer._cut(frame.memories[layer])
        handed = tree_map(leaf_of, out)
        self._found[layer] = Local(moment, inputs, floating(handed)[0], floating(out)[0], leaves, version=version)
        return handed

    def backward(self, grads: list[Tensor]) -> None:
        """Add the gradient of a loss to ``.grad``, from its gradients by the outputs of the step."""
        if not grads:
            return
        with torch.no_grad(), without_autocast(grads[0].device):
            pass_on(with_graph(self._out, grads))
            whole = torch.cat([grad.flatten(1) for grad in grads], dim=1) if self._numbers else None
            last = next(reversed(self.units), None)
            for layer, local in reversed(self._found.items()):
                found = [leaf.grad for leaf in local.outs]
                for leaf in local.outs:
                    leaf.grad = None
                if whole is not None and layer is not last and local.outs:
                    signal = self._fed_back(self.units[layer], whole, local.outs[0])
                    found = [signal, *[None] * (len(found) - 1)]
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
        if of_state is not None:
            self.traces.add(unit, of_state)

    def _fed_back(self, unit: Unit, error: Tensor, out: Tensor) -> Tensor:
        """Return the signal for an output of a layer: the output's gradients (N, sizes) times fixed random weights."""
        if unit.path not in self._feedback:
            drawn = torch.randn(error.shape[1], out[0].numel(), generator=self._numbers) / error.shape[1] ** 0.5
            self._feedback[unit.path] = drawn.to(error)
        return (error @ self._feedback[unit.path]).reshape(out.shape)
