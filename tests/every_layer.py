"""One layer of each kind, one way to call them all, and the ways to copy one."""

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import spikingtorch as st

MAKERS: dict[str, Callable[..., st.StepLayer]] = {
    "IF": st.IF,
    "LIF": st.LIF,
    "LI": st.LI,
    "CoarseLIF": partial(st.CoarseLIF, tau=8.0),
    "SpikingDecay": partial(st.SpikingDecay, tau=2.0),
    "McPitts": partial(st.McPitts, thr=0.5),
    "BioLIF": partial(st.BioLIF, nudt=0.5),
    "GradedLIF": st.GradedLIF,
    "ParametricLIF": partial(st.ParametricLIF, learnable=()),
    "CubaLIF": st.CubaLIF,
    "AlphaLIF": st.AlphaLIF,
    "ALIF": st.ALIF,
    "ExponentialIF": st.ExponentialIF,
    "AdEx": st.AdEx,
    "QuadraticIF": st.QuadraticIF,
    "Izhikevich": st.Izhikevich,
    "ResonateAndFire": partial(st.ResonateAndFire, dt=0.1, omega=2.0),
    "BalancedResonateAndFire": partial(st.BalancedResonateAndFire, dt=0.1, omega=2.0),
    "SigmaDelta": st.SigmaDelta,
    "StochasticLIF": st.StochasticLIF,
    "ExponentialSynapse": st.ExponentialSynapse,
    "AlphaSynapse": st.AlphaSynapse,
    "ShortTermPlasticity": st.ShortTermPlasticity,
    "Delay": partial(st.Delay, delay=1.5),
}
LAYERS: dict[str, st.StepLayer] = {name: make() for name, make in MAKERS.items()}


def call(layer: st.StepLayer, x: Tensor, init: bool | Tensor = False) -> Tensor:
    """Call a layer; BioLIF gets x and its half, and StochasticLIF noise that is no chance."""
    if isinstance(layer, st.StochasticLIF):
        out: Tensor = layer(x, init, noise=torch.full_like(x, 0.4, requires_grad=False))
    else:
        out = layer(x, 0.5 * x, init) if isinstance(layer, st.BioLIF) else layer(x, init)
    return out


def through_a_file(made: Any) -> Any:
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "torch.save": through_a_file,
}
