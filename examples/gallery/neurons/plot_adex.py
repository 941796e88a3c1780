"""
Adaptation by a current
=======================

In an ``AdEx`` neuron each spike adds ``b`` to a current ``w`` that pulls the membrane down. The parameter is a tensor
with one value for each neuron here, so that one call runs four neurons. The larger ``b`` is, the more rarely they
fire.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

b = torch.tensor([0.0, 0.05, 0.15, 0.4])
current = torch.zeros(200, 1, 4)  # steps, samples, neurons
current[20:] = 0.9
spikes, v = st.MultiStep(st.AdEx(b=b, tau_w=60.0, returns=("spikes", "v")))(current)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=ax)
ax.set_title("b = 0, 0.05, 0.15 and 0.4, from below", loc="left", fontsize=10)
plt.show()
