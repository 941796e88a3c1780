"""
An image in three codes
=======================

The same digit as spikes at random, at regular steps, and once for each pixel. The first two carry brightness in the
number of spikes, the third in their time. A row shows what has arrived after 1, 2, 4, 8 and 16 steps.
"""

# %%
import matplotlib.pyplot as plt
import torch

from examples import data
from spikingtorch.spikeio import LatencyEncoder, PeriodicEncoder, PoissonEncoder

torch.manual_seed(0)
image = data.load("digits")[1].tensors[0][2:3]  # samples, channels, height, width
encoders = {
    "at random": PoissonEncoder(16),
    "regular": PeriodicEncoder(16),
    "once": LatencyEncoder(16, threshold=0.1),
}
after = (1, 2, 4, 8, 16)

figure, axes = plt.subplots(3, 6, figsize=(8, 4.2), layout="constrained")
for row, (name, encoder) in zip(axes, encoders.items(), strict=True):
    arrived = encoder(image)[0, :, 0].cumsum(0).numpy()  # steps, height, width
    row[0].imshow(image[0, 0].numpy(), cmap="gray")
    row[0].set_ylabel(name)
    for ax, steps in zip(row[1:], after, strict=True):
        ax.imshow(arrived[steps - 1], cmap="gray", vmin=0, vmax=steps if name != "once" else 1)
        axes[0, after.index(steps) + 1].set_title(f"{steps} steps" if steps > 1 else "1 step", fontsize=10)
axes[0, 0].set_title("image", fontsize=10)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()
