"""Look at a network while it learns digits, and afterwards: rates, records, pictures, and what it costs.

The pictures are in runs/watching: rasters of all layers, membranes, rates, and one figure of it all.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples import data
from examples.training import fit, parse_options
from spikingtorch import LIF, SpikeMonitor, SpikingNet, plot, record, summary
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

options, folder = parse_options(__doc__), Path("runs/watching")
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
encoder = PoissonEncoder(25)
model = SpikingNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 100), LIF(), nn.Linear(100, 10), LIF()))
classify = nn.Sequential(encoder, model, SumDecoder(25))
with SpikeMonitor(model) as monitor:
    print(f"test accuracy {fit(classify, torch.optim.Adam(model.parameters(), 0.002), options):.1%}")
for name, value in monitor.metrics().items():
    print(f"{name:16} {value:.3f}")
images, classes = data.load(options.dataset)[1][:64]
x = encoder(images)
print(summary(model, x))
recording = record(model, x, ("spikes", "v", "threshold"))
first = recording["2"]
pictures = {
    "raster": plot.raster(recording),
    "traces": plot.traces(first["v"], spikes=first["spikes"], threshold=first["threshold"]),
    "rates": plot.rates(recording),
}
for name, axes in pictures.items():
    figure: Any = axes.figure
    figure.savefig(folder / f"{name}.png")
plot.overview(model, x, targets=classes).savefig(folder / "overview.png")
