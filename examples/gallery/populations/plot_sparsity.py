"""
How many operations spikes save
===============================

A spike makes each neuron behind it add one weight, and a neuron that is silent costs nothing. ``summary`` counts
these additions. They grow with the input, while an ordinary network multiplies all of its weights whatever comes in.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.init import to_rate_

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(200, 200), st.LIF(), nn.Linear(200, 200), st.LIF(), nn.Linear(200, 10), st.LI())
model = st.SpikingNet(net)
to_rate_(model, (torch.rand(16, 50, 200) < 0.2).float(), rate=0.1)  # samples, steps, neurons

shares = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
tables = [st.summary(model, (torch.rand(16, 50, 200) < share).float()) for share in shares]

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.stackplot(shares, [[table.rows[k].acs / 1e6 for table in tables] for k in (0, 2, 4)], labels=["1st", "2nd", "3rd"])
ax.axhline(tables[0].dense / 1e6, color="gray", linestyle=":")
ax.annotate("all products", (0.01, tables[0].dense / 1e6), xytext=(0, -12), textcoords="offset points", color="gray")
ax.set(xlabel="share of inputs that spike at a step", ylabel="additions (millions)", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(title="linear layer", frameon=False, loc="center left")
plt.show()
