"""Look at a network while it learns digits, and afterwards: rates, records, costs, and pictures in runs/watching."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from examples import data
from examples.training import fit, parse_options
from spikingtorch import LIF, SpikeMonitor, SpikingNet, plot, record, summary
from spikingtorch.report import report
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

torch.manual_seed(0)
options, encoder = parse_options(__doc__), PoissonEncoder(25)
model = SpikingNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 100), LIF(), nn.Linear(100, 10), LIF()))
with SpikeMonitor(model) as monitor:
    reached = fit(nn.Sequential(encoder, model, SumDecoder(25)), torch.optim.Adam(model.parameters(), 0.002), options)
    print(f"test accuracy {reached:.1%}, rates and silent shares:", monitor.metrics())
images, classes = (test := data.load(options.dataset)[1])[:64]
print(summary(model, encoder(images)))
recording = record(model, encoder(images), ("spikes", "v", "threshold"))
first, folder = recording["2"], Path("runs/watching")
folder.mkdir(parents=True, exist_ok=True)
traces = plot.traces(first["v"], spikes=first["spikes"], threshold=first["threshold"])
for name, axes in (("raster", plot.raster(recording)), ("traces", traces), ("rates", plot.rates(recording))):
    axes.get_figure(root=True).savefig(folder / f"{name}.png")  # type: ignore[union-attr]
plot.overview(model, encoder(images), targets=classes).savefig(folder / "overview.png")
print(report(model, DataLoader(test, 64), folder / "report.html", encoder=encoder))
