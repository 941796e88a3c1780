"""
Neurons as points in a plane
============================

A neuron of two states is a point that moves. Arrows show where one step takes it, and on a coloured line one of the
states does not change. In the gray area the neuron fires. The left neuron swings around its rest, the right one
bursts.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

resonator = st.ResonateAndFire(omega=10.0, damping=-1.5)
bursting = st.Izhikevich(a=0.02, b=0.2, c=-50.0, d=2.0, dt=0.25)
pulse = torch.zeros(400)
pulse[10] = 80.0

figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
plot.phase_plane(resonator, pulse, limits=((-0.7, 1.2), (-0.7, 0.9)), ax=axes[0])
plot.phase_plane(bursting, torch.full((800,), 10.0), limits=((-90.0, 40.0), (-16.0, 8.0)), ax=axes[1])
for ax, layer in zip(axes, (resonator, bursting), strict=True):
    ax.set_title(type(layer).__name__, loc="left", fontsize=10, pad=34)
plt.show()
