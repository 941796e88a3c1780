"""
A leaky neuron under three currents
===================================

A leaky integrate-and-fire neuron adds up its input and forgets it with the time constant ``tau``. A small current
never lifts the membrane to the threshold. A larger one makes the neuron fire, and a still larger one makes it fire
more often.
"""

# %%
# One input of 100 steps has three neurons. The current flows from step 10 to step 80.
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

current = torch.zeros(100, 1, 3)  # steps, samples, neurons
current[10:80] = torch.tensor([0.1, 0.15, 0.3])

# %%
# ``returns`` asks for the membrane beside the spikes, and ``MultiStep`` runs all steps in one call.
layer = st.LIF(tau=8.0, returns=("spikes", "v"))
spikes, v = st.MultiStep(layer)(current)

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=axes)
axes.set_title("currents of 0.1, 0.15 and 0.3, from below", loc="left", fontsize=10)
plt.show()
