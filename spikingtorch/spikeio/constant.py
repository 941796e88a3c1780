"""The input itself, at each step."""

from torch import Tensor

from spikingtorch.spikeio._checks import Encoder, check_batch, over_time


class ConstantEncoder(Encoder):
    """The input itself, repeated at each step.

    Args:
        nsteps: number of steps T.
    """

    def __init__(self, nsteps: int) -> None:
        super().__init__(nsteps)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, ...) repeated, (N, T, ...)."""
        check_batch("ConstantEncoder", x)
        return over_time(x, self.nsteps).contiguous()

    def extra_repr(self) -> str:
        """Name the number of steps."""
        return f"nsteps={self.nsteps}"
