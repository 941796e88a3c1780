"""A network to record, and which steps tell of their threshold."""

from typing import Any

from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.verification.cases import CASES

ALL = ("spikes", "v", "u", "threshold")
# the steps that tell of their threshold
FIRING = {case.step for case in CASES if case.spikes}


class Net(nn.Module):
    """An adaptive threshold, a neuron that rests, and a readout that does not fire."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(6, 8), nn.Linear(8, 4)
        self.l1, self.l2, self.li = st.ALIF(tau=4.0), st.LIF(refractory=2, learnable=True), st.LI()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l2(self.g(self.l1(self.f(x), init)), init)
        out: Tensor = self.li(h, init)
        return out
