"""From a case to the call that it stands for."""

from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.subject import Subject

OURS = "spikingtorch"
OUR_LOOP = "spikingtorch, loop"
JAX = "jax.lax.scan"
ADD = "torch.add"
SWEEP = "sweep"

# the networks; what else is a model of a case is a neuron
DIGITS, LINEAR, DEEP = "digits", "linear", "deep"
NETWORKS = (DIGITS, LINEAR, DEEP)

# the imports stand in the functions, so that a worker loads no library but the one that it runs


def subject(implementation: str, neuron: str, case: Case, backend: str) -> Subject:
    """Return a neuron of an implementation."""
    if implementation == JAX:
        from benchmarks import jax_scan

        return jax_scan.neuron(neuron, case.size)
    if implementation in (OURS, OUR_LOOP):
        from benchmarks import ours

        return ours.neuron(neuron, case.size, backend if implementation == OURS else "loop")
    from benchmarks import peers

    return peers.neuron(implementation, case.size)


def build(case: Case, backend: str) -> dict[str, Callable[[], object]]:
    """Return the calls of a case's implementation by mode, on inputs that they share.

    Args:
        case: what to run; its mode is ignored.
        backend: backend of scan for OURS and for SWEEP.
    """
    if case.model in NETWORKS:
        from benchmarks.networks.subject import network

        return network(case).calls()
    if case.implementation == ADD:
        from benchmarks import ours

        return dict(ours.addition(case.size))
    if case.implementation == SWEEP:
        from benchmarks import ours

        return dict(ours.sweep(case.size, backend))
    return subject(case.implementation, case.model, case, backend).calls()
