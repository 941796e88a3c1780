"""The equality checks without which nothing is timed."""

from typing import Any

import numpy as np

from benchmarks.case import Case, Size
from benchmarks.inputs import Array
from benchmarks.subject import Subject
from benchmarks.workloads import JAX, NETWORKS, OUR_COMPILE, OURS, SWEEP, subject

# odd lengths, so that no block of a kernel comes out even
SIZE = Size(T=203, B=3, N=257)
SWEEP_SIZE = Size(T=67, B=3, N=65)
# few steps and neurons: one spike that rounding moves reaches all neurons of its sample
RECURRENT_SIZE = SWEEP_SIZE

GRADIENT = 1e-5
# another library rounds elsewhere: its gradients are sums of the same terms
PEER_GRADIENT = 1e-3
# share of neurons whose spike trains may differ, where one rounding error near threshold changes all that follows
NEAR_THRESHOLD = 0.01
COUNT = 0.02
RATES = (0.01, 0.5)


class CheckError(Exception):
    """An implementation does not compute what it is said to compute."""


def check(implementation: str, model: str, backend: str) -> dict[str, Any]:
    """Compare an implementation with a plain loop.

    Args:
        implementation: a name that ``workloads.build`` knows.
        model: which neuron, or which network.
        backend: backend of scan under test.

    Returns:
        The rate of spikes, the share of neurons whose trains differ, and the error of the gradient.

    Raises:
        CheckError: they differ by more than they may.
    """
    if implementation == SWEEP:
        return _check_sweep(backend)
    if model in NETWORKS:
        from benchmarks.networks.check import check as check_network

        return check_network(implementation, model)
    return _check_neuron(implementation, model, backend)


def _check_neuron(implementation: str, neuron: str, backend: str) -> dict[str, Any]:
    from benchmarks import ours, peers
    from benchmarks.neurons import NEURONS

    model = NEURONS[neuron]
    size = RECURRENT_SIZE if model.recurrent else SIZE
    found = subject(implementation, neuron, Case(implementation, size, model=neuron), backend)
    # the loop of this library is the reference, but for libraries whose surrogate or reset is another one
    loop = ours.neuron(neuron, size, "loop")
    if implementation in (OURS, OUR_COMPILE):
        return _compare(found, loop, GRADIENT, 0.0 if model.exact else NEAR_THRESHOLD, model.recurrent)
    is_peer = implementation in peers.known(neuron)
    documented = peers.as_documented(implementation, neuron, size) if is_peer else loop
    tolerance = PEER_GRADIENT if implementation != JAX else 1e-4
    report = _compare(found, documented, tolerance, NEAR_THRESHOLD, model.recurrent)
    counts = found.observe().spikes.sum() / loop.observe().spikes.sum() - 1.0
    demand(abs(counts) <= COUNT, f"{counts:+.1%} more spikes than our loop, and {COUNT:.0%} is the limit")
    return report


def _compare(one: Subject, other: Subject, tolerance: float, differing: float, recurrent: bool) -> dict[str, Any]:
    """Compare spikes, and the gradients in neurons whose spikes agree; recurrent ones, in samples all of whose do."""
    found, expected = one.observe(), other.observe()
    rate = float(found.spikes.mean())
    demand(found.spikes.shape == expected.spikes.shape, f"spikes of shape {found.spikes.shape}")
    demand(set(np.unique(found.spikes)) == {0.0, 1.0}, "spikes other than 0 and 1, or all the same")
    demand(RATES[0] <= rate <= RATES[1], f"spikes in {rate:.1%} of the steps, not in {RATES[0]:.0%} to {RATES[1]:.0%}")
    same = (found.spikes == expected.spikes).all(axis=0)
    differ = float(1.0 - same.mean())
    demand(differ <= differing, f"other spikes in {differ:.2%} of the neurons, and {differing:.2%} is the limit")
    if differ:
        kept = (same.all(axis=1, keepdims=True) if recurrent else same).astype(np.float32)
        demand(bool(kept.any()), "in no sample do all spikes agree")
        found, expected = one.observe(kept), other.observe(kept)
    pairs = zip(found.gradients, expected.gradients, strict=True)
    error = max(error_of(a, b) for a, b in pairs)
    demand(error <= tolerance, f"gradient off by {error:.1e} of its largest entry, and {tolerance:.0e} is the limit")
    return {"rate": rate, "neurons that differ": differ, "gradient error": error}


def error_of(found: Array, expected: Array) -> float:
    """Return the largest difference over the largest entry, infinite where a gradient is not finite or is zero."""
    largest = float(np.abs(expected).max(initial=0.0))
    if found.shape != expected.shape or not np.isfinite(found).all() or largest == 0.0 or not found.any():
        return float("inf")
    return float(np.abs(found - expected).max()) / largest


def _check_sweep(backend: str) -> dict[str, Any]:
    """Compare every way of the sweep with one call of the loop."""
    from benchmarks import ours

    spikes, inputs, taus = (t.detach().numpy() for t in ours.sweep(SWEEP_SIZE, "loop")["one call"]())
    error = 0.0
    for name, call in ours.sweep(SWEEP_SIZE, backend).items():
        found = [t.detach().numpy() for t in call()]
        # one call has the time constants on its second axis, and vmap on the first; vmap sums over a shared input
        if name != "one call":
            found[0] = found[0].swapaxes(0, 1)
        if name == "vmap, own inputs":
            found[1] = found[1].swapaxes(0, 1)
        expected = inputs.sum(axis=1) if name == "vmap" else inputs
        demand(bool((found[0] == spikes).all()), f"{name}: other spikes than one call of the loop")
        # sums over a whole input, of either sign, lose more digits than a sum over time
        error = max(error, error_of(found[1], expected), error_of(found[2], taus) / 10.0)
    demand(error <= GRADIENT, f"gradient off by {error:.1e} of its largest entry, and {GRADIENT:.0e} is the limit")
    return {"rate": float(spikes.mean()), "neurons that differ": 0.0, "gradient error": error}


def demand(condition: bool, message: str) -> None:
    """Raise CheckError with the message if the condition does not hold."""
    if not condition:
        raise CheckError(message)
