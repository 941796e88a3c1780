"""
Speech on its way to spikes
===========================

Three syllables, the last one quieter, pass ``MelSpectrogram``, ``MelAugment``, ``PCEN`` and neurons that integrate and
fire. ``PCEN`` divides each channel by its recent mean, so that the quiet syllable is as clear as the others.
``MelAugment`` gives the same syllables another voice and another speed.
"""

# %%
import matplotlib.pyplot as plt
import torch

from spikingtorch import IF, MultiStep, plot
from spikingtorch.functional import by_subtraction
from spikingtorch.spikeio import PCEN, MelAugment, MelSpectrogram

torch.manual_seed(0)
rate = 8000
t = torch.arange(rate) / rate
pitch = 2 * torch.pi * 120 * (t - 0.1 * t**2)  # the voice falls
wave = 1e-3 * torch.randn(rate)
for start, loud, formants in ((0.1, 0.3, (700, 1200)), (0.4, 0.3, (300, 2300)), (0.7, 0.02, (500, 900))):
    envelope = ((t > start) & (t < start + 0.2)) * torch.sin(torch.pi * (t - start) / 0.2)
    for k in range(1, 30):  # harmonics of the voice, strong near the formants
        gain = sum(1 / (1 + ((k * 115 - formant) / 90) ** 2) for formant in formants)
        wave += loud * gain * envelope * torch.sin(k * pitch)

# %%
mel, pcen = MelSpectrogram(rate), PCEN(40)
energy = mel(wave.unsqueeze(0))
voice, _ = MelAugment(warp=0.2, stretch=0.2, generator=torch.Generator().manual_seed(3))(energy)
neurons = MultiStep(IF(reset=by_subtraction))
spikes = neurons(pcen(energy).transpose(0, 1)).transpose(0, 1)

figure, axes = plt.subplots(5, 1, figsize=(7, 9), layout="constrained")
axes[0].plot(t, wave, linewidth=0.5)
axes[0].set(xlim=(0, 1), title="waveform, in seconds")
stations = {
    "mel channels, logarithm": (energy + 1e-6).log(),
    "PCEN": pcen(energy),
    "PCEN of another voice": pcen(voice),
}
for ax, (title, x) in zip(axes[1:], stations.items(), strict=False):
    ax.imshow(x[0].T.numpy(), origin="lower", aspect="auto", interpolation="nearest")
    ax.set(title=title, ylabel="channel")
plot.raster(spikes, ax=axes[4])
axes[4].set(title="spikes of PCEN")
plt.show()
