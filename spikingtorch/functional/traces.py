"""A step that carries its eligibility traces along, so that its gradient is known at each time."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.eligibility import (
    Linearized,
    Partials,
    eligibility,
    floating,
    is_elementwise,
    leak_at_rest,
    leak_is_constant,
    of_one,
)

OnlineRule = Literal["diagonal", "presynaptic", "last_step"]
_RULES = ("diagonal", "presynaptic", "last_step")
Trace = tuple[Tensor, ...]


class OnlineState(NamedTuple):
    """State of ``OnlineStep`` after a step.

    Attributes:
        neuron: the state of the neurons after the step.
        x: the input of the step.
        traces: by the name of a weight, what the weight has done to the neurons' state before the step, a tensor for
            each floating tensor of that state. "last_step" has none.
        of_out: derivatives of the outputs by the state before the step and by the current.
        of_state: the same for the state after the step.
    """

    neuron: Any
    x: Tensor
    traces: dict[str, Trace]
    of_out: Partials
    of_state: Partials


class OnlineStep(NamedTuple):
    """A layer of neurons behind a weight matrix, with the traces of its weights; made by ``with_traces``.

    Args:
        step: an elementwise step, ``(state, z, **params) -> (state, out)``.
        rule: "diagonal", "presynaptic" or "last_step".
        learns: names of parameters of the step, tensors, that are learned beside the weights.
    """

    step: Callable[..., tuple[Any, Any]]
    rule: OnlineRule = "diagonal"
    learns: tuple[str, ...] = ()

    def start(
        self, neuron: Any, x: Tensor, *, weight: Tensor, bias: Tensor | None = None, **params: Any
    ) -> OnlineState:
        """Return the state from which a sequence starts.

        Args:
            neuron: the state of the neurons, tensors of shape (*N, out).
            x: an input of one step, shape (*N, in); only its form matters.
            weight: shape (out, in).
            bias: shape (out,).
            **params: parameters of the neurons.

        Raises:
            ValueError: the step mixes neurons; or the rule is "presynaptic", and the leak is no constant.
        """
        z = torch.nn.functional.linear(torch.zeros_like(x), weight, bias).detach()
        if not is_elementwise(self.step, neuron, z, params=params):
            raise ValueError(
                f"functional.with_traces: {step_name(self.step)} mixes neurons, and traces are those of each neuron's "
                "own state. Take rule='exact' of learning.online"
            )
        if self.rule == "presynaptic" and not leak_is_constant(self.step, neuron, z, params):
            raise ValueError(
                "functional.with_traces: rule='presynaptic' needs one constant leak, and that of "
                f"{step_name(self.step)} depends on the state or on the neuron. Take reset=detached(by_subtraction) "
                "and one time constant, or rule='diagonal'"
            )
        *_, of_out, of_state = self._advanced_neurons(neuron, z, params)
        own = floating(neuron)[0]
        traces = {
            name: tuple([each.new_zeros(self._shape(name, x, each)) for each in own]) for name in self._traced(bias)
        }
        return OnlineState(neuron, torch.zeros_like(x), traces, *tree_map(torch.zeros_like, (of_out, of_state)))

    def __call__(
        self, state: OnlineState, x: Tensor, *, weight: Tensor, bias: Tensor | None = None, **params: Any
    ) -> tuple[OnlineState, Any]:
        """Advance neurons and traces by one step.

        Args:
            state: the state before the step.
            x: input of the step, shape (*N, in).
            weight: shape (out, in).
            bias: shape (out,).
            **params: parameters of the neurons.
        """
        z = torch.nn.functional.linear(x, weight, bias)
        neuron, out, of_out, of_state = self._advanced_neurons(state.neuron, z, params)
        return OnlineState(neuron, x, self._advanced_traces(state), of_out, of_state), out

    def of_input(self, state: OnlineState, signal: Any) -> Tensor:
        """Return the gradient of the current z of a step, (*N, out), from that of its outputs.

        Multiplied by the weight, it is the gradient of the outputs of the layer below: ``of_input(...) @ weight``.

        Args:
            state: the state after the step.
            signal: the gradient of a loss by the outputs of the step.
        """
        pairs = zip(leaves_of(signal), state.of_out.of_input, strict=True)
        return _summed([each * factor for each, factor in pairs])

    def gradient(
        self, state: OnlineState, signal: Any, *, weight: Tensor, bias: Tensor | None = None, **params: Any
    ) -> dict[str, Tensor]:
        """Return the gradients of the weights, by name, for a loss of the outputs of a step, summed over the samples.

            dL/dw = (dL/ds) (ds/dz x + ds/dh e)             h, e = h[t-1], e[t-1]

        Args:
            state: the state after the step.
            signal: the gradient of the loss by these outputs.
            weight: as in the step; only its shape matters.
            bias: as in the step.
            **params: as in the step.
        """
        of_z, signals, of_out = self.of_input(state, signal), leaves_of(signal), state.of_out
        found = {"weight": _product(of_z, state.x)} | ({} if bias is None else {"bias": of_z})
        for at, name in enumerate(self.learns):
            found[name] = _summed([each * row[at] for each, row in zip(signals, of_out.of_params, strict=True)])
        past = _product if self.rule == "presynaptic" else _contracted
        for name, trace in state.traces.items():
            for k, each in enumerate(trace):
                of_state = _summed([each * row[k] for each, row in zip(signals, of_out.of_state, strict=True)])
                found[name] = found[name] + (past(of_state, each) if name == "weight" else of_state * each)
        shapes = {"weight": weight, "bias": bias, **params}
        return {name: each.sum_to_size(shapes[name].shape) for name, each in found.items()}

    def _advanced_neurons(self, neuron: Any, z: Tensor, params: dict[str, Any]) -> tuple[Any, Any, Partials, Partials]:
        """Return the state of the neurons after a step, their outputs, and the derivatives of both."""
        step: Any = Linearized(self.step, self.rule == "diagonal", self.learns)
        after, (out, of_out, of_state) = step(neuron, z, **params)
        if self.rule == "presynaptic":
            of_state = of_one(leak_at_rest(self.step, neuron, z, params))
        return after, out, of_out, of_state

    def _traced(self, bias: Tensor | None) -> tuple[str, ...]:
        if self.rule == "last_step":
            return ()
        own = self.learns if self.rule == "diagonal" else ()
        return ("weight", *(() if bias is None else ("bias",)), *own)

    def _shape(self, name: str, x: Tensor, neuron: Tensor) -> tuple[int, ...]:
        """Return the shape of the traces of a weight."""
        if self.rule == "presynaptic":
            return (*x.shape[:-1], x.shape[-1] if name == "weight" else 1)
        return (*neuron.shape, x.shape[-1]) if name == "weight" else tuple(neuron.shape)

    def _advanced_traces(self, state: OnlineState) -> dict[str, Trace]:
        """Return the traces after the step that a state follows: ``e[t] = D[t] e[t-1] + b[t] x[t]``."""
        found: dict[str, Trace] = {}
        of_state, of_input, of_params = state.of_state
        for name, trace in state.traces.items():
            factors, gains, x = of_state, of_input, torch.ones_like(of_input[0])
            if name in self.learns:
                at = self.learns.index(name)
                gains = tuple([row[at] for row in of_params])
            elif name == "weight":
                x = state.x
                if self.rule == "diagonal":  # each neuron has a trace for each input
                    factors = tuple([tuple([each.unsqueeze(-1) for each in row]) for row in factors])
                    gains, x = tuple([each.unsqueeze(-1) for each in gains]), x.unsqueeze(-2)
            found[name] = eligibility(trace, (factors, gains, x))[0]
        return found


def with_traces(
    step: Callable[..., tuple[Any, Any]], rule: OnlineRule = "diagonal", *, learns: Sequence[str] = ()
) -> OnlineStep:
    """Return a step of neurons behind a weight matrix that carries the eligibility traces of the weights in its state.

        z[t] = weight x[t] + bias,   h[t], s[t] = step(h[t-1], z[t])
        e[t] = D[t] e[t-1] + b[t] x[t]          e = dh/dw,  D = dh[t]/dh[t-1],  b = dh[t]/dz[t]

    The gradient of a loss of s[t] is known at time t: ``gradient(state, signal, ...)`` turns dL/ds[t] into dL/dw. All
    derivatives come from the step by vector-Jacobian products. The rules:

    - "diagonal": e for each synapse (e-prop). For a loss of s[t] alone, the sum of the gradients over time is that of
      back-propagation through time. It leaves out the past through the state of layers above, and through spikes that
      come back as part of x.
    - "presynaptic": one e for each input (OTTT), for neurons of one constant leak. It leaves out the same, and the past
      of the parameters of the neurons.
    - "last_step": no e (SLTT). It leaves out all that the weights did before step t.

    Args:
        step: an elementwise step, ``(state, z, **params) -> (state, out)``.
        rule: "diagonal", "presynaptic" or "last_step".
        learns: names of parameters of the step, given as tensors, that have gradients as well.

    Returns:
        A pure step ``(state, x, *, weight, bias=None, **params) -> (state, out)``, for ``scan``, ``vmap`` and the like,
        with the methods ``start``, ``gradient`` and ``of_input``.

    Raises:
        ValueError: there is no such rule; ``start`` says whether it fits the step.

    Sources: G. Bellec et al. (2020), doi:10.1038/s41467-020-17236-y; M. Xiao et al., arXiv:2210.04195; Q. Meng et al.,
    arXiv:2302.14311.

    >>> from spikingtorch.functional import LIFState, lif_step
    >>> params = {"weight": torch.tensor([[0.4, 0.8]]), "decay": 0.5}
    >>> step = with_traces(lif_step)
    >>> state = step.start(LIFState(torch.zeros(1, 1)), torch.zeros(1, 2), **params)
    >>> for x in torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]):
    ...     state, s = step(state, x, **params)
    >>> s, step.gradient(state, torch.ones(1, 1), **params)["weight"]
    (tensor([[1.]]), tensor([[0.5685, 1.2500]]))
    """
    if rule not in _RULES:
        named: Any = rule
        also = ". With 'exact', learning.online differentiates a whole network" if named == "exact" else ""
        raise ValueError(f"functional.with_traces: rule={rule!r}, expected one of {', '.join(map(repr, _RULES))}{also}")
    return OnlineStep(step, rule, tuple(learns))


def _product(signal: Tensor, x: Tensor) -> Tensor:
    """Return the sum over samples of the products of each neuron's signal with each input, (out, in)."""
    return signal.reshape(-1, signal.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def _contracted(signal: Tensor, trace: Tensor) -> Tensor:
    """Return the sum over samples of each neuron's signal with the traces of its synapses, (out, in)."""
    out, size = trace.shape[-2:]
    return torch.einsum("no,noi->oi", signal.reshape(-1, out), trace.reshape(-1, out, size))


def _summed(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])
