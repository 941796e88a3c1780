"""A neuron for verification: its implementations, and the ranges of its parameters and inputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.verification import oracles
from spikingtorch.verification.trial import Trial

MARGIN = 1e-6  # least distance of a membrane from the threshold, against rounding errors of 1e-15
# learnable, as every parameter of a case
V_RESET = torch.tensor(-0.25, dtype=torch.float64)
ORACLE_RESETS: dict[F.Reset, oracles.Reset] = {
    F.to_zero: oracles.to_zero,
    F.by_subtraction: oracles.by_subtraction,
    F.none: oracles.none,
    F.to_value(V_RESET): oracles.to_value(-0.25),
}
RESETS: tuple[F.Reset, ...] = (*ORACLE_RESETS, *(F.detached(rule) for rule in ORACLE_RESETS))
# of neurons whose membrane would run away without one
BINDING = tuple(rule for rule in RESETS if rule not in (F.none, F.detached(F.none)))


class Seen:
    """A surrogate that records its arguments."""

    def __init__(self) -> None:
        self.membranes: list[Tensor] = []
        self.probabilities: list[Tensor] = []

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u)."""
        self.membranes.append(u)
        return F.heaviside(u)

    def primitive(self, u: Tensor) -> Tensor:
        """Return the probability of a spike."""
        p = F.Sigmoid().primitive(u)
        self.probabilities.append(p)
        return p


class Case(NamedTuple):
    """A neuron.

    Attributes:
        name: as in the names of its functions, ``name_step``.
        step: the torch step.
        twin: the JAX step.
        state_type: NamedTuple of the state.
        oracle: the numpy loop.
        params: parameters, each with its range of random values.
        inputs: the range of each input.
        resets: the reset rules that the neuron takes.
        spikes: whether it spikes at all.
        shape: of the neurons, eight of them.
        weights: shape of the recurrent weights of a recurrent neuron.
        at_rest: the membrane at the start of a sequence.
        levels: whether the neuron takes spike functions with other values than 0 and 1.
        make_rest: the state at rest for an input, if it is not a NamedTuple of tensors.
        lsb: the unit of a neuron that computes with whole numbers. Its parameters are multiples of it, and rounding
            errors decide nothing, even at the threshold.
    """

    name: str
    step: Callable[..., tuple[Any, Tensor]]
    twin: Callable[..., Any]
    state_type: type[Any]
    oracle: Callable[..., oracles.Result]
    params: dict[str, tuple[float, float]]
    inputs: tuple[tuple[float, float], ...] = ((-0.6, 1.4),)
    resets: tuple[F.Reset, ...] = RESETS
    spikes: bool = True
    shape: tuple[int, ...] = (8,)
    weights: tuple[int, ...] | None = None
    at_rest: float = 0.0
    levels: bool = True
    make_rest: Callable[[Tensor], Any] | None = None
    lsb: float | None = None

    def draw(self, T: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Any, dict[str, Tensor]]:
        """Draw inputs (T, *shape), a tuple if the neuron has several, and parameters for each neuron."""
        rng = np.random.default_rng(seed)
        xs = [torch.tensor(rng.uniform(*span, size=(T, *self.shape))).to(dtype) for span in self.inputs]
        spans = self.params.items()
        params = {
            name: self._on_grid(torch.tensor(rng.uniform(*span, size=self.shape))).to(dtype) for name, span in spans
        }
        if self.weights is not None:
            params["recurrent_weight"] = torch.tensor(rng.uniform(-0.1, 0.1, size=self.weights)).to(dtype)
        return (tuple(xs) if len(xs) > 1 else xs[0]), params

    def _on_grid(self, value: Tensor) -> Tensor:
        return value if self.lsb is None else torch.floor(value / self.lsb) * self.lsb

    def rest(self, xs: Any) -> Any:
        """Return the state at rest."""
        first: Tensor = xs[0] if len(self.inputs) > 1 else xs
        rest = F.zeros_state(self.state_type, first[0]) if self.make_rest is None else self.make_rest(first[0])
        if self.at_rest:
            rest = rest._replace(v=rest.v + self.at_rest)
        return rest if self.weights is None else F.RecurrentState(rest, torch.zeros_like(first[0]))

    def initial(self, xs: Any) -> Any:
        """Return a state between rest and threshold."""
        height = self._on_grid(torch.tensor(0.1, dtype=torch.float64)).item()

        def lifted(state: Any) -> Any:
            return state._replace(v=state.v + height) if "v" in getattr(state, "_fields", ()) else state

        rest = self.rest(xs)
        return lifted(rest) if self.weights is None else F.RecurrentState(lifted(rest.neuron), rest.s + 0.5)

    def recurrent(self, synapse: str, shape: tuple[int, ...], weights: tuple[int, ...]) -> "Case":
        """Return the neuron with recurrent spikes, in the shape of a synapse."""
        step: Any = F.Recurrent(self.step, getattr(F, synapse))
        twin: Any = J.Recurrent(self.twin, getattr(J, synapse))
        return self._replace(name=f"{self.name}, {synapse}", step=step, twin=twin, shape=shape, weights=weights)

    def rules(self) -> tuple[F.Reset | None, ...]:
        """Return the reset rules that the neuron takes; None stands for its built-in rule."""
        return self.resets or (None,)

    def options(self, surrogate: Any = None, reset: Any = None) -> dict[str, Any]:
        """Return the keyword arguments for a surrogate and a reset rule, if the neuron takes them."""
        chosen = {"surrogate": surrogate if self.spikes else None, "reset": reset if self.resets else None}
        return {name: value for name, value in chosen.items() if value is not None}

    def margin(self, T: int, reset: F.Reset | None = None) -> float:
        """Return the smallest distance of a membrane from the threshold in a random sequence."""
        if self.lsb is not None:
            return torch.inf
        xs, params = self.draw(T)
        seen = Seen()
        F.scan(self.step, self.initial(xs), xs, params=params | self.options(seen, reset), backend="loop")
        # a stochastic neuron compares a probability with a random number
        noise = xs[1] if seen.probabilities else ()
        chances = [(p - n).abs() for p, n in zip(seen.probabilities, noise, strict=True)]
        return min([u.abs().min().item() for u in (*seen.membranes, *chances)], default=torch.inf)

    def is_robust(self, T: int, surrogate: Any, reset: F.Reset | None) -> bool:
        """Return True if every output keeps its level when the inputs change by the margin, up or down."""
        if self.lsb is not None:
            return True
        xs, params = self.draw(T)
        levels = []
        for shift in (-10.0 * MARGIN, 0.0, 10.0 * MARGIN):
            moved = tuple(x + shift for x in xs) if isinstance(xs, tuple) else xs + shift
            options = params | self.options(surrogate, reset)
            out = F.scan(self.step, self.initial(xs), moved, params=options, backend="loop")[1]
            levels.append(out.sign() if isinstance(surrogate, F.Graded) else out)
        return bool((levels[0] == levels[1]).all() and (levels[1] == levels[2]).all())

    def trial(self, T: int, surrogate: F.Surrogate, twin: Any, reset: F.Reset | None) -> Trial:
        """Return the comparison with the twin for T steps, a surrogate with its twin, and a reset rule."""
        xs, params = self.draw(T)
        ours, theirs = self.options(surrogate, reset), self.options(twin)
        return Trial(self.step, self.twin, self.initial(xs), xs, params | ours, theirs)
