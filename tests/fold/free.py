"""Networks whose tensors and numbers change between calls, beside stepping, and what is proven anew."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import Tensor

import spikingtorch as st
from tests.nets_that_step import Hole, Two, readout, train


def net_of(code: Hole, **attributes: Any) -> Any:
    torch.manual_seed(0)
    return readout(code, **attributes).double()


class Compared:
    """A network in mode "auto", whose calls are compared with its steps, forward and backward.

    Args:
        net: the network.
        draws: whether it draws random numbers, so that there is nothing to compare.
    """

    def __init__(self, net: Any, draws: bool = False) -> None:
        self.net, self.draws = net, draws
        self.model, self.step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")

    def __call__(self, N: int = 5) -> str:
        """Return how a call ran."""
        return self._compare(N, self.model)

    def known(self, N: int = 5) -> bool:
        """Return whether a call folds without a proof: the code of the network then runs once."""
        runs = 0

        def profile(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal runs
            runs += event == "call" and frame.f_code is Two.forward.__code__

        def watched(x: Tensor) -> Tensor:
            sys.setprofile(profile)
            try:
                out: Tensor = self.model(x)
            finally:
                sys.setprofile(None)
            return out

        return self._compare(N, watched) == "fold" and runs == 1

    def _compare(self, N: int, run: Callable[[Tensor], Tensor]) -> str:
        found = []
        for each in (run, self.step):
            x = train(N=N).requires_grad_()
            out = each(x)
            leaves = [x, *self.net.parameters()]
            found.append([out, *torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)])
        for a, b in zip(*found, strict=True):
            assert self.draws or a is b is None or torch.allclose(a, b, rtol=1e-10, atol=1e-12)
        return self.model.explain().mode
