"""Containers of a layer whose output feeds back, SynapseFilter and VotingLayer."""

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.functional import lift
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.recurrent import Synapse, Weights
from spikingtorch.layers.steplayer import StepLayer, WholeStep
from spikingtorch.like.layer import named
from spikingtorch.like.options import Common, number, own_weights, tensor
from spikingtorch.like.spikingjelly.node import WithStepMode
from spikingtorch.like.steps.spikingjelly import Combined, CombinedState, FilterState, synapse_filter_step


class _Container(WithStepMode):
    """The step of the given layer, ``sub_module``, with its feedback; that layer is not called."""

    def __init__(
        self, sub_module: nn.Module, step: Any, neuron: StepLayer, options: Mapping[str, Any], rc: nn.Linear | None
    ) -> None:
        own_weights(type(self).__name__, options, "sub_module")
        super().__init__(step, neuron.state_type, {**options, "recurrent": rc})
        self.sub_module = sub_module
        self.memoryless = False

    @property
    def _neuron(self) -> StepLayer:
        found: Any = self.sub_module[-1] if isinstance(self.sub_module, nn.Sequential) else self.sub_module
        return found  # type: ignore[no-any-return]

    def _of_firing(self) -> tuple[str, ...]:
        return self._neuron._of_firing() if "sub_module" in self._modules else super()._of_firing()

    @property
    def _never_draws(self) -> bool:
        return super()._never_draws and self._neuron._never_draws

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest of the layer inside."""
        return self._neuron.initial_state(x)

    def extra_repr(self) -> str:
        """Return nothing, because the layer inside names itself."""
        return ""


class LinearRecurrentContainer(_Container):
    """Apply SpikingJelly's LinearRecurrentContainer to an input, one step of time a call.

        y[t] = sub_module(W (x[t], y[t-1]) + b),  y[-1] = 0,  W and b of ``rc``

    The product is split into W_x x[t] for all steps at once and W_y y[t-1] step by step, so sums differ in their order.
    Linear layers inside are multiplied into both.

    Args:
        sub_module: a spiking layer, or nn.Sequential(nn.Linear(in_features, out_features), ..., a spiking layer).
        in_features: number of inputs.
        out_features: number of outputs of sub_module.
        bias: whether ``rc``, nn.Linear(in_features + out_features, in_features), has a bias.
        step_mode: "s", a call takes one step; or "m", all steps of a sequence, (T, N, ...).
        **options: returns, as in StepLayer.

    Raises:
        TypeError: sub_module is something else.
        ValueError: the sizes of sub_module do not fit, or it already has recurrent weights.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {**_Container.attribute_names, "recurrent": "rc"}
    recurrent: Any = named("rc")

    def __init__(
        self,
        sub_module: nn.Module,
        in_features: int,
        out_features: int,
        bias: bool = True,
        step_mode: str = "s",
        **options: Unpack[Common],
    ) -> None:
        neuron = neuron_in("LinearRecurrentContainer", sub_module)
        sizes = [in_features, *[n for each in _linear_in(sub_module) for n in (each.in_features, each.out_features)]]
        fits = all(before == after for before, after in zip(sizes[::2], [*sizes[1::2], out_features], strict=True))
        if not fits:
            raise ValueError(
                f"LinearRecurrentContainer: in_features={in_features} and out_features={out_features} do not fit to "
                f"sub_module={sub_module}; without linear layers inside they are equal"
            )
        step: Any = F.Recurrent(neuron.step, F.dense)
        rc = nn.Linear(in_features + out_features, in_features, bias)
        super().__init__(sub_module, step, neuron, options, rc)
        self.step_mode = step_mode

    def _synapse_of(self, recurrent: Weights) -> Synapse:  # noqa: ARG002
        return F.dense

    def _recurrent_weight(self) -> Tensor:
        rc: Any = self.rc
        back: Tensor = rc.weight[:, rc.out_features :]
        return reduce(lambda found, each: each.weight @ found, _linear_in(self.sub_module), back)

    def whole_step(self) -> WholeStep:
        """Return the step inside with the recurrence around it, and its keyword arguments."""
        step, params = self._neuron.whole_step()
        return cached_step(F.Recurrent, step, F.dense), params | {"recurrent_weight": lift(self._recurrent_weight())}

    def _advance_on(self, x: Tensor, init: bool | Tensor | None) -> Any:
        rc: Any = self.rc
        current = torch.nn.functional.linear(x, rc.weight[:, : rc.out_features], rc.bias)
        for each in _linear_in(self.sub_module):
            current = each(current)
        return self._advance(current, init)


class ElementWiseRecurrentContainer(_Container):
    """Apply SpikingJelly's ElementWiseRecurrentContainer to an input, one step of time a call.

        y[t] = sub_module(element_wise_function(y[t-1], x[t])),  y[-1] = 0

    Args:
        sub_module: a spiking layer.
        element_wise_function: a function of y[t-1] and x[t], each of shape (N, ...), for instance a sum.
        step_mode: "s", a call takes one step; or "m", all steps of a sequence, (T, N, ...).
        **options: returns, as in StepLayer.

    Raises:
        TypeError: sub_module is of another type, or the function cannot be called.
        ValueError: sub_module already has recurrent weights.
    """

    def __init__(
        self,
        sub_module: nn.Module,
        element_wise_function: Callable[[Tensor, Tensor], Tensor],
        step_mode: str = "s",
        **options: Unpack[Common],
    ) -> None:
        neuron = neuron_in("ElementWiseRecurrentContainer", sub_module)
        if neuron is not sub_module:
            raise TypeError(
                f"ElementWiseRecurrentContainer: sub_module is a {type(sub_module).__name__}, expected a spiking layer"
            )
        if not callable(element_wise_function):
            raise TypeError(
                f"ElementWiseRecurrentContainer: element_wise_function={element_wise_function!r} cannot be called"
            )
        step: Any = Combined(neuron.step, element_wise_function)
        super().__init__(sub_module, step, neuron, options, None)
        self.step_mode = step_mode
        self.element_wise_function = element_wise_function

    def whole_step(self) -> WholeStep:
        """Return the step inside with the function before it, and its keyword arguments."""
        step, params = self._neuron.whole_step()
        return cached_step(Combined, step, self.element_wise_function), params

    def initial_state(self, x: Tensor) -> CombinedState:
        """Return the state at rest of the layer inside, and y = 0."""
        return CombinedState(self.rest_state(x), lift(torch.zeros_like(x, requires_grad=False)))


def neuron_in(owner: str, sub_module: nn.Module) -> StepLayer:
    """Return the spiking layer of a module, after its linear layers.

    Raise TypeError if the module has other parts, ValueError if the layer has own recurrent weights or ``returns``.
    """
    modules = [*sub_module] if isinstance(sub_module, nn.Sequential) else [sub_module]
    neuron = modules[-1] if modules else None
    if not isinstance(neuron, StepLayer) or not all(type(each) is nn.Linear for each in modules[:-1]):
        raise TypeError(
            f"{owner}: sub_module={sub_module}, expected a spiking layer such as like.spikingjelly.LIFNode(), or "
            "nn.Sequential of nn.Linear and one at its end. Write another one as a step, for a StepLayer"
        )
    if neuron.returns != SPIKES:
        raise ValueError(f"{owner}: sub_module={sub_module} has returns of its own; give them to the container")
    if neuron.synapse is not None:
        raise ValueError(f"{owner}: sub_module={sub_module} has recurrent weights of its own; make it without them")
    return neuron


def _linear_in(sub_module: nn.Module) -> list[nn.Linear]:
    """Return the linear layers before the spiking layer."""
    modules: Any = [*sub_module][:-1] if isinstance(sub_module, nn.Sequential) else []
    return [*modules]


class SynapseFilter(WithStepMode):
    """Apply SpikingJelly's SynapseFilter, a current that spikes refresh, to an input, one step of time a call.

    For each entry of the input, with the output i[t],

        i[t] = i[t-1] - (1 - x[t]) i[t-1] / tau + x[t]

    Args:
        tau: time constant in steps, above 1.
        learnable: train it, as 1 / tau = sigmoid(w) with w an ``nn.Parameter`` that starts at -log(tau - 1).
        step_mode: "s", a call takes one step; or "m", all steps of a sequence, (T, N, ...).
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(
        self, tau: float = 100.0, learnable: bool = False, step_mode: str = "s", **options: Unpack[Common]
    ) -> None:
        number("SynapseFilter", "tau", tau, above=1.0)
        time: dict[str, Any] = {"w": tensor(-math.log(tau - 1.0))} if learnable else {"tau": tau}
        super().__init__(synapse_filter_step, FilterState, options, learnable=["w"] if learnable else (), **time)
        self.step_mode = step_mode

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the inverse of the time constant."""
        return {"rate": torch.sigmoid(stored["w"]) if "w" in stored else 1.0 / stored["tau"]}


class VotingLayer(nn.Module):
    """Average the votes of each class, as SpikingJelly's VotingLayer does.

        y[n, c] = mean over k < voting_size of x[n, c voting_size + k]

    Args:
        voting_size: number of neurons that vote for a class.
        step_mode: "s" for an input (N, classes voting_size), as in a ``SpikingNet``; "m" for (T, N, ...).

    >>> VotingLayer(2)(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    tensor([[0.5000, 1.0000]])
    """

    def __init__(self, voting_size: int = 10, step_mode: str = "s") -> None:
        super().__init__()
        if step_mode not in ("s", "m"):
            raise ValueError(f"VotingLayer: step_mode={step_mode!r}, expected 's' or 'm'")
        self.voting_size = voting_size
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        """Return the votes, shape (N, classes), or (T, N, classes)."""
        if self.step_mode == "m":
            return torch.nn.functional.avg_pool1d(x, self.voting_size, self.voting_size)
        return torch.nn.functional.avg_pool1d(x.unsqueeze(1), self.voting_size, self.voting_size).squeeze(1)

    def extra_repr(self) -> str:
        """Return the number of voters, and the step mode if it is not "s"."""
        return f"voting_size={self.voting_size}" + ("" if self.step_mode == "s" else f", step_mode={self.step_mode!r}")
