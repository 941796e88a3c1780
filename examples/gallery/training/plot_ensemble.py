"""
Eight networks at once
======================

Eight networks, equal but for their time constant, are trained together by ``vmap``. They have to tell a digit that is
shown after another one. A short memory holds too few spikes, and a long one mixes both. The example
``examples/ensemble_tau.py`` trains them for longer.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch.func import grad, vmap
from torch.utils.data import DataLoader

from examples import data
from examples.ensemble_tau import accuracies, initial_params, loss, show

torch.manual_seed(0)
train, test = data.load("digits")
taus = 2.0 ** torch.arange(-1, 7)
params = initial_params(len(taus))
optimizer = torch.optim.Adam(params.values(), lr=0.003)
for images, labels in DataLoader(train, batch_size=50, shuffle=True):
    gradients = vmap(grad(loss), in_dims=(0, 0, None, None))(params, taus, show(images), labels)
    for name, weight in params.items():
        weight.grad = gradients[name]
    optimizer.step()

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.plot(taus, [100 * share for share in accuracies(params, taus, test)], "o-")
ax.set(xlabel="membrane time constant (steps)", ylabel="test accuracy (%)", xscale="log", xticks=taus.tolist())
ax.xaxis.set_major_formatter("{x:g}")
ax.minorticks_off()
ax.spines[["top", "right"]].set_visible(False)
plt.show()
