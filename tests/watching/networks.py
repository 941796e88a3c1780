"""Networks to watch, their inputs, and spikes counted in loops."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.verification.cases import CASES
from tests.drawn import uniform
from tests.folded_layer import Coded

# what may be recorded of a layer that fires, and the steps that tell of their threshold
ALL = ("spikes", "v", "u", "threshold")
FIRING = {case.step for case in CASES if case.spikes}


def shallow() -> Coded:
    """Return neurons that learn and a readout that does not fire."""
    parts = {"f": nn.Linear(6, 8), "l1": st.LIF(tau=3.0, learnable=True), "li": st.LI()}
    return Coded(lambda net, x, init: net.li(net.l1(3 * net.f(x), init), init), **parts)


def deep() -> Coded:
    """Return an adaptive threshold, a neuron that rests, and a readout that does not fire."""
    parts = {"f": nn.Linear(6, 8), "l1": st.ALIF(tau=4.0), "g": nn.Linear(8, 4)}
    parts |= {"l2": st.LIF(refractory=2, learnable=True), "li": st.LI()}
    return Coded(lambda net, x, init: net.li(net.l2(net.g(net.l1(net.f(x), init)), init), init), **parts)


torch.library.define("spikingtorch_watching::up_to", "(Tensor x, int rows, float value) -> Tensor")


@torch.library.impl("spikingtorch_watching::up_to", "CPU")
def up_to(x: Tensor, rows: int, value: float) -> Tensor:
    """Raise where there are many rows, or an input is large, of which a proof has seen neither."""
    if (x > value).any() or x.shape[0] > rows:
        raise RuntimeError("broken")
    return x.clone()


UP_TO: Any = {torch.ops.spikingtorch_watching.up_to: "rows"}


class Breaks(nn.Module):
    """Hands its input on, up to so many rows and so large a value."""

    def __init__(self, rows: int, value: float = math.inf) -> None:
        super().__init__()
        self.rows, self.value = rows, value

    def forward(self, x: Tensor) -> Any:
        return torch.ops.spikingtorch_watching.up_to(x, self.rows, self.value)


def draw(seed: int = 0) -> Tensor:
    return uniform(4, 15, 6, seed=seed)


def by_hand(spikes: list[Tensor]) -> dict[str, float]:
    """Count spikes (N, T, M) of some calls in loops."""
    M, steps, intervals = spikes[0].shape[2], 0, []
    counts = [0] * M
    for part in spikes:
        for sample in part:
            steps += sample.shape[0]
            for neuron in range(M):
                times = [t for t in range(sample.shape[0]) if sample[t, neuron]]
                counts[neuron] += len(times)
                intervals += [after - before for before, after in pairwise(times)]
    mean = sum(intervals) / len(intervals)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in intervals) / len(intervals))
    return {
        "rate": sum(counts) / (steps * M),
        "silent": sum(count == 0 for count in counts) / M,
        "saturated": sum(count == steps for count in counts) / M,
        "interval": mean,
        "interval_cv": deviation / mean,
    }
