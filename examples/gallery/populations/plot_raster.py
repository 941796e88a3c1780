"""
The spikes of every layer
=========================

``record`` runs a network once and returns what each spiking layer did, by its name. ``plot.raster`` draws a band for
each layer. The input is noise whose rate rises and falls, and the layers follow it.
"""

# %%
# Weights are random, and ``to_rate_`` scales them until each layer fires.
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import plot
from spikingtorch.init import to_rate_

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(40, 80), st.LIF(), nn.Linear(80, 60), st.ALIF(), nn.Linear(60, 20), st.LIF())
model = st.SpikingNet(net)
rate = 0.2 + 0.15 * torch.sin(torch.arange(150) / 12.0)
x = (torch.rand(8, 150, 40) < rate[:, None]).float()  # samples, steps, neurons
to_rate_(model, x, rate=0.1)

# %%
with torch.no_grad():
    recording = st.record(model, x)
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
plot.raster({"input": x, "LIF": recording["1"], "ALIF": recording["3"], "output": recording["5"]}, ax=ax)
plt.show()
