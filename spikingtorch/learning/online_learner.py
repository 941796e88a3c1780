"""Online learning: gradients that run forward in time beside the network."""

from collections.abc import Mapping
from functools import partial
from operator import is_
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.streams import memories_of, state_of
from spikingtorch.learning.online_exact import Exact
from spikingtorch.learning.online_layerwise import Layerwise
from spikingtorch.learning.online_rules import (
    LayerGradient,
    OnlineExplanation,
    Unit,
    check_repeats,
    check_units,
    elementwise_layers,
    left_out,
    units_of,
)
from spikingtorch.learning.online_step import Before, Stepper, undone
from spikingtorch.learning.online_synapses import leaves_behind
from spikingtorch.spikingnet import SpikingNet

Rule = Literal["exact", "diagonal", "presynaptic", "last_step"]
Feedback = Literal["symmetric", "random"]
_Way = Exact | Layerwise


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
    if not isinstance(model, SpikingNet):
        raise TypeError(f"learning.online: model is a {type(model).__name__}, expected a SpikingNet: SpikingNet(net)")
    for name, given, known in (("rule", rule, get_args(Rule)), ("feedback", feedback, get_args(Feedback))):
        if given not in known:
            raise ValueError(f"learning.online: {name}={given!r}, expected one of {', '.join(map(repr, known))}")
    if rule == "exact" and feedback == "random":
        raise ValueError("learning.online: rule='exact' differentiates the network itself; leave feedback='random' out")
    if approximate and rule != "presynaptic":
        raise ValueError(f"learning.online: approximate=True is for rule='presynaptic', and rule is {rule!r}")
    return OnlineLearner(model, rule, feedback=feedback, approximate=approximate, seed=seed)


class OnlineLearner:
    """Runs a network step by step and adds gradients to ``.grad``; made by ``online``."""

    def __init__(self, model: SpikingNet, rule: Rule, *, feedback: Feedback, approximate: bool, seed: int) -> None:
        self.model = model
        self.rule: Rule = rule
        self.feedback: Feedback = feedback
        self.approximate = approximate
        self.seed = seed
        self._stepper = Stepper(model)
        self._units: tuple[Unit, ...] | None = None
        self._has_readout = False  # whether the output depends on weights through no layer with a state
        self._approximated: frozenset[str] = frozenset()
        self._way: _Way | None = None
        self._look: list[Any] = []  # what the structure depends on
        self._given: list[Tensor] | None = None  # the floating outputs of the last step
        # the state and the past to start the next step from, if they have been set
        self._next: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None

    def step(self, x: Tensor, init: bool | Tensor | None = None) -> Any:
        """Advance one step and return the output, a leaf of the graph of your loss.

        Args:
            x: input of one step, shape (N, ...).
            init: True to start a new sequence; a bool tensor (N,), True for samples that start one. If it is left out,
                the first call starts a sequence and others continue it.

        Raises:
            ValueError: the rule does not fit the network, x has a graph, or the network's errors.
        """
        if isinstance(x, Tensor) and x.requires_grad:
            raise ValueError(
                "learning.online: x requires a gradient, which no rule passes back to what has computed it. Make that "
                "a part of the network, or pass x.detach()"
            )
        way = self._way_of(x, init is True)
        if self._next is not None:
            state, past = self._next
            way.set_past(memories_of(self._stepper.net, dict(state)), past, len(x))
            self._next = None
        start = True if way.memories is None else (False if init is None else init)
        self._given = None  # a step that fails has no outputs
        # a copy: you may write on x before the next step, when its trace is needed
        out = way.step(x.detach().clone() if isinstance(x, Tensor) else x, start)
        given: list[Tensor] = []
        found = tree_map(partial(self._boundary, given), out)
        self._given = given
        return found

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss of the last step's output to ``.grad`` of the weights.

        Several losses of one step add up. Weights outside of the network that the loss depends on get theirs as well.

        Raises:
            RuntimeError: there has been no step, weights have changed since, or the loss depends on the output of an
                earlier step.
        """
        given = self._given
        if given is None or self._way is None:
            raise RuntimeError(
                "learning.online: backward() came before step(), or after one of both that has failed; call "
                "out = learner.step(x) first"
            )
        if not self._looks_same():
            raise RuntimeError(
                "learning.online: modules, weights or steps of the network were replaced, frozen or unfrozen between "
                "step() and backward(). Change them after the last backward() of a step"
            )
        try:
            loss.backward()
            grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in given]
        finally:
            for leaf in given:
                leaf.grad = None
        self._given = None  # a backward pass that fails has added a part, and is not to add it twice
        self._way.backward(grads)
        self._given = given

    def reset(self) -> None:
        """Forget state and traces: the next step starts a new sequence."""
        self._given = self._next = None
        if self._way is not None:
            self._way.reset()

    def explain(self, x: Tensor | None = None) -> OnlineExplanation:
        """Return, for each layer, whether its gradient is that of back-propagation through time, and what is left out.

        Args:
            x: input of one step, needed before the first call of ``step``.

        Raises:
            ValueError: no step has run and x is not given.
        """
        if x is None and self._units is None:
            raise ValueError("learning.online: explain() has seen no step yet; pass the input of one: explain(x)")
        if x is not None:
            self._way_of(x, False)
        assert self._units is not None
        layers = []
        for unit in self._units:
            lost = left_out(self.rule, unit, self._approximated)
            if self.feedback == "random" and unit is not self._units[-1]:
                lost.append("the weights of the layers above (random feedback)")
            layers.append(LayerGradient(str(unit), not lost, tuple(lost)))
        if self._has_readout:
            layers.append(LayerGradient("output", True, ()))
        return OnlineExplanation(self.rule, tuple(layers))

    def get_state(self) -> dict[str, dict[str, Tensor]]:
        """Return all that the next step starts from, for ``set_state`` of a learner of the same rule and network.

        Returns:
            Copies of tensors that can be saved: the "state" of the network, as ``model.set_state`` takes it, and the
            "traces". Both are empty at rest.
        """
        if self._next is not None:
            return {"state": {**self._next[0]}, "traces": {**self._next[1]}}
        state = self.state or {}
        return {"state": {**state}, "traces": self._way.get_past() if self._way is not None and state else {}}

    def set_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Let the next step continue a sequence from a state that ``get_state`` returned, possibly in another process.

        So a stream that never ends can be saved and taken up again. The weights are not part of it: save those with
        ``model.state_dict()``. The graph of the last output is gone, so ``backward`` has to wait for the next step.

        Raises:
            ValueError: the state has other parts than "state" and "traces". The next ``step`` raises if they are those
                of another network or rule.
        """
        if {*state} != {"state", "traces"}:
            raise ValueError(
                f"learning.online: state has the parts {sorted(state)}, expected 'state' and 'traces'. Hand over what "
                "get_state() returned"
            )
        self.reset()
        if state["state"]:
            kept = [{name: each.clone() for name, each in state[part].items()} for part in ("state", "traces")]
            self._next = kept[0], kept[1]

    def __reduce__(self) -> Any:
        raise TypeError(
            "learning.online: a learner cannot be copied or pickled. Copy the model, make a learner of it, and hand "
            "over the state: copied.set_state(learner.get_state())"
        )

    @property
    def state(self) -> Mapping[str, Tensor] | None:
        """A copy of the state after the last step, as ``model.set_state`` takes it; None before the first step."""
        if self._way is None or self._way.memories is None:
            return None
        return state_of(self._stepper.net, False, self._way.memories)

    def _way_of(self, x: Tensor, starts: bool = True) -> _Way:
        """Return the rule at work; a new one for a network that has changed since its last sequence, and not in it."""
        same = self._looks_same()
        if self._way is not None and not same and not starts and self._way.memories is not None:
            raise ValueError(
                "learning.online: modules, weights or steps of the network were replaced, frozen or unfrozen within a "
                "sequence, so that traces are missing. Start a new one: step(x, init=True)"
            )
        if self._way is None or not same:
            lazy = next((name for name, each in self.model.net.named_parameters() if is_lazy(each)), None)
            if lazy is not None:
                raise ValueError(
                    f"learning.online: {lazy} has no shape yet, and is drawn in the first call of its module. Run the "
                    "model once before the first step"
                )
            self._look, self._stepper, self._way = _look_at(self.model.net), Stepper(self.model), None
            with torch.enable_grad(), undone(self.model, x.device) as before:
                self._way = self._made(x, before)
        return self._way

    def _looks_same(self) -> bool:
        look = _look_at(self.model.net)
        return len(look) == len(self._look) and all(map(is_, look, self._look))

    def _made(self, x: Tensor, before: Before) -> _Way:
        """Return the rule at work on the network as it is now."""
        units, tape = units_of(self._stepper, x, before)
        self._approximated = check_units(self.rule, units, self._stepper, tape, approximate=self.approximate)
        self._units, behind = units, {*map(id, leaves_behind(tape.out))}
        self._has_readout = any(id(each) in behind for each in self._stepper.model.parameters())
        if self.rule == "exact":
            return Exact(self._stepper)
        seed = self.seed if self.feedback == "random" else None
        elementwise = elementwise_layers(units, tape, of_states=self.rule == "diagonal")
        check_repeats(self.rule, units, tape, elementwise, self._stepper)
        return Layerwise(self._stepper, units, self.rule, elementwise, seed, self.approximate)

    def _boundary(self, given: list[Tensor], out: Tensor) -> Tensor:
        """Return an output as a leaf, which says so if a later loss looks back at it."""
        leaf = out.detach().clone()  # which you may write on
        if not leaf.is_floating_point():
            return leaf
        leaf.requires_grad_()
        given.append(leaf)

        def check(_: Tensor) -> None:
            if self._given is not given:
                raise RuntimeError(
                    "learning.online: the loss depends on the output of an earlier step, whose graph is gone. Detach "
                    "earlier outputs, or train with back-propagation through time"
                )

        leaf.register_hook(check)
        return leaf


def _look_at(net: nn.Module) -> list[Any]:
    """Return the modules and parameters of a network, which of them are trained, and the functions in its layers."""
    found: list[Any] = []
    for module in modules_of(net):
        found.append(module)
        for each in module._parameters.values():
            found += (each, each is not None and each.requires_grad)
        if isinstance(module, StatefulLayer):
            found += [each for each in vars(module).values() if callable(each)]
    return found
