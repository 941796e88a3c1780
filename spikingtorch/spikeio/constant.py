"""The input itself, at each step."""

from torch import Tensor

from spikingtorch.spikeio._checks import Encoder, check_batch, over_time


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
