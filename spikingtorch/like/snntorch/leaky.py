"""Leaky, Lapicque, Synaptic and Alpha: the neurons without feedback of spikes."""

from typing import Any, ClassVar

import torch

from spikingtorch import functional as F
from spikingtorch.layers.options import constructor_of
from spikingtorch.like.options import number, tensor
from spikingtorch.like.snntorch.neuron import Neuron, clamped
from spikingtorch.like.steps import snntorch as steps
from spikingtorch.like.steps.snntorch import Mechanism, Value


class Leaky(Neuron):
    """Apply snnTorch's Leaky neurons to an input, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        subtract: v[t] = beta v[t-1] + x[t] - r[t] threshold,   zero: v[t] = beta (1 - r[t]) v[t-1] + x[t]
        out[t] = H(v[t] - threshold) graded_spikes_factor

    Args:
        beta: share of the membrane kept over a step; clamped to [0, 1].
        threshold: membrane above which the neuron fires.
        spike_grad: a surrogate of this library, or one of ``like.snntorch``; None is ``atan()``.
        learn_beta: train beta.
        learn_threshold: train the threshold.
        reset_mechanism: "subtract", "zero" or "none".
        graded_spikes_factor: height of a spike.
        learn_graded_spikes_factor: train it.
        reset_delay: True resets one step after the spike, without a gradient; False resets at once, with a gradient.
        **others: recurrent and returns, as in StepLayer; for other arguments of snnTorch the error gives advice.

    Raises:
        TypeError, ValueError: an argument is unknown, or has no meaning here.
    """

    @constructor_of(steps.leaky_step, steps.LeakyState)
    def __init__(
        self,
        beta: Value,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        *,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: Mechanism = "subtract",
        graded_spikes_factor: Value = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        **others: Any,
    ) -> None: ...


class Lapicque(Neuron):
    """Apply snnTorch's Lapicque neurons, Euler's steps of an RC circuit, to an input, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        u = x[t] R (1 / (R C)) time_step + (1 - time_step / (R C)) v[t-1]
        subtract: v[t] = u - r[t] threshold,   zero: v[t] = u - r[t] u,   s[t] = H(v[t] - threshold)

    Two of beta, R and C are given, or beta alone (with R = 1): beta = exp(-time_step / (R C)). The membrane decays by 1
    + log(beta), the first-order approximation of beta.

    Args:
        beta: as said, in (0, 1).
        R: resistance.
        C: capacitance.
        time_step: length of a step.
        threshold, spike_grad, learn_threshold, reset_mechanism, **others: as in Leaky.

    Raises:
        TypeError, ValueError: an argument is unknown or has no meaning here, or too few are given.
    """

    left_out: ClassVar[frozenset[str]] = frozenset(("beta",))  # R, C and time_step already define it

    @constructor_of(steps.lapicque_step, steps.LeakyState)
    def __init__(
        self,
        beta: Value | None = None,
        R: Value | None = None,
        C: Value | None = None,
        time_step: Value = 1.0,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        *,
        learn_threshold: bool = False,
        reset_mechanism: Mechanism = "subtract",
        **others: Any,
    ) -> None: ...

    @staticmethod
    def _kept(given: dict[str, Any]) -> dict[str, Any]:
        """Return R, C and time_step of the circuit, and the threshold."""
        return circuit(*[given.pop(name) for name in ("beta", "R", "C", "time_step")]) | given

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with C turned into the rate and the decay of the circuit."""
        params = {name: value for name, value in stored.items() if name != "C"}
        r, c = params.pop("R"), stored["C"]
        return params | {"r": r, "inverse": 1 / (r * c), "keep": 1 - stored["time_step"] / (r * c)}


def circuit(beta: Value | None, R: Value | None, C: Value | None, time_step: Value) -> dict[str, Any]:
    """Return R, C and time_step of an RC circuit, as tensors of one number, in which snnTorch computes."""
    given = {"beta": beta, "R": R, "C": C}
    known = {name: value for name, value in given.items() if value is not None}
    for name, value in (known | {"time_step": time_step}).items():
        number("Lapicque", name, value, above=0.0)
    length = tensor(time_step)
    if {"R", "C"} <= known.keys() and beta is None:
        return {"R": tensor(R), "C": tensor(C), "time_step": length}
    if beta is None or len(known) == 3:
        raise ValueError(
            f"Lapicque: {', '.join(known) or 'nothing'} given, expected beta, or two of beta, R and C: Lapicque(0.9)"
        )
    rate = torch.log(1 / tensor(beta))
    if C is not None:
        return {"R": length / (tensor(C) * rate), "C": tensor(C), "time_step": length}
    r = tensor(1.0 if R is None else R)
    return {"R": r, "C": length / (r * rate), "time_step": length}


class Synaptic(Neuron):
    """Apply snnTorch's Synaptic neurons, with a current that decays, to an input, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        i[t] = alpha i[t-1] + x[t],  u = beta v[t-1] + i[t]
        subtract: v[t] = u - r[t] threshold,   zero: v[t] = u - r[t] u,   s[t] = H(v[t] - threshold)

    Args:
        alpha: share of the current kept over a step; clamped to [0, 1].
        learn_alpha: train alpha.
        beta, threshold, spike_grad, learn_beta, learn_threshold, reset_mechanism, reset_delay, **others: as in Leaky.
    """

    @constructor_of(steps.synaptic_step, steps.SynapticState)
    def __init__(
        self,
        alpha: Value,
        beta: Value,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        *,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: Mechanism = "subtract",
        reset_delay: bool = True,
        **others: Any,
    ) -> None: ...


class Alpha(Neuron):
    """Apply snnTorch's Alpha neurons, driven by a difference of two currents, to an input, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        e = alpha e[t-1] + x[t],  n = beta n[t-1] - x[t],  u = (log alpha / (log beta - log alpha) + 1) (e + n)
        zero:      e, n and u are set to zero where r[t] = 1;  v[t] = u, e[t] = e, n[t] = n
        subtract:  e[t] = e - r[t] threshold,  n[t] = (1 - r[t]) n,  v[t] = u + r[t] n[t-1]
        s[t] = H(v[t] - threshold)

    Args:
        alpha: share of the exciting current kept over a step, in (0, 1) and greater than beta.
        beta: share of the inhibiting current kept over a step, in (0, 1).
        learn_alpha: train alpha; in snnTorch 1.0.0 the constructor raises for it.
        threshold, spike_grad, learn_beta, learn_threshold, reset_mechanism, **others: as in Leaky.
    """

    @constructor_of(steps.alpha_step, steps.AlphaState)
    def __init__(
        self,
        alpha: Value,
        beta: Value,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        *,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: Mechanism = "zero",
        **others: Any,
    ) -> None: ...

    @staticmethod
    def _kept(given: dict[str, Any]) -> dict[str, Any]:
        """Return alpha and beta as tensors, in which snnTorch computes, and the threshold."""
        alpha, beta = given["alpha"], given["beta"]
        for name, value in (("alpha", alpha), ("beta", beta)):
            number("Alpha", name, value, above=0.0, most=1.0)
        if bool((tensor(alpha) <= tensor(beta)).any()):
            raise ValueError(f"Alpha: alpha={alpha!r} is not greater than beta={beta!r}; exchange them")
        return given | {"alpha": tensor(alpha), "beta": tensor(beta)}

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the scale from alpha and beta."""
        params = clamped(stored)
        log_alpha, log_beta = torch.log(params["alpha"]), torch.log(params["beta"])
        return params | {"scale": log_alpha / (log_beta - log_alpha) + 1}
