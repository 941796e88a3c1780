"""The sigma-delta neuron, which sends the changes of its activation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid, Surrogate


class SigmaDeltaState(NamedTuple):
    """Sum v of the inputs, and the activation that has been sent so far, each of shape (*N,)."""

    v: jax.Array
    sent: jax.Array


def sigma_delta_step(
    state: SigmaDeltaState,
    x: jax.Array,
    *,
    threshold: Parameter = 0.1,
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[SigmaDeltaState, jax.Array]:
    """Advance a sigma-delta neuron by one step.

        v[t]    = v[t-1] + x[t]
        e       = max(v[t], 0) - sent[t-1]
        s       = H(|e| - threshold)
        out[t]  = s e
        sent[t] = sent[t-1] + out[t]

    O'Connor and Welling, "Sigma delta quantized networks", ICLR 2017, doi:10.48550/arXiv.1611.02024.

    Arguments and returns: those of ``spikingtorch.functional.sigma_delta_step``.
    """
    v = state.v + x
    e = jax.nn.relu(v) - state.sent
    out = surrogate(jnp.abs(e) - threshold) * e
    return SigmaDeltaState(v=v, sent=state.sent + out), out
