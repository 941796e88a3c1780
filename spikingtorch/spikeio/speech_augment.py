"""Other voices and other speeds: recordings of speech that are changed at random while a network is trained."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.spikeio._checks import check_generator


class MelAugment(nn.Module):
    """Warp the mel axis and stretch time, of each sample by factors of its own, in training mode alone.

        y[t, c] = x[t / b, (c + 1) a - 1]       a uniform in 1 - warp .. 1 + warp,   b in 1 - stretch .. 1 + stretch

    Between steps, and between channels, x is interpolated linearly; beyond its ends it has the last value. A sample of
    L steps has max(1, round(b L)) afterwards. It stands between ``MelSpectrogram`` and ``PCEN``.

    Args:
        warp: largest change of the mel axis, at least 0 and below 1; 0.15 is 15 %.
        stretch: largest change of the duration, at least 0 and below 1.
        generator: of the random factors, on the device of x; torch's own by default.

    Raises:
        ValueError: an argument or a length is not valid, or x has another number of axes than three.
        TypeError: x is not floating, or the generator is none.

    Source of the warp, of the frequency axis there: N. Jaitly and G. E. Hinton, "Vocal tract length perturbation (VTLP)
    improves speech recognition", ICML Workshop on Deep Learning for Audio, Speech and Language Processing (2013).

    >>> x, lengths = MelAugment(warp=0.15, stretch=0.2)(torch.rand(2, 100, 40), [100, 60])
    >>> x.shape == (2, lengths.max(), 40), bool(80 <= lengths[0] <= 120)
    (True, True)
    """

    def __init__(self, warp: float = 0.15, stretch: float = 0.2, *, generator: Generator | None = None) -> None:
        super().__init__()
        for name, value in (("warp", warp), ("stretch", stretch)):
            checks.check_parameter("MelAugment", name, value, least=0.0)
            if value >= 1.0:
                raise ValueError(f"MelAugment: {name}={value!r}, expected a part below 1, such as 0.15 for 15 %")
        self.warp, self.stretch, self.generator = warp, stretch, generator

    def forward(self, x: Tensor, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """Return energies (N, T', C) and their lengths, int64 (N,), for energies (N, T, C) and their lengths.

        Steps after a length are 0. In evaluation mode both are returned as they are.
        """
        checks.check_floating("MelAugment", "x", x)
        if x.ndim != 3:
            raise ValueError(f"MelAugment: x has shape {tuple(x.shape)}, expected (N, T, C): samples, steps, channels")
        check_generator("MelAugment", x, self.generator)
        N, T, C = x.shape
        given = checks.check_lengths("MelAugment", lengths, N, T) if lengths is not None else torch.full((N,), T)
        if not self.training or x.numel() == 0:
            return x, given
        drawn = 2.0 * torch.rand(2, N, 1, generator=self.generator, device=x.device, dtype=torch.float64) - 1.0
        a, b = 1.0 + self.warp * drawn[0], 1.0 + self.stretch * drawn[1]
        before = given.to(x.device).unsqueeze(1)
        after = (before * b).round().long().clamp(min=1)
        steps = torch.arange(int(after.max()), device=x.device)
        x = _interpolated(x, (steps / b).minimum(before - 1.0).unsqueeze(2), 1)
        places = ((torch.arange(C, device=x.device) + 1) * a - 1.0).clamp(0.0, C - 1.0)
        x = _interpolated(x, places.unsqueeze(1), 2)
        return x.masked_fill((steps >= after).unsqueeze(2), 0.0), after.squeeze(1).to(given.device)


def _interpolated(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """Return x between its entries along an axis, at places that broadcast to the other axes."""
    low, shape = places.floor().long(), [*x.shape]
    shape[dim] = places.shape[dim]
    a, b = (x.gather(dim, each.clamp(max=x.shape[dim] - 1).expand(shape)) for each in (low, low + 1))
    return a + (places - low).to(x.dtype) * (b - a)
