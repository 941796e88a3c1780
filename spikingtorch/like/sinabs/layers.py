"""LIF, IAF, ALIF, ExpLeak and SumPool2d."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.options import Common, Value, number, tensor
from spikingtorch.like.sinabs.spike_fn import MultiSpike, SingleExponential, SingleSpike
from spikingtorch.like.steps import sinabs as steps
from spikingtorch.like.steps.sinabs import Gradient, MembraneSubtract, ResetFunction, SpikeFunction

_NORMALISED = "1 - alpha_mem"


class Spiking(Common, total=False):
    """Arguments of every spiking layer besides its time constants.

    Attributes:
        spike_threshold: membrane at which it fires.
        spike_fn: SingleSpike, MultiSpike or MaxSpike(n), of ``like.sinabs``.
        reset_fn: MembraneSubtract() or MembraneReset().
        surrogate_grad_fn: derivative of the spikes, SingleExponential() or another one of ``like.sinabs``.
        min_v_mem: the least membrane, None for any.
        shape, record_states: have no meaning here, as the error says.
    """

    spike_threshold: Value
    spike_fn: Callable[[Gradient], SpikeFunction]
    reset_fn: ResetFunction
    surrogate_grad_fn: Gradient
    min_v_mem: Value | None
    shape: Any
    record_states: bool


class Decaying(Spiking, total=False):
    """The same arguments for a layer whose membrane decays.

    Attributes:
        train_alphas: train the decays alpha in place of the time constants.
        norm_input: multiply the current by 1 - alpha_mem.
    """

    train_alphas: bool
    norm_input: bool


def _spiking(owner: str, given: Any, spike_fn: Callable[[Gradient], SpikeFunction]) -> dict[str, Any]:
    """Return the spike function of a layer, and its other options."""
    options = dict(given)
    gradient = options.pop("surrogate_grad_fn", SingleExponential())
    if isinstance(gradient, type) or not hasattr(gradient, "primitive"):
        raise TypeError(
            f"{owner}: surrogate_grad_fn={gradient!r}, expected one of like.sinabs, for instance SingleExponential()"
        )
    reset_fn = options.pop("reset_fn", MembraneSubtract())
    if isinstance(reset_fn, type) or not callable(reset_fn):
        raise TypeError(
            f"{owner}: reset_fn={reset_fn!r}, expected MembraneSubtract() or MembraneReset() of like.sinabs"
        )
    made = options.pop("spike_fn", spike_fn)(gradient)
    if not callable(made):
        raise TypeError(f"{owner}: spike_fn is none of SingleSpike, MultiSpike and MaxSpike(n) of like.sinabs")
    threshold, least = options.pop("spike_threshold", 1.0), options.pop("min_v_mem", None)
    for name, value in {"spike_threshold": threshold, **({} if least is None else {"min_v_mem": least})}.items():
        number(owner, name, value)
    limits = {"spike_threshold": threshold, "min_v_mem": least}
    return {"spike_fn": made, "reset_fn": reset_fn, **limits, "options": options}


def _times(owner: str, train_alphas: bool, **taus: Value | None) -> dict[str, Any]:
    """Return the given time constants, or their decays; both are trained."""
    found = {}
    for name, tau in taus.items():
        if tau is None:
            continue
        number(owner, name, tau, above=0.0)
        end = name.removeprefix("tau_")
        found["alpha_" + end if train_alphas else name] = torch.exp(-1.0 / tensor(tau)) if train_alphas else tensor(tau)
    return found


_DECAYS = {"mem": "decay", "syn": "decay_syn", "adapt": "decay_adapt"}


def decays(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with each time constant turned into a decay, and with the gain of the input."""
    params = dict(stored)
    for end, name in _DECAYS.items():
        if f"tau_{end}" in params:
            params[name] = torch.exp(-1.0 / params.pop(f"tau_{end}"))
        elif f"alpha_{end}" in params:
            params[name] = params.pop(f"alpha_{end}")
    normalised = params.pop("norm_input", None) is not None
    return params | ({"gain": 1 - params["decay"]} if normalised else {})


class _Layer(LikeLayer):
    reasons: ClassVar[Mapping[str, str]] = {
        "shape": "the state takes the shape of the input: leave it out",
        "record_states": "returns=('spikes', 'v') gives out the membranes of all steps beside the spikes",
        "tau_syn": "it is None where there is no current: leave it out",
    }
    left_out: ClassVar[frozenset[str]] = frozenset(("v_mem", "i_syn"))
    param_map = staticmethod(decays)

    def __init__(self, step: Any, state: Any, times: dict[str, Any], **params: Any) -> None:
        super().__init__(step, state, learnable=list(times), **times, **params)


class _Firing(_Layer):
    """A layer that fires: its step, state, trained time constants, and spike function."""

    def __init__(self, step: Any, state: Any, times: dict[str, Any], given: Any, spike_fn: Any, **params: Any) -> None:
        super().__init__(step, state, times, **params, **_spiking(type(self).__name__, given, spike_fn))


def _with_current(tau_syn: Value | None) -> tuple[Any, Any]:
    """Return the step of a LIF and its state, with or without a decaying current."""
    if tau_syn is None:
        return steps.lif_layer_step, steps.MembraneState
    return steps.lif_current_layer_step, steps.SynapseState


class LIF(_Firing):
    """Apply Sinabs' LIF neurons to an input, one step of time a call.

    For each entry of the input, with alpha = exp(-1 / tau), and gain = 1 - alpha_mem, or 1 without norm_input,

        i[t] = alpha_syn (i[t-1] + x[t]), or x[t] without tau_syn;  u[t] = alpha_mem v[t-1] + gain i[t]
        n[t] = spike_fn(u[t], spike_threshold),  v[t] = max(reset_fn(n[t], u[t], spike_threshold), min_v_mem)

    Args:
        tau_mem: time constant of the membrane in steps, trained.
        tau_syn: time constant of the current in steps, trained; None for no current.
        train_alphas: train the decays alpha in place of the time constants.
        norm_input: multiply the current by 1 - alpha_mem.
        **spiking: spike_threshold=1.0, spike_fn=MultiSpike, reset_fn=MembraneSubtract(),
            surrogate_grad_fn=SingleExponential(), min_v_mem=None.
    """

    def __init__(
        self,
        tau_mem: Value,
        tau_syn: Value | None = None,
        *,
        train_alphas: bool = False,
        norm_input: bool = True,
        **spiking: Unpack[Spiking],
    ) -> None:
        times = _times(type(self).__name__, train_alphas, tau_mem=tau_mem, tau_syn=tau_syn)
        norm = _NORMALISED if norm_input else None
        super().__init__(*_with_current(tau_syn), times, spiking, MultiSpike, norm_input=norm)


class IAF(_Firing):
    """Apply Sinabs' IAF neurons to an input, one step of time a call.

    For each entry of the input, as in LIF with alpha_mem = 1 and gain = 1.

    Args:
        tau_syn: time constant of the current in steps, trained; None for no current.
        **spiking: as in LIF.
    """

    def __init__(self, *, tau_syn: Value | None = None, **spiking: Unpack[Spiking]) -> None:
        times = _times(type(self).__name__, False, tau_syn=tau_syn)
        super().__init__(*_with_current(tau_syn), times, spiking, MultiSpike, alpha_mem=1.0)


class ALIF(_Firing):
    """Apply Sinabs' ALIF neurons, whose threshold rises with their spikes, to an input, one step of time a call.

    For each entry of the input, with alpha = exp(-1 / tau), and gain = 1 - alpha_mem, or 1 without norm_input,

        i[t] = gain alpha_syn (i[t-1] + x[t]), or gain x[t] without tau_syn;  u[t] = alpha_mem v[t-1] + i[t]
        theta[t] = spike_threshold + adapt_scale b[t-1],  n[t] = spike_fn(u[t], theta[t])
        v[t] = max(reset_fn(n[t], u[t], theta[t]), min_v_mem),  b[t] = alpha_adapt b[t-1] + (1 - alpha_adapt) n[t]

    No gradient flows from the spikes to the threshold. So their only gradient to the adaptation flows through the
    reset.

    Args:
        tau_mem: time constant of the membrane in steps, trained.
        tau_adapt: time constant of the adaptation in steps, trained.
        tau_syn: time constant of the current in steps, trained; None for no current.
        adapt_scale: threshold per unit of adaptation.
        train_alphas: train the decays alpha in place of the time constants.
        norm_input: multiply the current by 1 - alpha_mem, again at every step.
        **spiking: as in LIF, except for spike_fn=SingleSpike.
    """

    # its spike_threshold is the current threshold of each neuron, not the constructor's
    left_out: ClassVar[frozenset[str]] = frozenset((*_Layer.left_out, "b", "spike_threshold"))

    def __init__(
        self,
        tau_mem: Value,
        tau_adapt: Value,
        tau_syn: Value | None = None,
        adapt_scale: Value = 1.8,
        *,
        train_alphas: bool = False,
        norm_input: bool = True,
        **spiking: Unpack[Spiking],
    ) -> None:
        times = _times(type(self).__name__, train_alphas, tau_mem=tau_mem, tau_syn=tau_syn, tau_adapt=tau_adapt)
        number(type(self).__name__, "adapt_scale", adapt_scale)
        own: dict[str, Any] = {"adapt_scale": adapt_scale, "norm_input": _NORMALISED if norm_input else None}
        super().__init__(steps.alif_layer_step, steps.ALIFLayerState, times, spiking, SingleSpike, **own)


class ExpLeak(_Layer):
    """Apply Sinabs' ExpLeak, a readout whose output is its membrane, to an input, one step of time a call.

    For each entry of the input, with alpha_mem = exp(-1 / tau_mem), and gain = 1 - alpha_mem with norm_input, else 1,

        u[t] = alpha_mem v[t-1] + gain x[t],  out[t] = u[t],  v[t] = max(u[t], min_v_mem)

    Args:
        tau_mem: time constant of the membrane in steps, trained.
        train_alphas: train the decay alpha_mem in place of it.
        min_v_mem: the least membrane, None for any.
        norm_input: multiply the input by 1 - alpha_mem.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(
        self,
        tau_mem: Value,
        *,
        train_alphas: bool = False,
        min_v_mem: Value | None = None,
        norm_input: bool = False,
        **options: Unpack[Common],
    ) -> None:
        times = _times("ExpLeak", train_alphas, tau_mem=tau_mem)
        own: dict[str, Any] = {"min_v_mem": min_v_mem, "norm_input": _NORMALISED if norm_input else None}
        super().__init__(steps.exp_leak_step, steps.MembraneState, times, **own, options=options)


class SumPool2d(nn.LPPool2d):
    """Sum over the windows of an image, as Sinabs' SumPool2d does.

        y = sum over a window of x,  dy/dx = 1 where y is not 0, else 0

    A window whose entries sum to zero, for instance without spikes, gets no gradient.

    Args:
        kernel_size: size of a window.
        stride: distance between windows; None for the size.
        ceil_mode: keep windows that reach beyond the edge.

    >>> import torch
    >>> SumPool2d(2)(torch.ones(1, 1, 2, 4))
    tensor([[[[4., 4.]]]])
    """

    def __init__(
        self, kernel_size: int | tuple[int, int], stride: int | tuple[int, int] | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__(1, kernel_size, stride, ceil_mode)
