"""
Learning delays
===============

Five inputs come at different times. The delays of their connections learn, by gradient descent, until all arrive
together at step 60. A synapse that rises and decays makes each spike wide enough to feel which way to go.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st

spikes = torch.zeros(100, 1, 5)  # steps, samples, inputs
spikes[[10, 18, 28, 33, 45], 0, torch.arange(5)] = 1.0
wide = st.MultiStep(st.AlphaSynapse(tau_rise=8.0, tau=8.0))(spikes).detach()
target = wide[:, :, :1].roll(50, 0)
layer = st.Delay(torch.full((5,), 20.0), longest=60, learnable="delay")
(delays,) = layer.parameters()
optimizer = torch.optim.Adam([delays], lr=0.5)
history = [delays.detach().clone()]
before = st.MultiStep(layer)(wide, True).detach()
for _ in range(150):
    loss = (st.MultiStep(layer)(wide, True) - target).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(delays.detach().clone())
after = st.MultiStep(layer)(wide, True).detach()

figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
axes[0].plot(before[:, 0])
axes[0].set(title="before", xlabel="time (steps)", ylabel="current")
axes[1].plot(torch.stack(history))
axes[1].set(title="delays", xlabel="updates", ylabel="delay (steps)")
axes[2].plot(after[:, 0])
axes[2].set(title="after", xlabel="time (steps)", ylabel="current")
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
