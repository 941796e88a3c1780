"""
Who fires how often
===================

The mean rate of a layer hides that some neurons never fire and others fire all the time. ``plot.rates`` draws the
rates of all neurons and counts both kinds. Both layers have the same mean. With adaptation fewer neurons are silent,
and fewer fire more often than at every second step.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import plot
from spikingtorch.init import to_rate_

torch.manual_seed(0)
x = (torch.rand(16, 100, 50) < 0.2).float()  # samples, steps, neurons
recordings = {}
for name, layer in {"LIF": st.LIF(), "ALIF": st.ALIF(tau_adaptation=40.0, adaptation=30.0)}.items():
    torch.manual_seed(1)
    model = st.SpikingNet(nn.Sequential(nn.Linear(50, 400), layer))
    to_rate_(model, x, rate=0.15)
    recordings[name] = model(x).detach()

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
plot.rates(recordings, ax=ax)
plt.show()
