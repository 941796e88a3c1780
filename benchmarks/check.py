"""The equality checks without which nothing is timed."""

import numpy as np

from benchmarks import peers
from benchmarks.networks import ARCHITECTURES
from benchmarks.neurons import NEURONS
from benchmarks.ours import CALLS, SWEEP
from benchmarks.subject import Subject
from benchmarks.suite import Array, Case, Size

# odd lengths, so that no block of a kernel comes out even
SIZE = Size(T=203, B=3, N=257)
# few steps and neurons where one spike that rounding moves reaches others
SIZES = {"digits": Size(T=8, B=5, N=784), "deep": Size(T=8, B=3, N=3 * 8 * 8)}
SIZES |= dict.fromkeys(["recurrent", "linear", *SWEEP], Size(T=67, B=3, N=65))
SIZES |= dict.fromkeys(CALLS, Size(T=17, B=3, N=11))

# largest error of a gradient over its largest entry. A time constant's is a sum over a whole input, of either sign;
# another library rounds elsewhere
GRADIENT, SWEEP_GRADIENT, JAX_GRADIENT, PEER_GRADIENT = 1e-5, 1e-4, 1e-4, 1e-3
# share of neurons whose spikes may differ, where one rounding error near threshold changes all that follows
NEAR_THRESHOLD = 0.01
COUNT, RATES = 0.02, (0.01, 0.5)


def demand(condition: bool, message: str) -> None:
    """Raise ValueError with the message if the condition does not hold."""
    if not condition:
        raise ValueError(message)


def check(contestant: str, model: str, backend: str) -> None:
    """Compare a contestant with a plain loop, and our networks with their steps; raise ValueError if they differ."""
    if contestant.startswith(("torch.add", "ReLU")):
        return  # yardsticks, which are no neurons
    case = Case(contestant, model, SIZES.get(model, SIZE))
    found = peers.subject(case, backend)
    compare(model, found, peers.subject(case, backend, plain=True), *_tolerance(case))
    if case.is_ours and model in ARCHITECTURES:
        steps = peers.subject(case._replace(contestant="spikingtorch, step"), backend)
        compare(model, found, steps, GRADIENT, NEAR_THRESHOLD)
    elif not case.is_ours and model not in ARCHITECTURES:
        loop = peers.subject(case._replace(contestant="spikingtorch, loop"), backend)
        more = float(found.observe(None)[0].sum() / loop.observe(None)[0].sum()) - 1.0
        demand(abs(more) <= COUNT, f"{more:+.1%} more spikes than our loop, and {COUNT:.0%} is the limit")


def _tolerance(case: Case) -> tuple[float, float]:
    """Return how far a gradient may be off, and the share of neurons whose spikes may differ."""
    if case.model in ARCHITECTURES or not case.is_ours or case.contestant.endswith("loop"):
        return JAX_GRADIENT if case.contestant == "jax.lax.scan" else PEER_GRADIENT, NEAR_THRESHOLD
    exact = NEURONS[case.model].exact if case.model in NEURONS else case.model != "recurrent"
    return SWEEP_GRADIENT if case.model in SWEEP else GRADIENT, 0.0 if exact else NEAR_THRESHOLD


def compare(model: str, one: Subject, other: Subject, limit: float, differing: float) -> None:
    """Compare spikes, and the gradients of those neurons, or samples of connected neurons, whose spikes agree."""
    (spikes, found), (others, expected) = one.observe(None), other.observe(None)
    rate, same = float(spikes.mean()), spikes == others
    demand(set(np.unique(spikes)) == {0.0, 1.0}, "spikes other than 0 and 1, or all the same")
    demand(RATES[0] <= rate <= RATES[1], f"spikes in {rate:.1%} of the steps, not in {RATES[0]:.0%} to {RATES[1]:.0%}")
    # the few neurons at the end of a network would count too much
    differ = 1.0 - float(np.mean(same if model in ARCHITECTURES else same.all(axis=0)))
    demand(differ <= differing, f"other spikes in {differ:.2%} of the neurons, and {differing:.2%} is the limit")
    if differ:
        connected = model == "recurrent" or model in ARCHITECTURES
        kept = same.all(axis=(0, 2) if connected else 0, keepdims=True).astype(np.float32)
        demand(bool(kept.any()), "in no sample do all spikes agree")
        found, expected = one.observe(kept)[1], other.observe(kept)[1]
    error = max(map(error_of, found, expected))
    demand(error <= limit, f"gradient off by {error:.1e} of its largest entry, and {limit:.0e} is the limit")


def error_of(found: Array, expected: Array) -> float:
    """Return the largest difference over the largest entry, infinite where a gradient is not finite or is zero."""
    largest = float(np.abs(expected).max())
    if not np.isfinite(found).all() or largest == 0.0 or not found.any():
        return float("inf")
    return float(np.abs(found - expected).max()) / largest
