"""
A spike that acts for several steps
===================================

In a ``CubaLIF`` neuron, a spike feeds a synaptic current which decays, and the current feeds the membrane. In an
``AlphaLIF`` neuron the current also takes time to rise. Both get the same spikes.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

inputs = torch.zeros(100, 1, 1)  # steps, samples, neurons
inputs[[10, 40, 44, 48, 52, 56]] = 0.35
returns = ("spikes", "v", "i")
layers = [st.CubaLIF(tau_syn=5.0, returns=returns), st.AlphaLIF(tau_rise=5.0, tau_syn=5.0, returns=returns)]

figure, columns = plt.subplots(2, 2, figsize=(8, 4), sharex=True, sharey="row", layout="constrained")
for (above, below), layer in zip(columns.T, layers, strict=True):
    spikes, v, current = st.MultiStep(layer)(inputs)
    plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=above)
    above.set_title(type(layer).__name__, loc="left", fontsize=10)
    above.set_xlabel("")
    below.plot(current.flatten(), color="tab:green")
    below.vlines(inputs.flatten().nonzero(), 0, 0.35, color="tab:red")
    below.set(xlabel="time (steps)", ylabel="current, and input")
    below.spines[["top", "right"]].set_visible(False)
plt.show()
