"""
The distance of two sequences of spikes
=======================================

The van Rossum distance smooths spikes with an exponential and compares what comes out. One spike too many costs a
half. Spikes that come late cost the more, the shorter the time constant is: it decides whether the times count or
only their number.
"""

# %%
import matplotlib.pyplot as plt
import torch

from spikingtorch.losses import van_rossum_distance

target = torch.zeros(1, 200, 1)  # samples, steps, neurons
target[0, [20, 50, 90], 0] = 1.0
shifts = range(61)
late = torch.cat([target.roll(shift, 1) for shift in shifts])
targets = target.expand_as(late)

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for tau in (2.0, 5.0, 15.0, 50.0):
    distances = van_rossum_distance(late, targets, tau=tau, reduction="none")
    ax.plot(shifts, distances.flatten(), label=f"tau = {tau:g}")
ax.set(xlabel="how late all three spikes are (steps)", ylabel="distance", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()
