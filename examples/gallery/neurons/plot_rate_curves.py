"""
How often a neuron fires for a current
======================================

The curve of the firing rate against a constant current tells neurons apart. All currents of a curve are neurons of
one layer. A leak needs a current that is large enough, a rest after each spike limits the rate, and adaptation lowers
it.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st

currents = torch.linspace(0.0, 1.0, 200)
inputs = currents.expand(500, 1, 200)  # steps, samples, neurons
layers = {
    "IF": st.IF(),
    "LIF": st.LIF(tau=8.0),
    "LIF, reset by subtraction": st.LIF(tau=8.0, reset=st.functional.by_subtraction),
    "LIF, refractory for 5 steps": st.LIF(tau=8.0, refractory=5),
    "ALIF": st.ALIF(tau=8.0),
}

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, layer in layers.items():
    rates = st.MultiStep(layer)(inputs)[100:].mean((0, 1))  # after the first 100 steps
    ax.plot(currents, rates, label=name)
ax.set(xlabel="input current", ylabel="spikes per step", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()
