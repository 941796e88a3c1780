"""
Rest after a spike
==================

For ``refractory`` steps after a spike, a neuron takes no input and its membrane does not move. The time between
spikes grows by that much. The parameter is a tensor here: four neurons rest for 0, 4, 8 and 16 steps.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

layer = st.LIF(tau=8.0, refractory=torch.tensor([0.0, 4.0, 8.0, 16.0]), returns=("spikes", "v"))
spikes, v = st.MultiStep(layer)(torch.full((100, 1, 4), 0.3))  # steps, samples, neurons

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=ax)
ax.set_title("rests of 0, 4, 8 and 16 steps, from below", loc="left", fontsize=10)
plt.show()
