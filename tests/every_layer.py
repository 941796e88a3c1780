"""One layer of each kind, one way to call them all, and the ways to copy one."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import spikingtorch as st

LAYERS: dict[str, st.StepLayer] = {
    "IF": st.IF(),
    "LIF": st.LIF(),
    "LI": st.LI(),
    "CoarseLIF": st.CoarseLIF(tau=8.0),
    "SpikingDecay": st.SpikingDecay(tau=2.0),
    "McPitts": st.McPitts(thr=0.5),
    "BioLIF": st.BioLIF(nudt=0.5),
}


def call(layer: st.StepLayer, x: Tensor, init: bool | Tensor = False) -> Tensor:
    """Call a layer; BioLIF gets x and its half."""
    out: Tensor = layer(x, 0.5 * x, init) if isinstance(layer, st.BioLIF) else layer(x, init)
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
