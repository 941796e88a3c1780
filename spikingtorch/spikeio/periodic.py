"""Regular spikes, and the input itself at each step."""

import torch
from torch import Tensor

from spikingtorch.functional import Reset, by_subtraction, scan, to_zero, zeros_state
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.functional.neurons import periodic
from spikingtorch.spikeio._checks import Encoder, check_batch, over_time


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
