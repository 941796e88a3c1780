"""Oracles: one step of a network as a pure function, and a plain loop over steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.drawn import uniform

N, T, FEATURES, HIDDEN = 3, 6, 4, 5
THRESHOLD = 0.4
# of tests that run some networks step by step, and compare numbers
QUIETLY = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:SpikingNet.* runs step by step:RuntimeWarning"),
]
Params = Mapping[str, Tensor]
State = dict[str, Tensor]  # as get_state names it; an empty one is at rest
# one step: parameters, state, x (N, FEATURES), whether it is the first -> the output; it replaces entries of the state
Step = Callable[[Params, State, Tensor, bool], Tensor]


class Network(NamedTuple):
    """A network and its oracle.

    Attributes:
        why: what of the contract it stands for.
        make: builds it.
        step: its oracle.
        state: names and sizes of the entries of its state.
        folds: whether all of its steps may run at once.
    """

    why: str
    make: Callable[[], nn.Module]
    step: Step
    state: Mapping[str, int]
    folds: bool = True

    def model(self, **options: Any) -> st.SpikingNet:
        """Return the network over time, in float64, the same one each time."""
        torch.manual_seed(0)
        return st.SpikingNet(self.make().double(), **options)

    def rest(self, count: int = N) -> State:
        return {name: torch.zeros(count, size, dtype=torch.double) for name, size in self.state.items()}

    def run(self, params: Params, state: State, x: Tensor, cuts: Sequence[int] = (), begins: bool = True) -> Tensor:
        """Return the outputs for x, (N, T, FEATURES), step by step; the state is replaced by the last one.

        Args:
            params: of the network, by name.
            state: that the first step starts from.
            x: input.
            cuts: steps before which the graph ends.
            begins: whether the first step is that of a sequence.
        """
        outs = []
        for t in range(x.shape[1]):
            if t in cuts:
                state |= cut(state)
            outs.append(self.step(params, state, x[:, t], begins and t == 0))
        return torch.stack(outs, 1)


def cut(state: State) -> State:
    return {name: each.detach() for name, each in state.items()}


def draw(seed: int, steps: int = T, count: int = N) -> Tensor:
    return uniform(count, steps, FEATURES, seed=seed, dtype=torch.double) * 2


def cotangent(out: Tensor) -> Tensor:
    return uniform(*out.shape, seed=9, dtype=torch.double) - 0.3


# --- what the oracles are made of -------------------------------------------------------------------------------------


def lif(state: State, name: str, x: Tensor, tau: Any = 3.0) -> Tensor:
    decay, gain = F.decay_from_tau(tau), F.gain_from_tau(tau)
    new, spikes = F.lif_step(F.LIFState(state[name]), x, decay=decay, gain=gain, threshold=THRESHOLD)
    state[name] = new.v
    return spikes


def li(state: State, name: str, x: Tensor) -> Tensor:
    new, out = F.li_step(F.LIState(state[name]), x, decay=F.decay_from_tau(2.0), gain=F.gain_from_tau(2.0))
    state[name] = new.v
    return out


def linear(params: Params, name: str, x: Tensor) -> Tensor:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]
