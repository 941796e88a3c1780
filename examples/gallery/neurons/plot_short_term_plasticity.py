"""
Synapses that tire and synapses that warm up
============================================

``ShortTermPlasticity`` weighs each spike by what the synapse has left. The same spikes shrink at a synapse that
releases much and recovers slowly, and grow at one that releases little and facilitates.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st

spikes = torch.zeros(160, 1, 1)  # steps, samples, synapses
spikes[10:90:8] = 1.0
spikes[150] = 1.0
synapses = {
    "tires": st.ShortTermPlasticity(release=0.5, tau_facilitation=1.0, tau_recovery=60.0),
    "facilitates": st.ShortTermPlasticity(release=0.1, tau_facilitation=60.0, tau_recovery=4.0),
}

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for ax, (name, synapse) in zip(axes, synapses.items(), strict=True):
    efficacy = st.MultiStep(synapse)(spikes).flatten()
    ax.vlines(range(160), 0, efficacy, linewidth=2)
    ax.set_title(name, loc="left", fontsize=10)
    ax.set_xlabel("time (steps)")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(ylabel="efficacy of each spike", ylim=(0, None))
plt.show()
