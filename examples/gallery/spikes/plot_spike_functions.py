"""
Spikes of more than 0 and 1
===========================

A spike function decides what a neuron gives out at its threshold. Beside the plain spike, there are spikes of -1,
spikes as high as the membrane, and several spikes in one step. All four neurons get the same wave.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import functional as F

wave = 2.0 * torch.sin(torch.arange(100) / 8.0).reshape(100, 1, 1)  # steps, samples, neurons
functions: dict[str, F.Surrogate] = {"plain": F.Sigmoid(), "Ternary": F.Ternary()}
functions |= {"Graded": F.Graded(), "MultiSpike": F.MultiSpike()}

figure, axes = plt.subplots(4, 1, figsize=(7, 4.8), sharex=True, layout="constrained")
for ax, (name, function) in zip(axes, functions.items(), strict=True):
    out = st.MultiStep(st.LIF(tau=8.0, surrogate=function, reset=F.by_subtraction))(wave)
    ax.plot(wave.flatten(), color="tab:red", alpha=0.5, linewidth=1)
    ax.vlines(range(100), 0, out.flatten(), linewidth=1.6)
    ax.axhline(0.0, color="gray", linewidth=0.6)
    ax.set_title(name, loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
axes[-1].set_xlabel("time (steps)")
plt.show()
