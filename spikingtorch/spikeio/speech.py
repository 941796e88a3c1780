"""Speech as the input of a network: mel channels, their normalisation, and how fast they change."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as TF
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.functional import LIState, li_step, scan
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.precision import lifted_dtype

MelScale = Literal["slaney", "htk"]
_LOG = 27.0 / math.log(6.4)
# from Hz to mel, and back
_SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "htk": (lambda f: 2595.0 * np.log10(1.0 + f / 700.0), lambda m: 700.0 * (10.0 ** (m / 2595.0) - 1.0)),
    "slaney": (
        lambda f: np.where(f < 1000.0, 3.0 * f / 200.0, 15.0 + _LOG * np.log(np.maximum(f, 1000.0) / 1000.0)),
        lambda m: np.where(m < 15.0, 200.0 * m / 3.0, 1000.0 * np.exp((m - 15.0) / _LOG)),
    ),
}


class MelSpectrogram(nn.Module):
    """Energies of mel channels, from a waveform; each step looks at the past alone.

        X[t, k] = sum over n of h[n] x[(t + 1) hop - nfft + n] exp(-2 pi i k n / nfft)        h: periodic Hann window
        E[t, c] = sum over k of w[c, k] |X[t, k]|^2
        w[c, k] = 2 / (f[c+1] - f[c-1]) max(0, min((f - f[c-1]) / (f[c] - f[c-1]), (f[c+1] - f) / (f[c+1] - f[c])))

    with f = k rate / nfft. The corners f[-1] ... f[C] run from low to high in equal distances of the mel m(f):

        m(f) = 2595 log10(1 + f / 700)                                                  scale="htk"
        m(f) = 3 f / 200 up to 1000 Hz,     15 + 27 log(f / 1000) / log(6.4) above      scale="slaney"

    Samples before the first and after the last are zeros. There are T = ceil(samples / hop) steps, so the steps of a
    padded waveform are those of the waveform alone; ``steps`` gives their number.

    Args:
        rate: samples a second.
        channels: number C of channels.
        nfft: samples of a window; 256 are 32 ms at 8 kHz.
        hop: samples of a step, at most nfft; 80 are 10 ms at 8 kHz.
        low: lowest frequency, in Hz.
        high: highest frequency, in Hz; half of the rate by default.
        scale: "slaney", as in librosa, or "htk".

    Raises:
        ValueError: an argument is not valid, or x holds NaN or infinite values.
        TypeError: x is not floating.

    Sources: S. Young et al., The HTK Book (2006), chapter 5; M. Slaney, Auditory Toolbox, Interval Research Technical
    Report 1998-010.

    >>> mel = MelSpectrogram(rate=8000)
    >>> mel(torch.randn(2, 8000)).shape  # samples, steps of 10 ms, channels
    torch.Size([2, 100, 40])
    >>> mel.steps(torch.tensor([8000, 4001]))
    tensor([100,  51])
    """

    def __init__(
        self,
        rate: float,
        channels: int = 40,
        *,
        nfft: int = 256,
        hop: int = 80,
        low: float = 0.0,
        high: float | None = None,
        scale: MelScale = "slaney",
    ) -> None:
        super().__init__()
        owner, high = type(self).__name__, rate / 2 if high is None else high
        if not 0 <= low < high <= rate / 2:
            raise ValueError(
                f"{owner}: low={low!r} and high={high!r}, expected 0 <= low < high <= rate / 2 = {rate / 2}"
            )
        if scale not in _SCALES:
            raise ValueError(f"{owner}: scale={scale!r} is not one of 'slaney', 'htk'")
        if checks.check_count(owner, "hop", hop) > checks.check_count(owner, "nfft", nfft):
            raise ValueError(f"{owner}: hop={hop}, expected at most nfft={nfft}, or samples would be left out")
        self.channels, self.nfft, self.hop = checks.check_count(owner, "channels", channels), nfft, hop
        to_mel, to_hertz = _SCALES[scale]
        first, last = to_mel(np.array([low, high]))
        corners = to_hertz(np.linspace(first, last, channels + 2))
        distance, width = np.arange(nfft // 2 + 1) * rate / nfft - corners[:, None], np.diff(corners)[:, None]
        filters = np.maximum(0.0, np.minimum(distance[:-2] / width[:-1], -distance[2:] / width[1:]))
        if silent := int((~filters.any(1)).sum()):
            text = f"{owner}: {silent} of {channels} channels lie between two frequencies of the transform, and are 0"
            warnings.warn(f"{text}. Raise nfft={nfft}, or take fewer channels", stacklevel=level_of_user())
        # no buffer: it stays in float64, whatever the module is cast to
        self._filters = torch.from_numpy(filters * 2.0 / (corners[2:] - corners[:-2])[:, None])

    def steps(self, samples: Any) -> Any:
        """Return the number of steps of a number of samples, or of each in a tensor."""
        return -(-samples // self.hop)

    def forward(self, x: Tensor) -> Tensor:
        """Return energies (..., T, C) for waveforms (..., samples). Half precision is computed in float32."""
        checks.check_floating("MelSpectrogram", "x", x)
        checks.check_rank("MelSpectrogram", "x", x, "(..., samples)", 1)
        checks.check_finite("MelSpectrogram", "x", x)
        *batch, samples = x.shape
        T = self.steps(samples)
        if x.numel() == 0:
            return x.new_zeros(*batch, T, self.channels)
        lifted = x.reshape(-1, samples).to(lifted_dtype(x))
        padded = TF.pad(lifted, (self.nfft - self.hop, T * self.hop - samples))
        window = torch.hann_window(self.nfft, dtype=lifted.dtype, device=x.device)
        waves = torch.stft(padded, self.nfft, self.hop, window=window, center=False, return_complex=True)
        power = (waves.real.square() + waves.imag.square()).transpose(1, 2)
        return (power @ self._filters.to(power).T).reshape(*batch, T, self.channels).to(x.dtype)


class PCEN(nn.Module):
    """Per-channel energy normalisation: each channel is divided by its own recent mean, and compressed.

        M[t] = (1 - s) M[t-1] + s E[t],     M[0] = E[0]
        y[t] = (E[t] / (eps + M[t])^alpha + delta)^r - delta^r

    Loudness, and the colour of a voice or a room, then matter less than in logarithms. Silence gives 0. M is an ``LI``,
    one compiled loop over time. Each channel has its own parameters, which are kept as logarithms, so that they stay
    above 0 while they learn.

    Args:
        channels: number C of channels.
        s: weight of the present step, at most 1. With a step of 10 ms, 0.025 remembers 0.4 s.
        alpha: strength of the division.
        delta: offset of the compression.
        r: exponent of the compression.
        eps: smallest divisor, for waveforms in [-1, 1].
        learnable: learn s, alpha, delta and r.

    Raises:
        ValueError: an argument is not above 0; x has another number of channels, or energies below 0, NaN or infinite.
        TypeError: x is not floating.

    Source: Y. Wang, P. Getreuer, T. Hughes, R. F. Lyon and R. A. Saurous, ICASSP 2017,
    https://doi.org/10.1109/ICASSP.2017.7953242; its parameters are the defaults.

    >>> PCEN(40)(torch.rand(2, 100, 40)).shape
    torch.Size([2, 100, 40])
    """

    def __init__(
        self,
        channels: int,
        *,
        s: float = 0.025,
        alpha: float = 0.98,
        delta: float = 2.0,
        r: float = 0.5,
        eps: float = 1e-6,
        learnable: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.eps = checks.check_count("PCEN", "channels", channels), eps
        values = {"s": s, "alpha": alpha, "delta": delta, "r": r}
        for name, value in {**values, "eps": eps}.items():
            checks.check_parameter("PCEN", name, value, above=0.0, most=1.0 if name == "s" else math.inf)
        logarithms = {name: torch.full((channels,), math.log(value)) for name, value in values.items()}
        self.logarithms = nn.ParameterDict(logarithms).requires_grad_(learnable)

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised energies (..., T, C) for energies (..., T, C). Half precision is computed in float32."""
        checks.check_floating("PCEN", "x", x)
        if x.ndim < 2 or x.shape[-1] != self.channels:
            raise ValueError(f"PCEN: x has shape {tuple(x.shape)}, expected (..., T, {self.channels}), channels last")
        if (checks.value_range("PCEN", "x", x) or (0.0,))[0] < 0.0:
            raise ValueError("PCEN: x has energies below 0. Take those of MelSpectrogram, not their logarithms")
        if x.numel() == 0:
            return x
        energy = x.to(lifted_dtype(x))
        s, alpha, delta, r = (self.logarithms[name].exp().to(energy.dtype) for name in ("s", "alpha", "delta", "r"))
        s = s.clamp(max=1.0)
        params = {"decay": 1.0 - s, "gain": s}
        _, mean = scan(li_step, LIState(v=energy[..., 0, :]), energy, params=params, dim=x.ndim - 2)
        found: Tensor = ((energy * (self.eps + mean) ** -alpha + delta) ** r - delta**r).to(x.dtype)
        return found


def deltas(x: Tensor, lengths: Any = None, *, width: int = 2) -> Tensor:
    """Return how fast features change: the slope of a line through 2 width + 1 steps.

        d[t] = sum over n = 1 .. width of n (x[t+n] - x[t-n]) / (2 sum of n^2)

    Steps before the first are the first, and those after the last are the last.

    Args:
        x: features (..., T, C), or (N, T, C) with lengths.
        lengths: number of steps of each sample, shape (N,).
        width: steps on each side.

    Returns:
        Slopes, of the shape of x; ``torch.cat([x, deltas(x)], -1)`` puts them beside the features.

    Raises:
        ValueError: x has too few axes; width or a length is not valid.
        TypeError: x is not floating, or lengths are not whole numbers.

    Source: S. Young et al., The HTK Book (2006), chapter 5.

    >>> deltas(torch.arange(6.0).unsqueeze(1), width=1).flatten()
    tensor([0.5000, 1.0000, 1.0000, 1.0000, 1.0000, 0.5000])
    """
    checks.check_floating("deltas", "x", x)
    checks.check_rank("deltas", "x", x, "(..., T, C), with lengths (N, T, C)", 2 if lengths is None else 3)
    width, T = checks.check_count("deltas", "width", width), x.shape[-2]
    if x.numel() == 0:
        return x
    ends = torch.tensor(T) if lengths is None else checks.check_lengths("deltas", lengths, len(x), T).unsqueeze(1)
    steps, last, slope = torch.arange(T, device=x.device), ends.to(x.device) - 1, torch.zeros_like(x)
    for n in range(-width, width + 1):
        places = (steps + n).clamp(min=0).minimum(last).unsqueeze(-1).expand(x.shape)
        slope = slope + n * x.gather(-2, places)
    return slope / sum(n * n for n in range(-width, width + 1))
