"""
How far a gradient reaches back
===============================

The gradient of the last step by an earlier input passes through the surrogate of each step between. ``Sigmoid(beta)``
is ``beta / 4`` high. At a ``beta`` of 5, the gradients of this recurrent layer fade on their way back. Above 8 they
explode.
"""

# %%
# The random weights, the input and the direction of the gradient are the same for all surrogates.
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F

torch.manual_seed(0)
steps, neurons = 80, 200
current = 0.25 * torch.rand(steps, 1, neurons)  # steps, samples, neurons
back = nn.Linear(neurons, neurons, bias=False)
back.weight.data = torch.randn(neurons, neurons) / neurons**0.5
direction = torch.randn(1, neurons)

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for beta in (5.0, 8.0, 10.0, 15.0, 20.0):
    layer = st.LIF(tau=8.0, surrogate=F.Sigmoid(beta=beta), recurrent=back, returns=("spikes", "v"))
    x = current.clone().requires_grad_()
    _, v = st.MultiStep(layer)(x)
    (gradient,) = torch.autograd.grad((direction * v[-1]).sum(), x)
    ax.semilogy(range(steps), gradient.norm(dim=(1, 2)), label=f"beta = {beta:g}")
ax.set(xlabel="step of the input", ylabel="norm of the gradient")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(title="Sigmoid", frameon=False)
plt.show()
