"""Encoders turn a batch (N, ...) into a sequence (N, T, ...); decoders turn the sequence of a network into numbers.

Encoders take what a DataLoader gives, of any number of channels and dimensions, on any device. Each is a module, so
that ``nn.Sequential(encoder, model, decoder)`` is a classifier.
"""

import math
import warnings

import torch
from torch import Generator, Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.functional import lift, scan, zeros_state
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.functional.neurons.periodic import PeriodicState, firing_threshold, periodic_step


def poisson_spikes(x: Tensor, nsteps: int, scale: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Draw independent spikes, which have no gradient.

        P(s[n, t, ...] = 1) = scale x[n, ...]

    Args:
        x: rates in spikes per step, floating, shape (N, ...). A rate above 1 saturates at a spike in each step, with a
            warning; one below 0 never spikes.
        nsteps: number of steps T.
        scale: factor of the rates.
        generator: source of randomness on the device of x; the same generator in the same state draws the same spikes.

    Returns:
        Spikes, 0 or 1 in the dtype of x, shape (N, T, ...).

    Raises:
        ValueError: x requires a gradient, among others.

    >>> poisson_spikes(torch.tensor([[0.0, 1.0]]), nsteps=3)
    tensor([[[0., 1.],
             [0., 1.],
             [0., 1.]]])
    """
    rates = _rates("poisson_spikes", x, nsteps, scale)
    _check_generator("poisson_spikes", x, generator)
    return torch.bernoulli(_over_time(rates, nsteps), generator=generator)


def poisson_spikes2d(x: Tensor, nsteps: int, scale: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Draw independent spikes for images, (N, C, H, W) or (N, H, W); see ``poisson_spikes``."""
    checks.check_floating("poisson_spikes2d", "x", x)
    if x.ndim not in (3, 4):
        raise ValueError(f"poisson_spikes2d: x has shape {tuple(x.shape)}, expected images (N, C, H, W) or (N, H, W)")
    return poisson_spikes(x, nsteps, scale, generator=generator)


def markov_spikes(x: Tensor, nsteps: int, *, generator: Generator | None = None) -> Tensor:
    """Draw spikes from a chain that remembers whether it spiked last; they have no gradient.

        after no spike:  s[t] = 1 if r[t] < x
        after a spike:   s[t] = 0 if r[t] < 1 - x           r[t] uniform in [0, 1)

    Either way a step spikes with probability x, so the rate is that of a Poisson process; the same random numbers
    give another sequence.

    Args:
        x: rates in spikes per step, floating, shape (N, ...).
        nsteps: number of steps T.
        generator: source of randomness on the device of x.

    Returns:
        Spikes, 0 or 1 in the dtype of x, shape (N, T, ...).

    Raises:
        ValueError: x requires a gradient, among others.
    """
    rates = lift(_rates("markov_spikes", x, nsteps, 1.0))  # bfloat16 has no random numbers near 0 and 1
    _check_generator("markov_spikes", x, generator)
    spiked = torch.zeros_like(rates, dtype=torch.bool)
    spikes = []
    for _ in range(nsteps):
        r = torch.rand(rates.shape, dtype=rates.dtype, device=rates.device, generator=generator)
        spiked = torch.where(spiked, r >= 1.0 - rates, r < rates)
        spikes.append(spiked)
    return torch.stack(spikes, 1).to(x.dtype)


class _Encoder(nn.Module):
    """Base of the encoders: nsteps and scale, checked."""

    def __init__(self, nsteps: int, scale: float = 1.0) -> None:
        super().__init__()
        self.nsteps = checks.check_count(type(self).__name__, "nsteps", nsteps)
        checks.check_parameter(type(self).__name__, "scale", scale)
        self.scale = scale

    def extra_repr(self) -> str:
        """Name the number of steps and the scale."""
        return f"nsteps={self.nsteps}, scale={self.scale}"


class PoissonEncoder(_Encoder):
    """Rate code by independent spikes of probability ``scale x`` in each step; see ``poisson_spikes``.

    Spikes drawn at random have no gradient, so an input that requires one is an error.

    Args:
        nsteps: number of steps T.
        scale: factor of the rates.
        generator: source of randomness; the global one of torch by default.

    >>> encoder = PoissonEncoder(8, generator=torch.Generator().manual_seed(0))
    >>> encoder(torch.rand(32, 1, 28, 28)).shape
    torch.Size([32, 8, 1, 28, 28])
    """

    def __init__(self, nsteps: int, scale: float = 1.0, *, generator: Generator | None = None) -> None:
        super().__init__(nsteps, scale)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...) for rates x (N, ...)."""
        return poisson_spikes(x, self.nsteps, self.scale, generator=self.generator)


class Poisson2D(PoissonEncoder):
    """PoissonEncoder that takes images, (N, C, H, W) or (N, H, W), and nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...) for images x."""
        return poisson_spikes2d(x, self.nsteps, self.scale, generator=self.generator)


class PeriodicEncoder(_Encoder):
    """Rate code by regular spikes: integrate ``scale x``, spike and return to zero at 1.

    An input of 1 / n spikes at every nth step, and any other at every ceil(1 / (scale x))th. To be that in spite of
    rounding, a neuron fires 4 machine epsilons below 1. See ``periodic_step`` for the equation. The gradient is
    that of an IF neuron.

    Args:
        nsteps: number of steps T.
        scale: factor of the input.

    >>> PeriodicEncoder(6)(torch.tensor([[0.5]])).flatten()
    tensor([0., 1., 0., 1., 0., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...) for inputs x (N, ...)."""
        _check_batch("PeriodicEncoder", x)
        currents = _over_time(self.scale * x, self.nsteps)
        state = zeros_state(PeriodicState, x)
        params = {"threshold": firing_threshold(state.n.dtype)}
        return scan(periodic_step, state, currents, params=params, dim=1)[1]


class ConstantEncoder(_Encoder):
    """The input itself, repeated at each step.

    Args:
        nsteps: number of steps T.
    """

    def __init__(self, nsteps: int) -> None:
        super().__init__(nsteps)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, ...) repeated, (N, T, ...)."""
        _check_batch("ConstantEncoder", x)
        return _over_time(x, self.nsteps).contiguous()

    def extra_repr(self) -> str:
        """Name the number of steps."""
        return f"nsteps={self.nsteps}"


class SumDecoder(nn.Module):
    """Spike counts, centred.

        out = scale (sum over t of s[:, t] - nsteps / 2), or scale (sum over t of s[:, t]) without the offset

    Args:
        nsteps: number of steps T.
        scale: factor of the counts.
        offset: subtract ``nsteps / 2``, so that an output that fires half of the time gives zero.

    >>> SumDecoder(4, 1.0)(torch.ones(1, 4, 2))
    tensor([[2., 2.]])
    """

    def __init__(self, nsteps: int, scale: float = 1.0, offset: bool = True) -> None:
        super().__init__()
        self.nsteps = checks.check_count("SumDecoder", "nsteps", nsteps)
        checks.check_parameter("SumDecoder", "scale", scale)
        self.scale = scale
        self.offset = offset

    def forward(self, s: Tensor) -> Tensor:
        """Return (N, ...) for a sequence (N, T, ...)."""
        _check_train("SumDecoder", s)
        if s.shape[1] != self.nsteps:
            raise ValueError(
                f"SumDecoder: a sequence of shape {tuple(s.shape)} has {s.shape[1]} steps on its axis 1, expected "
                f"{self.nsteps}. Give the encoder and the decoder the same nsteps"
            )
        count = s.sum(1, dtype=lifted_dtype(s))  # bfloat16 counts to 256
        out = self.scale * (count - self.nsteps / 2 if self.offset else count)
        return out if count.dtype == s.dtype else out.to(s.dtype)

    def extra_repr(self) -> str:
        """Name the number of steps, the scale and the offset."""
        return f"nsteps={self.nsteps}, scale={self.scale}, offset={self.offset}"


class RateDecoder(nn.Module):
    """Spikes per step: the mean over time.

    >>> RateDecoder()(torch.tensor([[[0.0], [1.0]]]))
    tensor([[0.5000]])
    """

    def forward(self, s: Tensor) -> Tensor:
        """Return (N, ...) for a sequence (N, T, ...)."""
        _check_train("RateDecoder", s)
        return s.mean(1)


def _rates(owner: str, x: Tensor, nsteps: int, scale: float) -> Tensor:
    """Return the probabilities of a spike, in [0, 1]."""
    checks.check_count(owner, "nsteps", nsteps)
    if isinstance(scale, Tensor):
        raise TypeError(f"{owner}: scale is a Tensor, expected a number; multiply the rates by it instead")
    checks.check_parameter(owner, "scale", scale)
    bounds = _check_batch(owner, x)
    if torch.is_grad_enabled() and x.requires_grad:
        raise ValueError(
            f"{owner}: x requires a gradient, which spikes drawn at random do not have. Draw from x.detach(), encode "
            f"with ConstantEncoder({nsteps}), whose gradient is exact, or give an estimate of your own: the "
            f"straight-through one is {owner}(x.detach(), {nsteps}) + (x - x.detach()).unsqueeze(1)"
        )
    rates = scale * x
    highest = max(scale * bound for bound in bounds)
    if highest > 1.0 and not math.isclose(highest, 1.0, rel_tol=1e-3):
        warnings.warn(
            f"{owner}: rates reach {highest:.3g} spikes per step and saturate at 1. Divide the input by its maximum, "
            "or lower scale",
            stacklevel=3,
        )
    return rates.clamp(0.0, 1.0)


def _check_batch(owner: str, x: Tensor) -> tuple[float, float]:
    checks.check_floating(owner, "x", x)
    checks.check_rank(owner, "x", x, "(N, ...): a batch, as a DataLoader gives it", 1)
    return checks.value_range(owner, "x", x) or (0.0, 0.0)


def _check_train(owner: str, s: Tensor) -> None:
    checks.check_floating(owner, "the sequence", s)
    checks.check_rank(owner, "the sequence", s, "(N, T, ...)", 2)
    if s.shape[1] == 0:
        raise ValueError(f"{owner}: a sequence of shape {tuple(s.shape)} has no steps on its axis 1")


def _check_generator(owner: str, x: Tensor, generator: Generator | None) -> None:
    if generator is not None and generator.device.type != x.device.type:
        raise ValueError(
            f"{owner}: the generator is on {generator.device}, x on {x.device}; make it with "
            f"torch.Generator({x.device.type!r})"
        )


def _over_time(x: Tensor, nsteps: int) -> Tensor:
    return x.unsqueeze(1).expand(x.shape[0], nsteps, *x.shape[1:])
