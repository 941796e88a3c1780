"""DelayedLinear: linear connections with learned delays."""

import math
import weakref
from collections.abc import Iterable
from functools import partial
from operator import is_
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.core.network_mode import run_beside_counts
from spikingtorch.functional.core.precision import lift, lifted_dtype
from spikingtorch.functional.core.sharing import version_of
from spikingtorch.functional.core.torch_private import is_shard
from spikingtorch.functional.sparse.delayed import kernels, through_line
from spikingtorch.layers.checkpoint import backward_pass, runs_twice
from spikingtorch.layers.limits import FLOORED, Limits
from spikingtorch.layers.options import Value
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_count, check_parameter


class DelayedLinear(StepLayer):
    """Multiply inputs by weights, each after a delay of its own that is learned.

        y[t, o] = sum over i and k of K[o, i, k] x[t - k, i],      k = 0 .. longest
        K[o, i, k] = weight[o, i] c[k] / sum c,      c[k] = exp(-((k - delay[o, i]) / width)^2 / 2)

    Begin with a wide Gaussian, so that a delay feels the inputs of many steps, and set a smaller ``layer.width`` after
    each epoch. At the end, call ``round_`` and then test, because rounding changes the function. ``state_dict`` has the
    width. Outputs have the same bits for all steps at once, step by step and in parts; for exceptions and the source
    see ``functional.delayed_linear``.

    Args:
        in_features: inputs of a step, (N, in_features).
        out_features: outputs of a step, (N, out_features).
        longest: the longest delay in steps, 1 or more; delays are kept from 0 to it.
        width: of the Gaussian, in steps: a positive number, or a tensor that broadcasts to the delays; or 0, for delays
            of whole steps.
        per: "synapse", a delay for each weight; or "axon", one for each input, before the product, which is faster.
        learnable: which of weight, delay and width learn.
        constrain: keep delays within their limits.

    >>> layer = DelayedLinear(3, 4, longest=10, width=5.0)
    >>> layer(torch.rand(2, 3), init=True).shape
    torch.Size([2, 4])
    """

    fixed: ClassVar[tuple[str, ...]] = ("longest",)
    explained = F.Explanation("convolution", "E", "kernels over time, for all steps at once, that skip zeros of spikes")
    _outside = staticmethod(run_beside_counts)
    longest: Any
    weight: Tensor
    delay: Tensor
    width: Any

    def __init__(
        self,
        in_features: int,
        out_features: int,
        longest: int,
        width: Value,
        *,
        per: Literal["synapse", "axon"] = "synapse",
        learnable: bool | str | Iterable[str] = ("weight", "delay"),
        constrain: bool = True,
    ) -> None:
        limits = {"delay": Limits(least=0.0, most=check_count("DelayedLinear", "longest", longest))}
        if per not in ("synapse", "axon"):
            raise ValueError(f"DelayedLinear: per={per!r}, expected 'synapse' or 'axon'")
        object.__setattr__(self, "limits", limits | {"width": Limits(test=_check_width, learned=FLOORED)})
        bound = 1.0 / math.sqrt(in_features)
        weight = torch.empty(out_features, in_features).uniform_(-bound, bound)
        delay = longest * torch.rand_like(weight if per == "synapse" else weight[0])
        given: dict[str, Any] = {"weight": weight, "delay": delay, "width": width}
        super().__init__(delayed_linear_step, F.DelayState, learnable=learnable, constrain=constrain, **given)
        self._keep("longest", float(longest))

    def round_(self) -> "DelayedLinear":
        """Round delays to whole steps, exactly, and set width to 0, so that each kernel has one step."""
        with torch.no_grad():
            self.delay.round_()
        self.width = 0.0
        return self

    def step_params(self) -> dict[str, Any]:
        """Return the kernels, and the weights if inputs are delayed before they meet them.

        They are kept for further steps, until what they depend on changes or a backward pass uses their graph.
        """
        values = [*self._constants().values()]
        tensors = [each for each in values if isinstance(each, Tensor)]
        make = partial(kernels, **self._stored_params(), longest=int(self.longest))
        # gathered and computed parameters can change without a trace
        foreign = "parametrizations" in self._modules or "_is_fsdp_managed_module" in vars(self)
        if foreign or any(map(is_shard, tensors)) or not in_eager() or runs_twice() or backward_pass() != -1:
            return make()
        form: list[Any] = [(version_of(each), each.data_ptr(), each.requires_grad) for each in tensors]
        form += [*values[len(tensors) :], torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
        kept = self._cell.derived
        if kept is None or kept[1] != form or not all(map(is_, kept[0], tensors)):
            kept = self._cell.derived = tensors, form, make()
            if kept[2]["kernel"].grad_fn is not None:
                kept[2]["kernel"].register_hook(partial(_forget, weakref.ref(self._cell)))
        return dict(kept[2])

    def rest_state(self, x: Tensor) -> F.DelayState:
        """Return an empty line of inputs."""
        self._cell.derived = None  # a sequence begins with kernels of its own: .data changes parameters unseen
        return F.empty_delay(int(self.longest), x)

    def _scan(self, step: Any, state: Any, xs: Any, params: dict[str, Any], dim: int) -> tuple[Any, Any]:
        if isinstance(step, F.Recorded) and not step.strict:  # there is nothing to record
            state, outputs = self._scan(step.step, state, xs, params, dim)
            return state, (outputs, {})
        if step is not delayed_linear_step:
            return super()._scan(step, state, xs, params, dim)
        return _over_time(state, xs, params, dim)

    def _scan_masked(self, step: Any, state: Any, xs: Any, params: dict[str, Any], running: Tensor) -> tuple[Any, Any]:
        if step is not delayed_linear_step:
            return super()._scan_masked(step, state, xs, params, running)
        mask = running.unsqueeze(-1)
        state, outputs = _over_time(state, torch.where(mask, lift(xs), 0.0), params, 1, running.sum(1))
        return state, torch.where(mask, outputs, 0.0)

    def _check_params(self, params: dict[str, Any], x: Tensor) -> None:  # noqa: ARG002
        wanted, dtype = self.weight.shape[1], self.weight.dtype
        if x.ndim != 2 or x.shape[1] != wanted:
            raise ValueError(f"DelayedLinear: x has shape {tuple(x.shape)}, expected (N, {wanted}), samples first")
        if lifted_dtype(self.weight) != lifted_dtype(x):
            raise TypeError(
                f"DelayedLinear: mixed dtypes: x is {x.dtype} and weight {dtype}; layer.to({x.dtype}) converts"
            )


def _forget(cell: Any, _: Tensor) -> None:
    """Forget kernels whose graph a backward pass uses up."""
    if (found := cell()) is not None:
        found.derived = None


def delayed_linear_step(
    state: F.DelayState, x: Tensor, *, kernel: Tensor, weight: Tensor | None = None
) -> tuple[F.DelayState, Tensor]:
    """Advance delayed connections by one step; the parameters are those of ``through_line``."""
    line = torch.stack((*state.past[::-1], x), 1)
    return F.DelayState((x, *state.past[:-1])), through_line(line, kernel, weight)[:, 0]


delayed_linear_step.multiplies = True  # type: ignore[attr-defined]


def _over_time(
    state: F.DelayState, xs: Tensor, params: dict[str, Any], dim: int, steps: Tensor | None = None
) -> tuple[F.DelayState, Tensor]:
    """Advance delayed connections by all steps, with time at axis dim; of a sample, by its number of ``steps``."""
    line, longest = torch.cat([torch.stack(state.past[::-1], 1), lift(xs.movedim(dim, 1))], 1), len(state.past)
    outputs = through_line(line, **params).movedim(1, dim).to(xs.dtype)
    if steps is None:
        last = line.narrow(1, line.shape[1] - longest, longest)
    else:
        places = steps.unsqueeze(1) + torch.arange(longest, device=line.device)
        last = line.gather(1, places.unsqueeze(-1).expand(-1, -1, line.shape[2]))
    # copies: a slice would keep the whole sequence alive
    return F.DelayState(tuple([each.clone() for each in last.unbind(1)[::-1]])), outputs


def _check_width(owner: str, width: Any) -> None:
    """Raise unless a width is positive; the number 0 stands for whole steps."""
    check_parameter(owner, "width", width, above=0.0 if isinstance(width, Tensor) else None, least=0.0)
