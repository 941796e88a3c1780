"""What small tests of spikingtorch.jax.scan call it with."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch.functional import jax_reference as J

XS = jnp.asarray(np.random.default_rng(0).uniform(-0.4, 1.2, (7, 2, 3)), jnp.float32)
V = jnp.full((2, 3), 0.1, jnp.float32)
START = J.LIFState(V)
QUIET = pytest.mark.filterwarnings("ignore:scan. :RuntimeWarning")


def lif(state: Any, x: Any, decay: Any = 0.9) -> Any:
    return J.lif_step(state, x, decay=decay)


def stepping(function: Callable[[Any], Any]) -> Any:
    """Return a step that lets a function look at its input."""

    def step(v: Any, x: Any) -> Any:
        u = 0.9 * v + 0.1 * jnp.tanh(function(x))
        return u, u * x

    return step
