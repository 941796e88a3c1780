"""
A gradient for each sample
==========================

``vmap(grad(loss))`` gives the gradient of each sample of a batch in one call. A few samples have most of the loss,
and their gradients are the longest. Training that protects privacy shortens those above a limit, here the dotted
line.
"""

# %%
# The input is noise whose rate is higher for half of the neurons: which half is the class. The network has been
# trained a little.
import matplotlib.pyplot as plt
import torch
import torch.nn.functional
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

import spikingtorch as st
from spikingtorch.init import to_rate_

torch.manual_seed(0)
labels = torch.arange(200) % 2
rates = 0.15 + 0.1 * (torch.arange(40)[None] // 20 == labels[:, None])
x = (torch.rand(200, 30, 40) < rates[:, None]).float()  # samples, steps, neurons
model = st.SpikingNet(nn.Sequential(nn.Linear(40, 50), st.LIF(), nn.Linear(50, 2), st.LI()))
to_rate_(model, x)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(15):
    total = torch.nn.functional.cross_entropy(model(x).mean(1), labels)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
params = {name: weight.detach() for name, weight in model.named_parameters()}


def loss(params: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
    """Return the cross entropy of one sample."""
    out = functional_call(model, params, (x[None],))
    return torch.nn.functional.cross_entropy(out.mean(1), label[None])


gradients, losses = vmap(grad_and_value(loss), in_dims=(None, 0, 0))(params, x, labels)
norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients.values()]).norm(dim=0)

# %%
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for label in (0, 1):
    ax.scatter(losses[labels == label], norms[labels == label], s=14, label=f"class {label}")
ax.axhline(float(norms.median()), color="gray", linestyle=":")
ax.set(xlabel="loss of a sample", ylabel="norm of its gradient", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()
