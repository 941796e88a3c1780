"""
A neuron with a frequency of its own
====================================

The membrane of a ``ResonateAndFire`` neuron swings. A weak sine wave lifts it far only at the frequency of the
neuron. Each curve is 150 frequencies at once, for neurons whose oscillation is damped less and less.
"""

# %%
import math

import matplotlib.pyplot as plt
import torch

import spikingtorch as st

own = 2 * math.pi  # one cycle per unit of time, in 100 steps of 0.01
frequencies = torch.linspace(0.2, 3.0, 150)
times = 0.01 * torch.arange(2000)
waves = torch.sin(2 * math.pi * times[:, None, None] * frequencies)  # steps, samples, neurons

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for damping in (-2.0, -1.0, -0.6):
    layer = st.ResonateAndFire(omega=own, damping=damping, threshold=10.0, returns=("spikes", "v"))
    _, v = st.MultiStep(layer)(waves)
    ax.plot(frequencies, v[1000:].amax(0).flatten(), label=f"damping {damping:g}")
ax.axvline(1.0, color="gray", linestyle=":")
ax.set(xlabel="frequency of the input (cycles per unit of time)", ylabel="largest membrane", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()
