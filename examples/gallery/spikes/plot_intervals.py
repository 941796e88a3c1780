"""
How regular a neuron is
=======================

The intervals between spikes say how regularly a neuron fires. Their CV is the standard deviation over the mean. A
steady current makes equal intervals. Where random excitation and inhibition cancel, the CV comes close to 1.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st

torch.manual_seed(0)
steps, neurons = 2000, 200
inputs = {
    "steady current": torch.full((steps, 1, neurons), 0.16) + 0.01 * torch.randn(steps, 1, neurons),
    "random excitation": 0.32 * (torch.rand(steps, 1, neurons) < 0.5).float(),
    "excitation and inhibition": 0.9 * torch.rand(steps, 1, neurons).sub(0.5).mul(3).round(),
}

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, layout="constrained")
for ax, (name, x) in zip(axes, inputs.items(), strict=True):
    spikes = st.MultiStep(st.LIF(tau=8.0))(x).squeeze(1)
    times = [each.nonzero().flatten() for each in spikes.T]
    intervals = torch.cat([each.diff() for each in times]).float()
    ax.hist(intervals, bins=range(0, 62, 2), density=True)
    ax.set_title(f"{name}\nCV = {intervals.std() / intervals.mean():.2f}", loc="left", fontsize=9)
    ax.set_xlabel("interval (steps)")
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
