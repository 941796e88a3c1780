"""The layer of leaky neurons with a learnable time constant."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, THRESHOLD, Limits
from spikingtorch.layers.options import Options, Value
from spikingtorch.layers.rest import RestingLayer
from spikingtorch.validation import check_parameter


def _leak(stored: dict[str, Any]) -> dict[str, Any]:
    params = dict(stored)
    return params | {"leak": F.leak_from_w(params.pop("w"))}


class ParametricLIF(RestingLayer):
    """Apply LIF neurons with a learnable time constant to an input, by Euler's method (W. Fang et al., ICCV 2021).

        u[t] = v[t-1] + k (x[t] - (v[t-1] - v_rest)),  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        k = 1 / tau = 1 / (1 + exp(-w))

    The parameter w is learnable and may take any value: k stays between 0 and 1.

    Args:
        tau: the initial time constant in steps, above 1; with ``dt`` in its unit, and above dt.
        threshold: membrane at which the neuron fires.
        v_rest: membrane without input; a sequence starts there, without a gradient.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable ("w" by default), recurrent, constrain, refractory, returns and dt, as in StepLayer.

    >>> ParametricLIF(tau=2.0)
    ParametricLIF(w=0 (learnable), threshold=1.0, v_rest=0.0, surrogate=Sigmoid(beta=5.0), reset=to_zero)
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_rest"}
    limits: Mapping[str, Any] = {"w": Limits(), "threshold": THRESHOLD, **KINDS}
    fixed: ClassVar[tuple[str, ...]] = ("dt",)
    times: ClassVar[tuple[str, ...] | None] = ()
    param_map = staticmethod(_leak)

    def __init__(
        self,
        tau: Value = 2.0,
        threshold: Value = 1.0,
        v_rest: Value = 0.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        dt = options.get("dt", 1.0)
        check_parameter("ParametricLIF", "dt", dt, above=0.0)
        check_parameter("ParametricLIF", "tau", tau, above=dt)
        ratio = tau / dt - 1.0
        given: Options = {"learnable": "w", **options}
        super().__init__(
            F.euler_lif_step,
            F.EulerLIFState,
            w=-torch.log(ratio.detach()) if isinstance(ratio, Tensor) else math.log(1.0 / ratio),
            threshold=threshold,
            v_rest=v_rest,
            surrogate=surrogate,
            reset=reset,
            **given,
        )

    @property
    def tau(self) -> Tensor:
        """The time constant, in the unit of dt."""
        return (1.0 + torch.exp(-torch.as_tensor(self.w))) * getattr(self, "dt", 1.0)
