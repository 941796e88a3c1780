"""Fixtures that Norse writes: `python -m tests.interop.nir.peers.write_norse` where Norse is installed.

Written with norse 1.1.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import norse.torch as norse
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.reset import reset_subtract
from torch import Tensor, nn

from tests.interop.nir.peers import fixture, writing
from tests.interop.nir.peers.writing import drawn, each, tied


def box(*shape: int, v_leak: float = 0.0, v_reset: float = 0.0, **options: Any) -> Any:
    """Return LIF neurons without a current."""
    p = norse.LIFBoxParameters(
        tau_mem_inv=each(100.0, *shape),
        v_leak=each(v_leak, *shape),
        v_th=each(1.0, *shape),
        v_reset=each(v_reset, *shape),
        **options,
    )
    return norse.LIFBoxCell(p)


def lif(n: int, v_leak: float = 0.0, v_reset: float = 0.0) -> Any:
    """Return LIF neurons with a current."""
    p = norse.LIFParameters(
        tau_syn_inv=each(200.0, n),
        tau_mem_inv=each(100.0, n),
        v_leak=each(v_leak, n),
        v_th=each(1.0, n),
        v_reset=each(v_reset, n),
    )
    return norse.LIFCell(p)


def iaf(n: int, v_reset: float = 0.0) -> Any:
    return norse.IAFCell(IAFParameters(v_th=each(1.0, n), v_reset=each(v_reset, n)))


def li(n: int, v_leak: float) -> Any:
    return norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=each(80.0, n), v_leak=each(v_leak, n)))


def start(net: Any) -> Callable[[Tensor], Any]:
    state = None

    def step(x: Tensor) -> None:
        nonlocal state
        _, state = net(x, state)

    return step


mlp = partial(writing.mlp, chain=norse.SequentialState)
peer = writing.Peer(
    "norse",
    (norse.LIFBoxCell, norse.LIFCell, norse.IAFCell),
    (norse.LIBoxCell,),
    1e-3,
    start,
    lambda net, xs, told: norse.to_nir(net, xs[0, 0], dt=told["export_dt"]),
    {"export_dt": 1e-3},
)


def main() -> None:
    x, image = fixture.spikes_in(0, (5,)), fixture.spikes_in(1, (1, 6, 6))
    peer.write("box_leak_reset", mlp(box(6, v_leak=0.3, v_reset=-0.4)), x, v_reset=-0.4)
    peer.write("box_subtract", mlp(box(6, reset_method=reset_subtract)), x, reset="subtract")
    peer.write("box_export_dt_1", mlp(box(6)), x, export_dt=1.0)
    peer.write("lif", mlp(lif(6), lif(4)), x)
    peer.write("lif_leak_reset", mlp(lif(6, v_leak=0.3, v_reset=-0.4)), x, v_reset=-0.4)
    peer.write("iaf_reset", mlp(iaf(6, v_reset=0.3)), x, v_reset=0.3)
    peer.write("iaf_ties", tied(mlp(iaf(6)), 1 / 8, 1 / 8), x, balanced=False)
    peer.write("box_li", mlp(box(6), li(4, v_leak=0.2)), x)
    peer.write("conv_box", norse.SequentialState(drawn(nn.Conv2d(1, 2, 3), seed=3), box(2, 4, 4)), image)


if __name__ == "__main__":
    main()
