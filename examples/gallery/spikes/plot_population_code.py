"""
A number in a population
========================

Each neuron of a population prefers one number and spikes the earlier, the closer the input is to it. Above are the
responses of ten neurons, and below their spikes for three numbers.
"""

# %%
import matplotlib.pyplot as plt
import torch

from spikingtorch import plot
from spikingtorch.spikeio import PopulationEncoder

encoder = PopulationEncoder(nsteps=20, neurons=10)
numbers = torch.linspace(0.0, 1.0, 200)
shown = torch.tensor([0.1, 0.45, 0.8])

figure = plt.figure(figsize=(8, 4.6), layout="constrained")
grid = figure.add_gridspec(2, 3)
above = figure.add_subplot(grid[0, :])
above.plot(numbers, encoder.responses(numbers))
above.vlines(shown, 0, 1, color="gray", linestyle=":")
above.set(xlabel="number", ylabel="response", xlim=(0, 1))
above.spines[["top", "right"]].set_visible(False)
for column, (number, spikes) in enumerate(zip(shown.tolist(), encoder(shown), strict=True)):
    ax = plot.raster(spikes.unsqueeze(0), ax=figure.add_subplot(grid[1, column]))
    ax.set_title(f"{number:g}", loc="left", fontsize=10)
plt.show()
