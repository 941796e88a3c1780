"""
Six firing patterns of one neuron model
=======================================

With other parameters, an Izhikevich neuron is another kind of neuron. The example ``examples/izhikevich.py`` has the
twenty kinds of the paper, which differ in parameters, step and input, and runs them in one scan. Six of them are
drawn here.
"""

# %%
import matplotlib.pyplot as plt
import torch

from examples.izhikevich import PATTERNS, simulate

names = {"tonic spiking", "tonic bursting", "spike frequency adaptation", "resonator", "rebound burst", "mixed mode"}
traces = simulate([pattern for pattern in PATTERNS if pattern.name in names])

figure, axes = plt.subplots(2, 3, figsize=(9, 4.4), layout="constrained")
for ax, (name, trace) in zip(axes.flat, traces.items(), strict=True):
    ax.plot(trace.times, torch.where(trace.spikes > 0, 30.0, trace.membrane), linewidth=1)
    scaled = trace.current / trace.current.abs().max()
    ax.plot(trace.times, 8 * scaled - 96, color="tab:red", linewidth=1)
    ax.set_title(name, loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
for ax in axes[1]:
    ax.set_xlabel("time (ms)")
for ax in axes[:, 0]:
    ax.set_ylabel("membrane (mV)")
plt.show()
