"""From a case to the call that it stands for."""

from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.subject import Subject

OURS = "spikingtorch"
OUR_LOOP = "spikingtorch, loop"
OUR_COMPILE = "spikingtorch, compile"
JAX = "jax.lax.scan"
ADD = "torch.add"
SWEEP = "sweep"

# what has to do with a compiler that takes long: it has run before the clock does
COMPILED = (OUR_COMPILE,)

# a neuron whose spikes come back to it through a matrix
RECURRENT = "recurrent"

# the networks; what else is a model of a case is a neuron
DIGITS, LINEAR, DEEP = "digits", "linear", "deep"
NETWORKS = (DIGITS, LINEAR, DEEP)

# the imports stand in the functions, so that a worker loads no library but the one that it runs


_BACKENDS = {OUR_LOOP: "loop", OUR_COMPILE: "compile"}


def subject(implementation: str, neuron: str, case: Case, backend: str) -> Subject:
    """Return a neuron of an implementation.

    Raises:
        UnavailableError: the installed spikingtorch has no such backend.
    """
    if implementation == JAX:
        from benchmarks import jax_scan

        return jax_scan.neuron(neuron, case.size)
    if implementation in (OURS, OUR_LOOP, OUR_COMPILE):
        from benchmarks import ours

        if implementation == OUR_COMPILE:
            ours.demand(_BACKENDS[implementation])
        return ours.neuron(neuron, case.size, _BACKENDS.get(implementation, backend))
    from benchmarks import peers

    return peers.neuron(implementation, neuron, case.size)


def build(case: Case, backend: str) -> dict[str, Callable[[], object]]:
    """Return the calls of a case's implementation by mode, on inputs that they share.

    Args:
        case: what to run; its mode is ignored.
        backend: backend of scan for OURS and for SWEEP.

    Raises:
        UnavailableError: the installed spikingtorch cannot run it.
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
