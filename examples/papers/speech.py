"""Spoken digits of voices that training does not know: recurrent networks, and a GRU beside them.

``variant`` is the speaker for tests, or several, as in "theo+jackson"; or "takes", the published split, in which every
voice is known. The epoch is chosen on a tenth of the recordings of the other speakers.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import TensorDataset

from examples.data import file
from examples.papers.loop import Settings, Task
from examples.papers.recurrent import drawn
from spikingtorch import ALIF, LI, LIF, DelayedLinear, SEAdLIF, SpikingNet
from spikingtorch.data import SpokenDigits
from spikingtorch.data.files import Split
from spikingtorch.functional import Arctan
from spikingtorch.spikeio import PCEN, MelAugment, MelSpectrogram, deltas

CHANNELS, CLASSES = 40, 10
NEURONS: dict[str, Any] = {"lif": LIF, "alif": ALIF, "se-adlif": SEAdLIF}


class _Recordings(NamedTuple):
    energies: Tensor  # of mel channels, zero after each length
    lengths: Tensor
    digits: Tensor
    takes: Tensor
    speakers: list[str]


@cache
def _recordings(path: Path) -> _Recordings:
    """Read all recordings, in steps of 10 ms."""
    parts = [SpokenDigits(split, root=path) for split in get_args(Split)]
    mel = MelSpectrogram(parts[0].rate, CHANNELS)
    energies = [mel(part[k][0]) for part in parts for k in range(len(part))]
    digits, takes, speakers = (
        [each for part in parts for each in getattr(part, name)] for name in ("digits", "takes", "speakers")
    )
    lengths = torch.tensor([len(each) for each in energies])
    padded = pad_sequence(energies, batch_first=True)
    return _Recordings(padded, lengths, torch.tensor(digits), torch.tensor(takes), speakers)


def data(settings: Settings, _seed: int) -> tuple[TensorDataset, ...]:
    """Return the recordings to train, a tenth to choose the epoch, and those of the test."""
    all_of_them, variant = _recordings(file("fsdd/recordings.zip")), settings["variant"]
    known, takes = variant == "takes", all_of_them.takes
    held = torch.tensor([each in variant.split("+") for each in all_of_them.speakers])
    test, few = (takes < 5, (takes >= 5) & (takes < 10)) if known else (held, ~held & (takes < 5))
    tensors = all_of_them.energies, all_of_them.lengths, all_of_them.digits
    return tuple(TensorDataset(*(each[kept] for each in tensors)) for kept in (~test & ~few, few, test))


class Speech(nn.Module):
    """Energies of mel channels (N, T, 40) and their lengths to the membranes or outputs of each class (N, T', 10)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.augment, self.pcen = MelAugment(settings["warp"], settings["stretch"]), PCEN(CHANNELS)
        self.steps, self.logarithms = settings["steps"], settings["front"] == "log"
        self.net = GRU(settings["hidden"]) if settings["neuron"] == "gru" else _spiking(settings)

    def forward(self, energies: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, and the number of steps that each sample has."""
        x, lengths = self.augment(energies[:, : int(lengths.max())], lengths)
        x = (x + 1e-6).log() / 4.0 + 2.0 if self.logarithms else self.pcen(x)
        x = torch.cat([x, 2.0 * deltas(x, lengths)], 2)
        x, lengths = x[:, : self.steps], lengths.clamp(max=self.steps)
        outputs = self.net(x, lengths=lengths) if isinstance(self.net, SpikingNet) else self.net(x)
        return outputs, lengths


class GRU(nn.Module):
    """What a network without spikes reaches."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru, self.read = nn.GRU(2 * CHANNELS, hidden, batch_first=True), nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of each step."""
        outputs: Tensor = self.read(self.gru(x)[0])
        return outputs


def _spiking(settings: Settings) -> SpikingNet:
    """Return layers of neurons that leaky integrators read: recurrent ones, or such with delays between them."""
    M, longest = settings["hidden"], settings.get("longest")
    layers: list[nn.Module] = []
    for k in range(settings["layers"]):
        learned = {name: drawn(M, *how) for name, how in settings.get("learned", {}).items()}
        options: dict[str, Any] = {**learned, **settings.get("fixed", {}), "learnable": tuple(learned)}
        inputs, loop = M if k else 2 * CHANNELS, None
        if longest is None:
            loop = nn.Linear(M, M, bias=False)
            nn.init.orthogonal_(loop.weight, gain=settings["gain"])
        layers += [
            DelayedLinear(inputs, M, longest, longest / 2.0) if longest and k else nn.Linear(inputs, M),
            NEURONS[settings["neuron"]](recurrent=loop, surrogate=Arctan(), **options),
            nn.Dropout(settings["dropout"]),
        ]
    return SpikingNet(nn.Sequential(*layers, nn.Linear(M, CLASSES), LI(settings["readout"])), CLASSES)


def judge(model: nn.Module, batch: list[Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the mean output; the class is the largest one."""
    energies, lengths, digits = batch
    outputs, steps = model(energies, lengths)
    kept = torch.arange(outputs.shape[1]) < steps.unsqueeze(1)
    mean = (outputs * kept.unsqueeze(2)).sum(1) / steps.unsqueeze(1)
    return nn.functional.cross_entropy(mean, digits, label_smoothing=settings["smoothing"]), mean.argmax(1) == digits


def begin(model: nn.Module, settings: Settings, part: float) -> None:
    """Narrow the delays, from half of the longest one to half a step."""
    for each in model.modules():
        if isinstance(each, DelayedLinear):
            each.width = settings["longest"] / 2.0 * settings["longest"] ** -part


TASK = Task(data, Speech, judge, begin)
