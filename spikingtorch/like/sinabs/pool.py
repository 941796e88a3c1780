"""SumPool2d."""

from torch import nn


class SumPool2d(nn.LPPool2d):
    """Sum over the windows of an image, as Sinabs' SumPool2d does.

        y = sum over a window of x,  dy/dx = 1 where y is not 0, else 0

    A window whose entries sum to zero, for instance without spikes, gets no gradient.

    Args:
        kernel_size: size of a window.
        stride: distance between windows; None for the size.
        ceil_mode: keep windows that reach beyond the edge.

    >>> import torch
    >>> SumPool2d(2)(torch.ones(1, 1, 2, 4))
    tensor([[[[4., 4.]]]])
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(1, kernel_size, stride, ceil_mode)
