"""Online learning: gradients that run forward in time beside the network."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.learning.online_checks import check_arguments, check_units
from spikingtorch.learning.online_exact import Exact
from spikingtorch.learning.online_explain import OnlineExplanation, explained
from spikingtorch.learning.online_step import Memories, Stepper, Tape
from spikingtorch.learning.online_traces import LeakAtRest, Traces, own_partials, per_input, per_synapse
from spikingtorch.learning.online_units import Structure, structure_of
from spikingtorch.spikingnet import SpikingNet

Rule = Literal["exact", "diagonal", "presynaptic", "last_step"]
Feedback = Literal["symmetric", "random"]


class _Influence(Protocol):
    """The part of a gradient that comes from the past: what the weights have done to the state."""

    def reset(self) -> None:
        """Forget the past."""

    def advance(self, tape: Tape) -> None:
        """Move on by one step."""

    def add(self, signals: dict[str, Tensor]) -> None:
        """Add the gradient through the state before the last step to ``.grad``."""


def online(
    model: SpikingNet,
    rule: Rule = "diagonal",
    *,
    feedback: Feedback = "symmetric",
    approximate: bool = False,
    seed: int = 0,
) -> "OnlineLearner":
    """Return a learner that runs a network step by step and computes gradients on the way.

    Memory does not depend on the number of steps. With h the state of the network and w a weight,

        dL[t]/dw = (dL[t]/dw with h[t-1] fixed) + (dL[t]/dh[t-1]) dh[t-1]/dw

    The first term is back-propagation through one step. The rules differ in how much of dh[t-1]/dw they keep:

    - "exact": all of it (real-time recurrent learning). The gradient is that of back-propagation through time. A step
      costs (numbers of the state)^2 x weights products: for at most about 64 neurons a layer.
    - "diagonal": what a weight does to its own neuron (e-prop). It leaves out the way through the states of layers
      above and through recurrent spikes. It keeps a trace for each synapse and sample.
    - "presynaptic": the same with one trace for each input (OTTT). It needs one constant leak for all neurons of a
      layer, as with ``reset=detached(by_subtraction)``. Parameters of neurons, such as time constants, get the first
      term alone.
    - "last_step": nothing (SLTT). It leaves out all that the weights did before step t.

    Args:
        model: the network. The learner uses its weights and leaves its state alone.
        rule: "exact", "diagonal", "presynaptic" or "last_step".
        feedback: the signal dL[t]/dh of the layers below the last one. "symmetric": back-propagation through the layers
            above, at step t alone. "random": fixed random weights from the output to each layer; "exact" takes none.
        approximate: allow "presynaptic" for neurons whose leak is no constant; their leak at rest is taken.
        seed: of the random feedback.

    Raises:
        TypeError: model is no SpikingNet.
        ValueError: there is no such rule or feedback, or they do not fit the network; ``step`` says so.

    Sources: R. J. Williams, D. Zipser (1989), doi:10.1162/neco.1989.1.2.270; G. Bellec et al. (2020),
    doi:10.1038/s41467-020-17236-y; M. Xiao et al., arXiv:2210.04195; Q. Meng et al., arXiv:2302.14311.

    >>> from torch import nn
    >>> from spikingtorch import LI, LIF
    >>> _ = torch.manual_seed(0)
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 8), LIF(tau=4.0), nn.Linear(8, 2), LI(tau=4.0)))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    >>> learner = online(model, rule="diagonal")
    >>> for x in torch.rand(20, 5, 3):  # steps, samples, features
    ...     out = learner.step(x)
    ...     learner.backward((out - 0.5).square().mean())
    >>> optimizer.step()
    """
    check_arguments(model, rule, feedback, approximate)
    return OnlineLearner(model, rule, feedback=feedback, approximate=approximate, seed=seed)


class OnlineLearner:
    """Runs a network step by step and adds gradients to ``.grad``; made by ``online``."""

    def __init__(self, model: SpikingNet, rule: Rule, *, feedback: Feedback, approximate: bool, seed: int) -> None:
        self.model = model
        self.rule: Rule = rule
        self.feedback: Feedback = feedback
        self.approximate = approximate
        self._stepper = Stepper(model, repeats=rule == "exact")
        self._numbers = torch.Generator().manual_seed(seed)
        self._random: dict[str, Tensor] = {}
        self._structure: Structure | None = None
        self._approximated: frozenset[str] = frozenset()
        self._influence: _Influence | None = None
        self._memories: Memories | None = None
        self._tape: Tape | None = None
        self._given: Any = None

    def step(self, x: Tensor, init: bool | Tensor | None = None) -> Any:
        """Advance one step and return the output, a leaf of the graph of your loss.

        Args:
            x: input of one step, shape (N, ...).
            init: True to start a new sequence; a bool tensor (N,), True for samples that start one. If it is left out,
                the first call starts a sequence and others continue it.

        Raises:
            ValueError: the rule does not fit the network, or the network's errors.
        """
        structure = self._known(x)
        start = True if self._memories is None else (False if init is None else init)
        if start is True:
            self.reset()
        influence = self._influence
        with torch.enable_grad():
            tape = self._stepper.run(self._memories, x, start, self._outward(structure))
        if influence is not None:
            with torch.no_grad():
                influence.advance(tape)
        self._memories, self._tape = tape.memories, tape
        self._given = tree_map(self._boundary, tape.out)
        return self._given

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss of the last step's output to ``.grad`` of the weights.

        Several losses of one step add up. Weights outside of the network that the loss depends on get theirs as well.

        Raises:
            RuntimeError: there has been no step, or the loss depends on the output of an earlier step.
        """
        tape = self._tape
        if tape is None:
            raise RuntimeError("learning.online: backward() came before step(); call out = learner.step(x) first")
        given = leaves_of(self._given)
        loss.backward()
        grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in given]
        for leaf in given:
            leaf.grad = None
        self._propagate(tape, grads)

    def _propagate(self, tape: Tape, grads: list[Tensor]) -> None:
        """Add the gradient of the step, and that of the past through the state before it."""
        outs = [(out, grad) for out, grad in zip(leaves_of(tape.out), grads, strict=True) if out.requires_grad]
        outs += self._random_signals(tape, grads)
        weights = [each for each in self.model.parameters() if each.requires_grad]
        state = {name: leaf for name, leaf in (tape.state or {}).items() if leaf.requires_grad}
        asked = [*weights, *state.values()]
        if not outs or not asked:
            return
        found = torch.autograd.grad(
            [out for out, _ in outs], asked, [grad for _, grad in outs], retain_graph=True, allow_unused=True
        )
        for weight, grad in zip(weights, found, strict=False):
            if grad is not None:
                weight.grad = grad if weight.grad is None else weight.grad + grad
        signals = {name: grad for name, grad in zip(state, found[len(weights) :], strict=True) if grad is not None}
        if self._influence is not None and signals:
            self._influence.add(signals)

    def reset(self) -> None:
        """Forget state and traces: the next step starts a new sequence."""
        self._memories = self._tape = self._given = None
        if self._influence is not None:
            self._influence.reset()

    def explain(self, x: Tensor | None = None) -> OnlineExplanation:
        """Return, for each layer, whether its gradient is that of back-propagation through time, and what is left out.

        Args:
            x: input of one step, needed before the first call of ``step``.

        Raises:
            ValueError: no step has run and x is not given.
        """
        if x is None and self._structure is None:
            raise ValueError("learning.online: explain() has seen no step yet; pass the input of one: explain(x)")
        structure = self._structure if x is None else self._known(x)
        assert structure is not None
        return explained(self.rule, self.feedback, structure, self._approximated)

    @property
    def state(self) -> Mapping[str, Tensor] | None:
        """The state of the network after the last step, as ``model.set_state`` takes it; None before the first step."""
        return None if self._tape is None else {name: leaf.detach() for name, leaf in self._tape.after.items()}

    def _known(self, x: Tensor) -> Structure:
        if self._structure is None:
            structure, tape = structure_of(self._stepper, x)
            self._approximated = check_units(self.rule, structure, self._stepper, tape, approximate=self.approximate)
            self._structure, self._influence = structure, self._made(structure)
        return self._structure

    def _made(self, structure: Structure) -> _Influence | None:
        if self.rule == "exact":
            return Exact(self._stepper)
        if self.rule == "diagonal":
            return Traces(structure.units, per_synapse, own_partials)
        if self.rule == "presynaptic":
            return Traces(structure.units, per_input, LeakAtRest())
        return None

    def _boundary(self, out: Tensor) -> Tensor:
        """Return an output as a leaf, which says so if a later loss looks back at it."""
        leaf = out.detach()
        if not leaf.is_floating_point():
            return leaf
        leaf.requires_grad_()
        tape = self._tape

        def check(_: Tensor) -> None:
            if self._tape is not tape:
                raise RuntimeError(
                    "learning.online: the loss depends on the output of an earlier step, whose graph is gone. Detach "
                    "earlier outputs, or train with back-propagation through time"
                )

        leaf.register_hook(check)
        return leaf

    def _outward(self, structure: Structure) -> Any:
        """Return the cut between layers, if their signals are random."""
        if self.feedback == "symmetric" or not structure.units:
            return None
        last = structure.units[-1].layer

        def cut(layer: StatefulLayer, out: Any) -> Any:
            return out if layer is last else tree_map(lambda leaf: leaf.detach(), out)

        return cut

    def _random_signals(self, tape: Tape, grads: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the outputs of the layers below the last one, each with its random signal."""
        if self.feedback == "symmetric" or self._structure is None:
            return []
        error = torch.cat([grad.flatten(1) for grad in grads], dim=1)
        found = []
        for unit in self._structure.units[:-1]:
            out = leaves_of(tape.outputs[unit.layer])[0]
            if not out.requires_grad:
                continue
            size = out[0].numel()
            if unit.path not in self._random:
                drawn = torch.randn(error.shape[1], size, generator=self._numbers) / error.shape[1] ** 0.5
                self._random[unit.path] = drawn.to(error)
            found.append((out, (error @ self._random[unit.path]).reshape(out.shape)))
        return found
