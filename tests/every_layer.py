"""One layer of each kind, and one way to call them all."""

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
