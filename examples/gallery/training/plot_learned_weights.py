"""
What the first layer has learned
================================

Sixteen LIF neurons read digits, and each has a weight for each pixel. Before training the weights are noise.
Afterwards each neuron looks for strokes: it is excited where its weights are vermilion, and inhibited where they are
blue.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from examples import data
from spikingtorch import plot
from spikingtorch.losses import max_over_time_cross_entropy
from spikingtorch.spikeio import ConstantEncoder

torch.manual_seed(0)
first = nn.Linear(784, 16, bias=False)
net = nn.Sequential(nn.Flatten(), first, st.LIF(), nn.Linear(16, 10), st.LI())
model, encoder = st.SpikingNet(net), ConstantEncoder(8)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1.0)
train = data.load("digits")[0]
weights = [first.weight.detach().clone()]
for _ in range(2):
    for images, labels in torch.utils.data.DataLoader(train, batch_size=50, shuffle=True):
        loss = max_over_time_cross_entropy(model(encoder(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
weights.append(first.weight.detach())

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.5, 4), layout="constrained")
for ax, weight, title in zip(axes, weights, ("before", "after"), strict=True):
    plot.weights(weight.reshape(16, 1, 28, 28), kind="kernels", ax=ax)
    ax.set_title(title, loc="left", fontsize=10)
plt.show()
