"""
From ReLUs to spikes: accuracy against steps
============================================

``to_spiking`` turns a trained network of ReLUs into a spiking one. The more steps it is given, the closer its rates
come to the activations, and its accuracy to that of the network before. The example ``examples/convert.py`` does it
with convolutions.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

from examples import data
from examples.convert import classifier
from examples.training import accuracy
from spikingtorch.convert import to_spiking

torch.manual_seed(0)
train, test = data.load("digits")
ann = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(ann.parameters(), lr=0.002)
for images, labels in torch.utils.data.DataLoader(train, batch_size=64, shuffle=True):
    loss = nn.functional.cross_entropy(ann(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
steps = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for method in ("max", "robust"):
    model = to_spiking(ann, [train.tensors[0][:500]], method=method)
    ax.plot(steps, [100 * accuracy(classifier(model, T), test) for T in steps], "o-", markersize=4, label=method)
ax.axhline(100 * accuracy(ann, test), color="gray", linestyle=":", label="network of ReLUs")
ax.set(xlabel="steps", ylabel="test accuracy (%)", xscale="log", xticks=(1, 2, 4, 8, 16, 32))
ax.xaxis.set_major_formatter("{x:g}")
ax.minorticks_off()
ax.spines[["top", "right"]].set_visible(False)
ax.legend(title="thresholds by", frameon=False)
plt.show()
