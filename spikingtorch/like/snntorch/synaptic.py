"""Synaptic and Alpha: neurons whose input is a current that lasts."""

from typing import Any

import torch

from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of
from spikingtorch.like.options import number, tensor
from spikingtorch.like.snntorch.neuron import Neuron, clamped
from spikingtorch.like.steps import snntorch as steps
from spikingtorch.like.steps.snntorch import Mechanism, Value


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
        learn_alpha: train alpha, which snnTorch 1.0.0 cannot: its constructor raises.
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
        """Return the parameters with the scale that alpha and beta make."""
        params = clamped(stored)
        log_alpha, log_beta = torch.log(params["alpha"]), torch.log(params["beta"])
        return params | {"scale": log_alpha / (log_beta - log_alpha) + 1}
