"""
A neuron of your own
====================

A step is a function of a state and an input. ``StepLayer`` makes a layer of any step, which then runs over time,
draws and trains as the built-in ones do. This one is the neuron of FitzHugh and Nagumo, which has no reset: its
spikes are crossings.
"""

# %%
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import plot


class State(NamedTuple):
    """The membrane v, and the recovery w."""

    v: Tensor
    w: Tensor


def fitzhugh_nagumo(state: State, x: Tensor, *, dt: float, surrogate: Any = F.Sigmoid()) -> tuple[State, Tensor]:
    """Advance by one step of Euler's method; a spike is an upward crossing of v = 1."""
    v = state.v + dt * (state.v - state.v**3 / 3 - state.w + x)
    w = state.w + dt * 0.08 * (state.v + 0.7 - 0.8 * state.w)
    return State(v, w), surrogate(v - 1.0) * (state.v < 1.0)


# %%
# A current of 0.5 makes it oscillate.
layer = st.StepLayer(fitzhugh_nagumo, State, dt=0.1)
figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
plot.phase_plane(layer, torch.full((1500,), 0.5), limits=((-2.4, 2.4), (-0.8, 2.0)), ax=ax)
plt.show()
