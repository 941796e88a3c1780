"""The layer of leaky neurons with escape noise."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.checkpoint import region
from spikingtorch.layers.limits import FIRES, POSITIVE, SHARE, Limits
from spikingtorch.layers.options import Options, Value, arguments
from spikingtorch.layers.param_maps import Leaky
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_escape, check_floating


class StochasticLIF(Leaky, StepLayer):
    """Apply LIF neurons with escape noise to an input: they fire at random.

        u[t] = a v[t-1] + b x[t],  a and b as in LIF
        s[t] = 1 with probability phi(u[t] - threshold), else 0,  v[t] = reset(u[t], s[t], threshold)

    The gradient of s is that of its probability. The noise is drawn at each call, from torch's generator or from your
    ``generator``. ``layer(x, init, noise=...)`` takes your own numbers, uniform in [0, 1).

    Args:
        tau: membrane time constant in steps, positive, with ``dt`` in its unit.
        threshold: membrane around which the neuron fires.
        surrogate: its primitive phi is the probability of a spike: Sigmoid, Arctan, Triangular, Gaussian, Erf or
            PiecewiseExponential.
        reset: what a spike does to the membrane, as in IF.
        generator: draws the noise instead of torch's generator.
        norm_input: as in LIF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.

    >>> StochasticLIF(tau=8.0)(torch.tensor([0.5, 1.5]), init=True, noise=torch.tensor([0.9, 0.1]))
    tensor([0., 1.])
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "decay": SHARE, **FIRES, "surrogate": Limits(test=check_escape)}

    @arguments()
    def __init__(
        self,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        *,
        surrogate: Any = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        generator: torch.Generator | None = None,
        norm_input: bool = False,
        **options: Unpack[Options],
    ) -> None:
        fires: Any = {"threshold": threshold, "surrogate": surrogate, "reset": reset, "norm_input": norm_input}
        super().__init__(F.stochastic_lif_step, F.StochasticLIFState, tau=tau, **fires, **options)
        self.generator = generator

    def forward(self, x: Tensor, init: bool | Tensor | None = None, *, noise: Tensor | None = None) -> Tensor:
        """Advance one step; see ``StepLayer.forward``.

        Args:
            x: input, floating, shape (N, ...).
            init: as in ``StepLayer.forward``.
            noise: numbers that are uniform in [0, 1), of the shape of x; drawn by default.
        """
        check_floating("StochasticLIF", "x", x)
        if noise is None and self.generator is not None and region() is not None:
            raise RuntimeError(
                "StochasticLIF: torch.utils.checkpoint calls the layer twice, and does not put a generator of yours "
                "back in between; leave generator out, or hand in noise="
            )
        if noise is None:
            noise = torch.rand(x.shape, generator=self.generator, dtype=F.lift(x).dtype, device=x.device)
        # in full precision: in half precision, probabilities would be multiples of 1 / 256
        output: Tensor = self._advance(F.StochasticInput(x, F.lift(noise)), init)
        return tree_map(lambda out: out.to(x.dtype), output)
