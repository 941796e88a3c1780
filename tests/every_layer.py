"""One layer of each kind, one way to call them all, and the ways to copy one."""

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F

NOISE = 0.4
MAKERS: dict[str, Callable[..., st.StepLayer]] = {
    "IF": st.IF,
    "LIF": st.LIF,
    "LI": st.LI,
    "CoarseLIF": partial(st.CoarseLIF, tau=8.0),
    "SpikingDecay": partial(st.SpikingDecay, tau=2.0),
    "McPitts": partial(st.McPitts, thr=0.5),
    "BioLIF": partial(st.BioLIF, nudt=0.5),
    "ParametricLIF": partial(st.ParametricLIF, threshold=0.4, learnable=()),
    "CubaLIF": st.CubaLIF,
    "AlphaLIF": st.AlphaLIF,
    "ALIF": st.ALIF,
    "ExponentialIF": st.ExponentialIF,
    "AdEx": st.AdEx,
    "QuadraticIF": st.QuadraticIF,
    # without a unit: for inputs of about one
    "Izhikevich": partial(
        st.Izhikevich, 0.1, 0.2, -0.5, 0.5, threshold=1.0, v_rest=-0.25, curve=F.IzhikevichCurve(0.5, 0.0, 0.1)
    ),
    "ResonateAndFire": partial(st.ResonateAndFire, dt=0.1, omega=2.0, threshold=0.1),
    "BalancedResonateAndFire": partial(st.BalancedResonateAndFire, dt=0.1, omega=2.0, threshold=0.1),
    "HarmonicResonateAndFire": partial(st.HarmonicResonateAndFire, dt=0.1, omega=2.0, threshold=0.1),
    "SEAdLIF": partial(st.SEAdLIF, q=2.0, threshold=0.1),
    "SigmaDelta": st.SigmaDelta,
    "StochasticLIF": st.StochasticLIF,
    "ExponentialSynapse": st.ExponentialSynapse,
    "AlphaSynapse": st.AlphaSynapse,
    "ShortTermPlasticity": st.ShortTermPlasticity,
    "Delay": partial(st.Delay, delay=1.5),
    "FixedPointIF": st.FixedPointIF,
    "FixedPointLIF": st.FixedPointLIF,
    "FixedPointCubaLIF": st.FixedPointCubaLIF,
    "XyloLIF": st.XyloLIF,
    "LoihiLIF": st.LoihiLIF,
    "SpeckIAF": st.SpeckIAF,
}
# what has no spikes of its own
FILTERS = {"LI", "ExponentialSynapse", "AlphaSynapse", "ShortTermPlasticity", "Delay"}
LAYERS: dict[str, st.StepLayer] = {name: make() for name, make in MAKERS.items()}


def call(layer: st.StepLayer, x: Tensor, init: bool | Tensor = False) -> Tensor:
    """Call a layer; BioLIF gets x and its half, and StochasticLIF noise that is no chance."""
    if isinstance(layer, st.StochasticLIF):
        out: Tensor = layer(x, init, noise=torch.full_like(x, NOISE, requires_grad=False))
    else:
        out = layer(x, 0.5 * x, init) if isinstance(layer, st.BioLIF) else layer(x, init)
    return out


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return numbers in [0, 2), the same for a seed in every dtype."""
    return (2.0 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).to(dtype)


def leaves_of(tree: Any) -> list[Tensor]:
    """Return the tensors of a tree."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def slopes(outputs: Any, *leaves: Tensor) -> list[Tensor]:
    """Return outputs, and gradients of leaves by random cotangents of each."""
    generator, outs = torch.Generator().manual_seed(1), leaves_of(outputs)
    parts = [(out * torch.randn(out.shape, generator=generator).to(out.dtype)).sum() for out in outs]
    known = torch.stack([part.double() for part in parts if part.requires_grad]).sum()
    found = torch.autograd.grad(known, leaves, materialize_grads=True, retain_graph=True)
    return [*[out.detach() for out in outs], *found]


def through_a_file(made: Any, weights_only: bool = False) -> Any:
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "torch.save": through_a_file,
}
