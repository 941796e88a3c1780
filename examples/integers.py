"""A network of digits becomes integers and C: rounded after training and trained with rounding, by bits of its weights.

The picture, accuracy against bits, goes to runs/integers.png; the C of each network, such as runs/net2.c,
computes what the network in float32 does, bit for bit.
"""

import copy
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import nn
from torch.utils.data import DataLoader

from examples import data, training
from examples.pictures import ACCENT, INK, save
from spikingtorch import FixedPointLIF, SpikingNet
from spikingtorch.quantize import certify, prepare_qat, quantize, to_integer
from spikingtorch.spikeio import ConstantEncoder, SumDecoder

BITS = (2, 3, 4, 6, 8)
options = training.parse_options(__doc__)
train, test = data.load(options.dataset)
loader, encoder = DataLoader(train, batch_size=32, shuffle=True), ConstantEncoder(8)


def fit(model: SpikingNet, epochs: int, label: str) -> float:
    """Train a network and return its accuracy on the test set."""
    classify, optimizer = nn.Sequential(encoder, model, SumDecoder(8)), torch.optim.Adam(model.parameters(), lr=0.002)
    for epoch in range(1, epochs + 1):
        training.train_epoch(classify, loader, optimizer, f"{label}, epoch {epoch}", options.batches)
    return training.accuracy(classify, test)


torch.manual_seed(0)
lif = [FixedPointLIF((7, 3), fraction_bits=7, membrane_bits=12) for _ in range(3)]  # a decay of 7/8, from -16 to 16
features = [nn.Conv2d(1, 8, 5, stride=2), lif[0], nn.Conv2d(8, 16, 3, stride=2), lif[1], nn.Flatten()]
model = SpikingNet(nn.Sequential(*features, nn.Linear(400, 10), lif[2]))
of_float, x = fit(model, options.epochs, "float"), encoder(test.tensors[0][:100])
afterwards, trained = [], []
(folder := Path("runs")).mkdir(exist_ok=True)
for bits in BITS:
    afterwards.append(fit(quantize(model, x, bits, inputs=4), 0, ""))
    rounded = prepare_qat(copy.deepcopy(model), bits, inputs=4)
    trained.append(fit(rounded, 1, f"{bits} bits"))
    print(f"{bits} bits: test accuracy {afterwards[-1]:.1%} rounded afterwards, {trained[-1]:.1%} trained on")
    integer = to_integer(rounded, x)
    print(certify(rounded, integer, x), integer.report(), sep="\n")
    integer.to_c(folder / f"net{bits}.c")
axes = (figure := Figure(figsize=(9, 3.6), layout="constrained")).subplots()
axes.plot(BITS, trained, "o-", color=INK, label="one epoch more, with rounding")
axes.plot(BITS, afterwards, "o--", color=ACCENT, label="rounded afterwards")
axes.axhline(of_float, color=INK, linewidth=0.6, linestyle=":", label="in float")
axes.set(xlabel="bits of each weight", ylabel="test accuracy", xticks=BITS)
axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
save(figure, folder / "integers.png")
