"""
Four resets compared
====================

A reset rule says what a spike does to the membrane. Reset to zero forgets what was above the threshold. Reset by
subtraction keeps it, so that the neuron fires more regularly. A reset below zero delays the next spike.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import plot

rules: dict[str, F.Reset] = {"to_zero": F.to_zero, "by_subtraction": F.by_subtraction}
rules |= {"to_value(-0.5)": F.to_value(-0.5), "none": F.none}
current = torch.zeros(60, 1, 1)  # steps, samples, neurons
current[5:45] = 0.36

figure, axes = plt.subplots(2, 2, figsize=(8, 4.2), sharex=True, layout="constrained")
for ax, (name, rule) in zip(axes.flat, rules.items(), strict=True):
    spikes, v = st.MultiStep(st.LIF(tau=8.0, reset=rule, returns=("spikes", "v")))(current)
    plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=ax)
    ax.set_title(f"reset={name}", loc="left", fontsize=10)
    ax.set_ylabel("")
for ax in axes[0]:
    ax.set_xlabel("")
plt.show()
