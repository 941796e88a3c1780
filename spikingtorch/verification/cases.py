"""One record for each neuron: the table that the tests and ``python -m spikingtorch verify`` run over."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax
from spikingtorch.verification import oracles
from spikingtorch.verification.trial import Trial

LENGTHS = (1, 2, 17)
MARGIN = 1e-6  # least distance of a membrane from the threshold, against rounding errors of 1e-15
ORACLE_RESETS: dict[F.Reset, oracles.Reset] = {
    F.to_zero: oracles.to_zero,
    F.by_subtraction: oracles.by_subtraction,
    F.none: oracles.none,
}
RESETS: tuple[F.Reset, ...] = (
    *ORACLE_RESETS,
    F.detached(F.to_zero),
    F.detached(F.by_subtraction),
    F.detached(F.none),
)
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
# every surrogate beside its twin, those that users fill in among them
TWINS: tuple[tuple[F.Surrogate, Any], ...] = (
    *((surrogate, to_jax(surrogate)) for surrogate in SURROGATES),
    (F.FromPrimitive(torch.tanh), J.FromPrimitive(jnp.tanh)),
    (F.FromDerivative(torch.cos), J.FromDerivative(jnp.cos)),
)
COEFFICIENTS = (
    (F.decay_from_tau, J.decay_from_tau),
    (F.gain_from_tau, J.gain_from_tau),
    (F.refractory_gain_from_tau, J.refractory_gain_from_tau),
)


class Case(NamedTuple):
    """A neuron.

    Attributes:
        name: as in the names of its functions, ``name_step``.
        step: the torch step.
        twin: the JAX step.
        state_type: NamedTuple of the state.
        oracle: the numpy loop.
        params: parameters, each with the range that it is drawn from.
        inputs: the range of each input.
        resets: whether the neuron takes reset rules.
        spikes: whether it spikes at all.
        shape: of the neurons, eight of them.
        weights: shape of the recurrent weights of a recurrent neuron.
    """

    name: str
    step: Callable[..., tuple[Any, Tensor]]
    twin: Callable[..., Any]
    state_type: type[Any]
    oracle: Callable[..., oracles.Result]
    params: dict[str, tuple[float, float]]
    inputs: tuple[tuple[float, float], ...] = ((-0.6, 1.4),)
    resets: bool = True
    spikes: bool = True
    shape: tuple[int, ...] = (8,)
    weights: tuple[int, ...] | None = None

    def draw(self, T: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Any, dict[str, Tensor]]:
        """Draw inputs (T, *shape), a tuple of them where the neuron has several, and parameters for each neuron."""
        rng = np.random.default_rng(seed)
        xs = [torch.tensor(rng.uniform(*span, size=(T, *self.shape))).to(dtype) for span in self.inputs]
        spans = self.params.items()
        params = {name: torch.tensor(rng.uniform(*span, size=self.shape)).to(dtype) for name, span in spans}
        if self.weights is not None:
            params["recurrent_weight"] = torch.tensor(rng.uniform(-0.1, 0.1, size=self.weights)).to(dtype)
        return (tuple(xs) if len(xs) > 1 else xs[0]), params

    def rest(self, xs: Any) -> Any:
        """Return the state at rest."""
        first: Tensor = xs[0] if len(self.inputs) > 1 else xs
        rest = F.zeros_state(self.state_type, first[0])
        return rest if self.weights is None else F.RecurrentState(rest, torch.zeros_like(first[0]))

    def initial(self, xs: Any) -> Any:
        """Return a state between rest and threshold."""

        def lifted(state: Any) -> Any:
            return state._replace(v=state.v + 0.1) if "v" in state._fields else state

        rest = self.rest(xs)
        return lifted(rest) if self.weights is None else F.RecurrentState(lifted(rest.neuron), rest.s + 0.5)

    def recurrent(self, synapse: str, shape: tuple[int, ...], weights: tuple[int, ...]) -> "Case":
        """Return the neuron with its spikes coming back to it, shaped for a synapse."""
        step: Any = F.Recurrent(self.step, getattr(F, synapse))
        twin: Any = J.Recurrent(self.twin, getattr(J, synapse))
        return self._replace(name=f"{self.name}, {synapse}", step=step, twin=twin, shape=shape, weights=weights)

    def rules(self) -> tuple[F.Reset | None, ...]:
        """Return the reset rules that the neuron takes; None stands for the one that is built in."""
        return RESETS if self.resets else (None,)

    def options(self, surrogate: Any = None, reset: Any = None) -> dict[str, Any]:
        """Return the keyword arguments for a surrogate and a reset rule, as far as the neuron takes them."""
        chosen = {"surrogate": surrogate if self.spikes else None, "reset": reset if self.resets else None}
        return {name: value for name, value in chosen.items() if value is not None}

    def margin(self, T: int, reset: F.Reset | None = None) -> float:
        """Return the least distance of a membrane from the threshold in a drawn sequence."""
        distances = [torch.inf]

        def record(u: Tensor) -> Tensor:
            distances.append(u.abs().min().item())
            return F.heaviside(u)

        xs, params = self.draw(T)
        F.scan(self.step, self.initial(xs), xs, params=params | self.options(record, reset), backend="loop")
        return min(distances)

    def trial(self, T: int, surrogate: F.Surrogate, twin: Any, reset: F.Reset | None) -> Trial:
        """Return the comparison with the twin for T steps, a surrogate with its twin, and a reset rule."""
        xs, params = self.draw(T)
        ours, theirs = self.options(surrogate, reset), self.options(twin)
        return Trial(self.step, self.twin, self.initial(xs), xs, params | ours, theirs)


_THRESHOLD = {"threshold": (0.5, 1.2)}
_LEAK = {"decay": (0.5, 0.98), "gain": (0.5, 1.2)}
_COARSE = _LEAK | {"refractory_gain": (0.3, 0.6)} | _THRESHOLD
_BIO = {"nudt": (0.2, 0.9), "threshold": (0.2, 0.4)}
_CONDUCTANCES = ((0.0, 3.0), (0.0, 1.0))
CASES = (
    Case("if", F.if_step, J.if_step, F.IFState, oracles.integrate_and_fire, _THRESHOLD),
    Case("lif", F.lif_step, J.lif_step, F.LIFState, oracles.leaky, _LEAK | _THRESHOLD),
    Case(
        "coarse_lif",
        F.coarse_lif_step,
        J.coarse_lif_step,
        F.CoarseLIFState,
        oracles.coarse_lif,
        _COARSE,
        resets=False,
    ),
    Case("biolif", F.biolif_step, J.biolif_step, F.BioLIFState, oracles.biolif, _BIO, _CONDUCTANCES),
    Case("mcpitts", F.mcpitts_step, J.mcpitts_step, F.McPittsState, oracles.mcpitts, _THRESHOLD, resets=False),
    Case(
        "spiking_decay",
        F.spiking_decay_step,
        J.spiking_decay_step,
        F.SpikingDecayState,
        oracles.spiking_decay,
        {"tau": (1.2, 8.0)} | _THRESHOLD,
    ),
    Case("li", F.li_step, J.li_step, F.LIState, oracles.leaky_integrator, _LEAK, resets=False, spikes=False),
)
# synapses, each with a shape of the neurons and of the weights
SYNAPSES: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("dense", (8,), (8, 8)),
    ("per_channel", (2, 4), (2, 1)),
    ("convolution", (2, 4), (2, 2, 3)),
)
RECURRENT = tuple(case.recurrent(*synapse) for case in CASES for synapse in SYNAPSES)
SPIKING = tuple(case for case in CASES if case.spikes)
WITH_RESETS = tuple((case, reset) for case in CASES for reset in case.rules())


def by_name(value: object) -> str:
    """Name a neuron, a surrogate or a reset rule."""
    rule = getattr(value, "rule", None)
    if rule is not None:
        return f"{by_name(rule)}, detached"
    return str(getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__)
