"""Rate codes: regular spikes, random spikes that are independent or from a chain, and the input itself at each step."""

import warnings

import torch
from torch import Generator, Tensor

from spikingtorch import validation as checks
from spikingtorch.functional import Reset, by_subtraction, lift, scan, to_zero, zeros_state
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.functional.neurons import periodic
from spikingtorch.spikeio._checks import (
    Encoder,
    check_batch,
    check_generator,
    check_no_gradient,
    check_number,
    over_time,
    warn_above_one,
)


class PeriodicEncoder(Encoder):
    """Rate code by regular spikes: integrate the rate r = ``scale x`` and spike at 1, without drift.

    The number of spikes in T steps depends on the reset, for 0 < r <= 1:

        reset=to_zero           floor(T / ceil(1 / r)):   a spike at every ceil(1 / r)th step
        reset=by_subtraction    floor(T r):               spike k at step ceil(k / r), counted from 1

    They are the same for r = 1 / n. For r = 0.4 and T = 10, ``to_zero`` gives 3 spikes, always 3 steps apart. It is the
    default, as in the older package. ``by_subtraction`` gives 4 spikes, 2 or 3 steps apart. An input of 0 or less is
    silent, and one above 1 fires at each step.

    A rate is rounded to its dtype, but 10 times 0.1 must still give a spike. So r counts as larger by 4 units in the
    last place (float32 for half precision). The number of spikes is exact unless the fraction of T r is that close to
    1. For rates p / q in float32, this holds for q T up to about 2 million.

    The gradient is that of an IF neuron with this reset.

    Args:
        nsteps: number of steps T.
        scale: factor of the input.
        reset: ``to_zero`` or ``by_subtraction`` of ``spikingtorch.functional``.
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: nsteps, scale or reset is not valid.

    >>> from spikingtorch.functional import by_subtraction
    >>> PeriodicEncoder(6)(torch.tensor([[0.5]])).flatten()
    tensor([0., 1., 0., 1., 0., 1.])
    >>> PeriodicEncoder(10)(torch.tensor([[0.4]])).flatten()
    tensor([0., 0., 1., 0., 0., 1., 0., 0., 1., 0.])
    >>> PeriodicEncoder(10, reset=by_subtraction)(torch.tensor([[0.4]])).flatten()
    tensor([0., 0., 1., 0., 1., 0., 0., 1., 0., 1.])
    """

    def __init__(self, nsteps: int, scale: float = 1.0, *, reset: Reset = to_zero, batch_first: bool = True) -> None:
        super().__init__(nsteps, scale, batch_first)
        if reset not in (to_zero, by_subtraction):
            raise ValueError(
                f"PeriodicEncoder: reset={getattr(reset, '__name__', reset)}, expected to_zero or by_subtraction of "
                "spikingtorch.functional"
            )
        self.reset = reset

    def encode(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...) for inputs x (N, ...)."""
        check_batch("PeriodicEncoder", x)
        rates = self.scale * x
        if self.reset is by_subtraction:
            rates = rates.to(lifted_dtype(rates))
            currents = over_time(rates * (1.0 + 4.0 * torch.finfo(rates.dtype).eps), self.nsteps)
            spikes = scan(periodic.regular_step, zeros_state(periodic.RegularState, rates), currents, dim=1)[1]
            return spikes if spikes.dtype == x.dtype else spikes.to(x.dtype)
        state = zeros_state(periodic.PeriodicState, x)
        params = {"threshold": periodic.firing_threshold(state.n.dtype)}
        return scan(periodic.periodic_step, state, over_time(rates, self.nsteps), params=params, dim=1)[1]

    def described(self) -> list[str]:
        """Return the number of steps, the scale and the reset for the repr."""
        return [*super().described(), f"reset={getattr(self.reset, '__name__', self.reset)}"]


class ConstantEncoder(Encoder):
    """The input itself, repeated at each step.

    Args:
        nsteps: number of steps T.
        batch_first: False for sequences (T, N, ...), time first.
    """

    _shown = ("nsteps={0.nsteps}",)

    def __init__(self, nsteps: int, *, batch_first: bool = True) -> None:
        super().__init__(nsteps, batch_first=batch_first)

    def encode(self, x: Tensor) -> Tensor:
        """Return x (N, ...) repeated, (N, T, ...)."""
        check_batch("ConstantEncoder", x)
        return over_time(x, self.nsteps).contiguous()


def poisson_spikes(x: Tensor, nsteps: int, scale: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Draw independent spikes, which have no gradient.

        P(s[n, t, ...] = 1) = scale x[n, ...]

    Args:
        x: rates in spikes per step, floating, shape (N, ...). A rate above 1 saturates at a spike in each step, and a
            rate below 0 never spikes; both give a warning.
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
    check_generator("poisson_spikes", x, generator)
    return torch.bernoulli(over_time(rates, nsteps), generator=generator)


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

    In both cases a step spikes with probability x, so the rate is that of independent spikes. The same random numbers
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
    check_generator("markov_spikes", x, generator)
    spiked = torch.zeros_like(rates, dtype=torch.bool)
    spikes = []
    for _ in range(nsteps):
        r = torch.rand(rates.shape, dtype=rates.dtype, device=rates.device, generator=generator)
        spiked = torch.where(spiked, r >= 1.0 - rates, r < rates)
        spikes.append(spiked)
    return torch.stack(spikes, 1).to(x.dtype)


class PoissonEncoder(Encoder):
    """Rate code by independent spikes of probability ``scale x`` in each step; see ``poisson_spikes``.

    Spikes drawn at random have no gradient, so an input that requires one is an error.

    Args:
        nsteps: number of steps T.
        scale: factor of the rates.
        generator: source of randomness; the global one of torch by default.
        batch_first: False for sequences (T, N, ...), time first.

    >>> encoder = PoissonEncoder(8, generator=torch.Generator().manual_seed(0))
    >>> encoder(torch.rand(32, 1, 28, 28)).shape
    torch.Size([32, 8, 1, 28, 28])
    """

    def __init__(
        self, nsteps: int, scale: float = 1.0, *, generator: Generator | None = None, batch_first: bool = True
    ) -> None:
        super().__init__(nsteps, scale, batch_first)
        self.generator = generator

    def encode(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...) for rates x (N, ...)."""
        return poisson_spikes(x, self.nsteps, self.scale, generator=self.generator)


class Poisson2D(PoissonEncoder):
    """PoissonEncoder that takes only images, (N, C, H, W) or (N, H, W)."""

    def encode(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...) for images x."""
        return poisson_spikes2d(x, self.nsteps, self.scale, generator=self.generator)


def _rates(owner: str, x: Tensor, nsteps: int, scale: float) -> Tensor:
    """Return the probabilities of a spike, in [0, 1]."""
    checks.check_count(owner, "nsteps", nsteps)
    check_number(owner, "scale", scale, "multiply the input by it instead")
    bounds = check_batch(owner, x)
    fix = (
        f"Draw from x.detach(), encode with ConstantEncoder({nsteps}), whose gradient is exact, or write your own "
        f"estimate: the straight-through one is {owner}(x.detach(), {nsteps}) + (x - x.detach()).unsqueeze(1)"
    )
    check_no_gradient(owner, x, "spikes drawn at random", fix)
    rates = scale * x
    warn_above_one(owner, scale, bounds, "rates reach {:.3g} spikes per step and saturate at 1")
    if (lowest := min(scale * bound for bound in bounds)) < -1e-3:
        warnings.warn(
            f"{owner}: rates go down to {lowest:.3g}, and those below 0 never spike. Leave out the centring of "
            "the input, for instance transforms.Normalize, or split it into its positive and its negative part",
            stacklevel=level_of_user(),
        )
    return rates.clamp(0.0, 1.0)
