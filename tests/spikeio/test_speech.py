"""Speech as input beside loops of numpy, written from the equations; padded batches beside samples alone; gradients."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch.spikeio import PCEN, MelAugment, MelSpectrogram, deltas

Array = np.ndarray[Any, Any]
RATE, NFFT, HOP, C = 4000, 64, 20, 10


def waves(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype) / 4


def mel_of(hertz: float, scale: str) -> float:
    if scale == "htk":
        return 1127.0 * math.log(1.0 + hertz / 700.0)
    return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) / (math.log(6.4) / 27)


def hertz_of(mel: float, scale: str, low: float = 0.0, high: float = 1e5) -> float:
    """Return the inverse by bisection."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if mel_of(middle, scale) < mel else (low, middle)
    return low


def spectrogram_by_loop(x: Array, scale: str, low: float, high: float) -> Array:
    ends = mel_of(low, scale), mel_of(high, scale)
    corners = [hertz_of(ends[0] + (ends[1] - ends[0]) * k / (C + 1), scale) for k in range(C + 2)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(NFFT) / NFFT)
    out = np.zeros((math.ceil(len(x) / HOP), C))
    for t, c in np.ndindex(*out.shape):
        end = (t + 1) * HOP
        frame = np.array([x[i] if 0 <= i < len(x) else 0.0 for i in range(end - NFFT, end)])
        power = np.abs(np.fft.rfft(frame * window)) ** 2
        for k, energy in enumerate(power):
            f, (left, middle, right) = k * RATE / NFFT, corners[c : c + 3]
            weight = (f - left) / (middle - left) if f <= middle else (right - f) / (right - middle)
            out[t, c] += max(0.0, weight) * 2 / (right - left) * energy
    return out


def pcen_by_loop(e: Array, s: float, alpha: float, delta: float, r: float, eps: float) -> Array:
    out, m = np.zeros_like(e), e[0]
    for t in range(len(e)):
        m = (1 - s) * m + s * e[t]
        out[t] = (e[t] / (eps + m) ** alpha + delta) ** r - delta**r
    return out


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(("samples", "low", "high"), [(1, 0.0, None), (HOP, 100.0, 1800.0), (237, 0.0, 1500.0)])
def test_mel_channels_by_a_loop(scale: Any, samples: int, low: float, high: float | None) -> None:
    mel, x = MelSpectrogram(RATE, C, nfft=NFFT, hop=HOP, low=low, high=high, scale=scale), waves(samples)
    want = spectrogram_by_loop(x.numpy(), scale, low, high or RATE / 2)
    np.testing.assert_allclose(mel(x).numpy(), want, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mel(x.float()).numpy(), want, rtol=1e-4, atol=1e-5)
    assert mel(x.half()).dtype == torch.half
    assert len(want) == mel.steps(samples) == mel.steps(torch.tensor([samples]))[0]


@pytest.mark.parametrize("learnable", [False, True])
def test_pcen_by_a_loop(learnable: bool) -> None:
    x = waves(3, 17, C) ** 2
    x[0, 5:], x[1] = 0.0, 0.0
    pcen = PCEN(C, s=0.1, alpha=0.8, delta=1.5, r=0.3, eps=1e-3, learnable=learnable).double()
    parameters = [pcen.logarithms[name].detach().exp().numpy() for name in ("s", "alpha", "delta", "r")]
    np.testing.assert_allclose(np.array(parameters)[:, 0], [0.1, 0.8, 1.5, 0.3], rtol=1e-6)
    loop: Any = pcen_by_loop
    want = np.stack([loop(each.numpy(), *parameters, eps=1e-3) for each in x])
    np.testing.assert_allclose(pcen(x).detach().numpy(), want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pcen.float()(x.float()).detach().numpy(), want, rtol=1e-4, atol=1e-6)
    assert not pcen(x[1].float()).any()  # silence
    assert any(each.requires_grad for each in pcen.parameters()) == learnable
    for shape in ((17, C), (1, C), (2, 2, 17, C), (0, 17, C), (2, 0, C)):
        assert pcen(torch.rand(shape)).shape == shape


def test_deltas_by_hand_and_with_lengths() -> None:
    x = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 7.0]).reshape(1, 6, 1)
    # (x[t+1] - x[t-1] + 2 (x[t+2] - x[t-2])) / 10, where x[-1] = x[-2] = 0, and x[4] = x[5] = 9 after four steps
    want = [(1 + 2 * 4) / 10, (4 + 2 * 9) / 10, (9 - 1 + 2 * 9) / 10, (9 - 4 + 2 * (9 - 1)) / 10]
    torch.testing.assert_close(deltas(x, [4])[0, :4, 0], torch.tensor(want))
    torch.testing.assert_close(deltas(x[:, :4]), deltas(x, torch.tensor([4]))[:, :4])
    y = waves(4, 3, 11, 5)
    torch.testing.assert_close(deltas(y, width=1)[..., 1:-1, :], (y[..., 2:, :] - y[..., :-2, :]) / 2)
    assert deltas(y[..., :0, :]).shape == (4, 3, 0, 5)


def test_padded_batches_are_each_sample_alone_through_all_stations() -> None:
    mel, pcen, x, lengths = MelSpectrogram(RATE, C, nfft=NFFT, hop=HOP), PCEN(C).double(), waves(3, 200), [200, 101, 20]
    for k, length in enumerate(lengths):
        x[k, length:] = 0.0
    steps = mel.steps(torch.tensor(lengths))
    energy = pcen(mel(x))
    both = torch.cat([energy, deltas(energy, steps)], -1)
    for k, length in enumerate(lengths):
        alone = pcen(mel(x[k, :length]))
        torch.testing.assert_close(both[k, : steps[k]], torch.cat([alone, deltas(alone)], -1))


def test_augmentation_by_a_loop_and_by_its_generator() -> None:
    x, lengths = waves(4, 9, C), torch.tensor([9, 1, 5, 8])
    augment = MelAugment(0.4, 0.5, generator=torch.Generator().manual_seed(1))
    got, after = augment(x, lengths)
    drawn = torch.rand(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tolist()
    assert got.shape == (4, after.max(), C)
    for n, L in enumerate(lengths.tolist()):
        a, b = 1 + 0.4 * (2 * drawn[0][n] - 1), 1 + 0.5 * (2 * drawn[1][n] - 1)
        assert after[n] == max(1, round(b * L))
        places = np.clip((np.arange(C) + 1) * a - 1, 0, C - 1)
        for t in range(got.shape[1]):
            slow = [np.interp(min(t / b, L - 1), range(L), x[n, :L, c].numpy()) for c in range(C)]
            want = np.interp(places, range(C), slow) if t < after[n] else np.zeros(C)
            np.testing.assert_allclose(got[n, t].numpy(), want, rtol=1e-12, atol=1e-14)
    again = MelAugment(0.4, 0.5, generator=torch.Generator().manual_seed(1))(x, lengths)
    other = augment(x, lengths)
    assert torch.equal(got, again[0])
    assert other[0].shape != got.shape or not torch.equal(other[0], got)
    assert augment.eval()(x, lengths)[0] is x
    same, whole = MelAugment(0.0, 0.0)(x.float())
    assert torch.equal(same, x.float())
    assert whole.tolist() == [9] * 4
    assert MelAugment()(x[:0])[0].shape == (0, 9, C)
    assert MelAugment()(x[:, :0])[0].shape == (4, 0, C)


def test_gradients_of_every_station() -> None:
    mel, pcen = MelSpectrogram(RATE, 4, nfft=16, hop=6), PCEN(4, s=0.3, eps=0.1, learnable=True).double()
    x, energy = waves(2, 25).requires_grad_(), (waves(2, 5, 4) ** 2).requires_grad_()
    assert torch.autograd.gradcheck(mel, x)
    names, logarithms = zip(*pcen.named_parameters(), strict=True)

    def normalised(energy: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(pcen, dict(zip(names, values, strict=True)), energy)

    assert torch.autograd.gradcheck(normalised, (energy, *logarithms))
    assert torch.autograd.gradcheck(lambda x: deltas(x, [5, 3]), energy)
    generator = torch.Generator()
    assert torch.autograd.gradcheck(lambda x: MelAugment(generator=generator.manual_seed(2))(x, [5, 3])[0], energy)
    silent = torch.zeros(1, 30, dtype=torch.float64, requires_grad=True)
    pcen(mel(silent)).sum().backward()
    assert silent.grad is not None
    assert not silent.grad.any()


def test_mel_channels_of_nothing() -> None:
    mel = MelSpectrogram(RATE, C, nfft=NFFT, hop=HOP)
    assert mel(torch.zeros(2, 0)).shape == (2, 0, C)
    assert mel(torch.zeros(0, 50)).shape == (0, 3, C)
    assert not mel(torch.zeros(2, 3, 50)).any()
    with pytest.warns(UserWarning, match=r"2 of 40 channels lie between .* Raise nfft=64"):
        MelSpectrogram(8000, 40, nfft=64, hop=40)


WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: MelSpectrogram(8000, high=5000.0), ValueError, "high=5000.0, expected 0 <= low < high <= rate / 2 = 4000"),
    (lambda: MelSpectrogram(8000, scale="bark"), ValueError, "scale='bark' is not one of"),  # type: ignore[arg-type]
    (lambda: MelSpectrogram(8000, hop=300), ValueError, "hop=300, expected at most nfft=256"),
    (lambda: MelSpectrogram(8000, 0), ValueError, "channels=0"),
    (lambda: MelSpectrogram(8000)(torch.ones(5).int()), TypeError, r"x.float\(\)"),
    (lambda: MelSpectrogram(8000)(torch.tensor(1.0)), ValueError, r"expected \(..., samples\)"),
    (lambda: MelSpectrogram(8000)(torch.full((5,), math.nan)), ValueError, "x holds NaN"),
    (lambda: PCEN(4, s=1.5), ValueError, "s=1.5, expected a finite value above 0 and at most 1"),
    (lambda: PCEN(4, eps=0.0), ValueError, "eps=0.0"),
    (lambda: PCEN(4)(torch.ones(3, 5)), ValueError, r"shape \(3, 5\), expected \(..., T, 4\), channels last"),
    (lambda: PCEN(4)(-torch.ones(3, 4)), ValueError, "energies below 0. Take those of MelSpectrogram"),
    (lambda: deltas(torch.ones(3)), ValueError, r"expected \(..., T, C\)"),
    (lambda: deltas(torch.ones(3, 4), [3, 3, 3]), ValueError, r"with lengths \(N, T, C\)"),
    (lambda: deltas(torch.ones(3, 4, 2), width=0), ValueError, "width=0"),
    (lambda: MelAugment(1.0), ValueError, "warp=1.0, expected a part below 1"),
    (lambda: MelAugment(stretch=-0.1), ValueError, "stretch=-0.1"),
    (lambda: MelAugment()(torch.ones(3, 4)), ValueError, r"expected \(N, T, C\)"),
    (lambda: MelAugment()(torch.ones(1, 3, 4), [4]), ValueError, "at most T = 3"),
    (lambda: MelAugment(generator=5)(torch.ones(1, 3, 4)), TypeError, "generator is a int"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
