"""One record for each neuron. Tests of every neuron run over this table; a new neuron is one more record."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests import oracle

LENGTHS = (1, 2, 17)
RESETS: dict[F.Reset, oracle.Reset] = {
    F.to_zero: oracle.to_zero,
    F.by_subtraction: oracle.by_subtraction,
    F.none: oracle.none,
}
SURROGATES = (
    F.Sigmoid(),
    F.FastSigmoid(),
    F.Arctan(),
    F.Triangular(),
    F.Gaussian(),
    F.Erf(),
    F.PiecewiseExponential(),
    F.StraightThrough(),
)


class Case(NamedTuple):
    """A neuron, its oracle, and the ranges that its inputs and parameters are drawn from."""

    name: str
    step: Callable[..., tuple[Any, Tensor]]
    state_type: type[Any]
    oracle: Callable[..., oracle.Result]
    params: dict[str, tuple[float, float]]
    inputs: tuple[tuple[float, float], ...] = ((-0.6, 1.4),)
    resets: bool = True
    spikes: bool = True

    def draw(
        self, T: int, N: int = 8, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> tuple[Any, dict[str, Tensor]]:
        """Draw inputs (T, N), a tuple of them where the neuron has several, and a value of each parameter a neuron."""
        rng = np.random.default_rng(seed)
        xs = [torch.tensor(rng.uniform(*span, size=(T, N))).to(dtype) for span in self.inputs]
        params = {name: torch.tensor(rng.uniform(*span, size=N)).to(dtype) for name, span in self.params.items()}
        return (tuple(xs) if len(xs) > 1 else xs[0]), params

    def initial(self, xs: Any) -> Any:
        """Return the state at rest."""
        first: Tensor = xs[0] if len(self.inputs) > 1 else xs
        return F.zeros_state(self.state_type, first[0])

    def options(self, surrogate: F.Surrogate | None = None, reset: F.Reset | None = None) -> dict[str, Any]:
        """Return the keyword arguments for a surrogate and a reset rule, as far as the neuron takes them."""
        chosen: dict[str, Any] = {"surrogate": surrogate} if surrogate is not None and self.spikes else {}
        return chosen | ({"reset": reset} if reset is not None and self.resets else {})


THRESHOLD = {"threshold": (0.5, 1.2)}
LEAK = {"decay": (0.5, 0.98), "gain": (0.5, 1.2)}
CASES = (
    Case("if", F.if_step, F.IFState, oracle.integrate_and_fire, THRESHOLD),
    Case("lif", F.lif_step, F.LIFState, oracle.leaky, LEAK | THRESHOLD),
    Case(
        "coarse_lif",
        F.coarse_lif_step,
        F.CoarseLIFState,
        oracle.coarse_lif,
        LEAK | {"refractory_gain": (0.3, 0.6)} | THRESHOLD,
        resets=False,
    ),
    Case(
        "biolif",
        F.biolif_step,
        F.BioLIFState,
        oracle.biolif,
        {"nudt": (0.2, 0.9), "threshold": (0.2, 0.4)},
        inputs=((0.0, 3.0), (0.0, 1.0)),
    ),
    Case("mcpitts", F.mcpitts_step, F.McPittsState, oracle.mcpitts, THRESHOLD, resets=False),
    Case(
        "spiking_decay",
        F.spiking_decay_step,
        F.SpikingDecayState,
        oracle.spiking_decay,
        {"tau": (1.2, 8.0)} | THRESHOLD,
    ),
    Case("li", F.li_step, F.LIState, oracle.leaky_integrator, LEAK, resets=False, spikes=False),
)
SPIKING = tuple(case for case in CASES if case.spikes)
WITH_RESETS = tuple((case, reset) for case in CASES for reset in (RESETS if case.resets else (F.to_zero,)))


def by_name(case: object) -> str:
    """Name a case in the output of pytest."""
    return getattr(case, "name", None) or getattr(case, "__name__", None) or type(case).__name__
