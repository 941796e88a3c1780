"""The cells of the verification table, a pairwise cover of them, and their measurement; also of single functions."""

import heapq
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.verification.cases import CASES, LEVELS, MARGIN, RECURRENT, TWINS, WRAPPED, Case, by_name
from spikingtorch.verification.trial import TOLERANCE, Way, errors_by_backend, relative_error

ALLOWED = TOLERANCE[torch.float64]
BACKENDS: tuple[Way, ...] = ("loop", "fused", "jax")
# one program of many trials compiles faster than many programs, but a too large one delays all others
TOGETHER = 14
# stands in place of a surrogate, for a function alone
ALONE = "alone"
_SLOPE = 1.75
# fires with a probability, which is the primitive of its surrogate
_BY_CHANCE = "stochastic_lif"
# on both sides of the threshold, near it and far from it, but not at kinks of the primitives
POINTS = torch.tensor([-2.5, -0.7, -0.3, -1e-3, 1e-3, 0.2, 0.6, 1.7], dtype=torch.float64)


class Choice(NamedTuple):
    """A neuron with one surrogate, which has a twin, and one reset rule; None is the built-in one."""

    case: Case
    surrogate: tuple[F.Surrogate, Any]
    reset: F.Reset | None

    def names(self) -> tuple[str, str, str]:
        """Return the names of neuron, surrogate and reset rule."""
        surrogate = by_name(self.surrogate[0]) if self.case.spikes else "no spikes"
        return self.case.name, surrogate, by_name(self.reset) if self.case.resets else "built in"


class Cell(NamedTuple):
    """Relative errors of a neuron with a surrogate and a reset rule on a backend, or of a function alone."""

    neuron: str  # name of the neuron, with the synapse of a recurrent one; or name of the function
    surrogate: str
    rule: str
    backend: str
    errors: dict[str, float]  # the errors by quantity; none if the twin is not fused in JAX

    def worst(self) -> tuple[float, str]:
        """Return the largest error, and its quantity."""
        return max(((error, quantity) for quantity, error in self.errors.items()), default=(0.0, ""))

    def is_wrong(self) -> bool:
        """Return True if an error is out of tolerance."""
        return not self.worst()[0] <= ALLOWED

    def where(self) -> str:
        """Describe where the largest error is."""
        synapse = self.neuron.partition(", ")[2]
        named = self.surrogate if self.surrogate != ALONE else ""
        return ", ".join(each for each in (self.worst()[1], synapse, named, self.rule, self.backend) if each)


def alone(surrogate: Any, twin: Any) -> dict[str, float]:
    """Return the errors of a surrogate alone, at its own slope and at another, because a slope of 1 hides a factor."""
    pairs = [(surrogate, twin)]
    if any([isinstance(each, float) for each in surrogate]):
        pairs.append((type(surrogate)(_SLOPE), type(twin)(_SLOPE)))
    return _largest(surrogate_errors(*pair) for pair in pairs)


def neuron_of(name: str) -> str:
    """Return the name of a neuron without that of a synapse."""
    return name.partition(", ")[0]


def surrogates(case: Case) -> tuple[tuple[F.Surrogate, Any], ...]:
    """Return the surrogates that a neuron takes, each with its twin; a neuron without spikes gets a placeholder."""
    if not case.spikes or case.weights is not None:
        return TWINS[:1]
    if case.name == _BY_CHANCE:
        return tuple(pair for pair in TWINS if hasattr(pair[0], "primitive"))
    return TWINS + LEVELS if case.levels else TWINS


def choices(cases: Iterable[Case], whole: bool = False) -> list[Choice]:
    """Return the combinations to measure: a pairwise cover of neurons, surrogates and reset rules, or all of them."""
    product = [Choice(case, pair, rule) for case in cases for pair in surrogates(case) for rule in case.rules()]
    if whole:
        return product
    by_names = {choice.names(): choice for choice in product}
    return [by_names[names] for names in pairwise(list(by_names))]


def every_choice(whole: bool = False) -> list[Choice]:
    """Return all combinations, neuron by neuron; a recurrent neuron has one surrogate and one reset rule."""
    found = choices((*CASES, *WRAPPED), whole)
    found += [Choice(case, TWINS[0], case.rules()[0]) for case in RECURRENT]
    order = [case.name for case in (*CASES, *WRAPPED)]
    return sorted(found, key=lambda choice: order.index(neuron_of(choice.case.name)))


def measured(chosen: Sequence[Choice], lengths: Sequence[int]) -> list[Cell]:
    """Compare neurons with their twins on every backend, all twins in one program; refuse inputs near the threshold."""
    for choice in chosen:
        _refuse_near(choice, lengths)
    trials = [each.case.trial(T, *each.surrogate, each.reset) for each in chosen for T in lengths]
    found = {backend: iter(errors) for backend, errors in errors_by_backend(trials, BACKENDS).items()}
    return [
        Cell(*choice.names(), backend, _largest([next(errors) for _ in lengths]))
        for choice in chosen
        for backend, errors in found.items()
    ]


def _refuse_near(choice: Choice, lengths: Sequence[int]) -> None:
    case, (surrogate, _), reset = choice
    nearest = min(case.margin(T, reset) for T in lengths)
    if nearest < MARGIN:
        raise ValueError(f"{case.name}: a membrane comes within {nearest:.1e} of the threshold; draw other inputs")
    plain = case.name != _BY_CHANCE and choice.surrogate not in LEVELS
    if not plain and not all([case.is_robust(T, surrogate, reset) for T in lengths]):
        name = by_name(surrogate)
        raise ValueError(f"{case.name}: with {name}, rounding could decide about a spike; draw other inputs")


def _largest(errors: Iterable[dict[str, float]]) -> dict[str, float]:
    merged: dict[str, float] = {}
    for each in errors:
        for name, error in each.items():
            merged[name] = max(error, merged.get(name, 0.0))
    return merged


Row = TypeVar("Row", bound=tuple[Hashable, ...])


def pairwise(rows: Sequence[Row]) -> list[Row]:
    """Return some of the rows, in their order, that contain every pair of values of different columns.

    Rows are taken greedily: each time the first row with the most new pairs. The count of a row only shrinks while
    others are taken. So a row whose count is up to date and still the highest is the best one.

    Args:
        rows: the table, all rows of one length. Combinations that do not exist are left out of it.

    >>> pairwise([(a, b, c) for a in "xy" for b in "uv" for c in "st"])
    [('x', 'u', 's'), ('x', 'v', 't'), ('y', 'u', 't'), ('y', 'v', 's')]
    """
    pairs = [set(combinations(enumerate(row), 2)) for row in rows]
    missing = set().union(*pairs)
    queue = [(-len(found), index) for index, found in enumerate(pairs)]
    heapq.heapify(queue)
    taken = []
    while missing:
        _, index = heapq.heappop(queue)
        new = len(pairs[index] & missing)
        if new and queue and (-new, index) > queue[0]:
            heapq.heappush(queue, (-new, index))
        elif new:
            taken.append(index)
            missing -= pairs[index]
    return [rows[index] for index in sorted(taken)]


def surrogate_errors(surrogate: Any, twin: Any) -> dict[str, float]:
    """Return the relative errors of value, primitive, derivatives, and gradient of the parameter if there is one."""
    import jax

    with jax.enable_x64(True):
        theirs = to_torch(_twin_values(twin, to_jax(POINTS)))
    ours = _torch_values(surrogate, POINTS)
    assert ours.keys() == theirs.keys(), f"{surrogate!r} has {sorted(ours)}, its twin {sorted(theirs)}"
    return {name: relative_error(value, theirs[name]) for name, value in ours.items()}


def coefficient_errors(function: Callable[[Any], Any], twin: Callable[[Any], Any]) -> dict[str, float]:
    """Return the relative errors of a coefficient of tau: its values, also for floats, and its derivative."""
    import jax

    tau = torch.tensor([0.3, 0.9, 1.0, 1.1, 4.0, 20.0], dtype=torch.float64, requires_grad=True)
    value = function(tau)
    (slope,) = torch.autograd.grad(value.sum(), tau)
    with jax.enable_x64(True):
        taus = to_jax(tau.detach())
        want = to_torch((twin(taus), jax.vmap(jax.grad(twin))(taus)))
    floats = torch.tensor([function(each) for each in tau.tolist()], dtype=torch.float64)
    return {
        "value": max(relative_error(value.detach(), want[0]), relative_error(floats, want[0])),
        "derivative": relative_error(slope, want[1]),
    }


def _torch_values(surrogate: Any, points: Tensor) -> dict[str, Tensor]:
    u = points.clone().requires_grad_()
    s = surrogate(u)
    (first,) = torch.autograd.grad(s.sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), u, materialize_grads=True) if first.requires_grad else (0.0 * u,)
    values = {"value": s, "derivative": first, "second derivative": second}
    if hasattr(surrogate, "primitive"):
        values["primitive"] = surrogate.primitive(u)
    parameters = [torch.tensor(p, dtype=u.dtype, requires_grad=True) for p in surrogate if isinstance(p, float)]
    if parameters:
        gradients = torch.autograd.grad((type(surrogate)(*parameters)(u) * u.cos()).sum(), parameters)
        values["gradient of the parameter"] = torch.stack(gradients)
    return {name: value.detach() for name, value in values.items()}


def _twin_values(twin: Any, u: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    def total(twin: Any) -> Any:
        return (twin(u) * jnp.cos(u)).sum()

    values = {
        "value": twin(u),
        "derivative": twin.derivative(u),
        "second derivative": jax.vmap(jax.grad(jax.grad(twin)))(u),
    }
    if hasattr(twin, "primitive"):
        values["primitive"] = twin.primitive(u)
    if any(isinstance(p, float) for p in twin):
        gradients = jax.grad(total)(type(twin)(*(jnp.asarray(p) for p in twin)))
        values["gradient of the parameter"] = jnp.stack([*gradients])
    return values
