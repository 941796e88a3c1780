"""
Speech on its way to spikes
===========================

Three syllables pass ``MelSpectrogram``, ``PCEN`` and neurons that integrate and fire. On the right they are twenty
times quieter: ``PCEN`` divides each channel by its recent mean, and nearly takes this back. ``MelAugment`` gives the
syllables another voice and another speed.
"""

# %%
import matplotlib.pyplot as plt
import torch

from spikingtorch import IF, MultiStep, plot
from spikingtorch.functional import by_subtraction
from spikingtorch.spikeio import PCEN, MelAugment, MelSpectrogram

torch.manual_seed(0)
rate, formants = 8000, {0.1: (700, 1200), 0.4: (300, 2300), 0.7: (500, 900)}
t = torch.arange(rate) / rate
pitch = 2 * torch.pi * 120 * (t - 0.1 * t**2)  # the voice falls
loud = torch.zeros(rate)
for start, peaks in formants.items():
    envelope = ((t > start) & (t < start + 0.2)) * torch.sin(torch.pi * (t - start) / 0.2)
    for k in range(1, 30):  # harmonics of the voice, strong near the formants
        gain = sum(1 / (1 + ((k * 110 - peak) / 90) ** 2) for peak in peaks)
        loud += 0.2 * gain * envelope * torch.sin(k * pitch)
waves = torch.stack([loud, loud / 20]) + 1e-3 * torch.randn(rate)

# %%
mel, pcen, neurons = MelSpectrogram(rate), PCEN(40), MultiStep(IF(threshold=4.0, reset=by_subtraction))
energy = mel(waves)
voice, _ = MelAugment(warp=0.2, stretch=0.2, generator=torch.Generator().manual_seed(3))(energy)
normal = pcen(energy)
spikes = neurons(normal.transpose(0, 1)).transpose(0, 1)
stations = {"mel channels, logarithm": (energy + 1e-4).log(), "PCEN": normal, "PCEN, other voices": pcen(voice)}

figure, axes = plt.subplots(5, 2, figsize=(8, 9), sharey="row", layout="constrained")
for n, column in enumerate(axes.T):
    column[0].plot(t, waves[n], linewidth=0.5)
    column[0].set(xlim=(0, 1), title=("waveform, in seconds", "twenty times quieter")[n])
    for ax, (title, x) in zip(column[1:], stations.items(), strict=False):
        ax.imshow(x[n].T.numpy(), origin="lower", aspect="auto", vmin=x.min(), vmax=x.max())
        ax.set(title=title, ylabel="" if n else "channel")
    plot.raster(spikes[n : n + 1], ax=column[4])
    column[4].set(title="spikes of PCEN", ylabel="" if n else "channel")
plt.show()
