"""Read a NIR file by SpikingJelly: `python -m tests.interop.nir.peers.read_by_spikingjelly FILE.nir FILE.npz OUT.npz`.

Used with spikingjelly 2.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based.nir_exchange import import_from_nir

from tests.interop.nir.peers import reading
from tests.interop.nir.peers.fixture import Array


def start(path: Path, N: int, dt: float) -> reading.Step:
    net = import_from_nir(path, dt=dt)
    state: Any = None

    def step(x: Array) -> Array:
        nonlocal state
        with torch.no_grad():
            out, state = net(torch.from_numpy(x), state)
        return out.numpy()  # type: ignore[no-any-return]

    return step


if __name__ == "__main__":
    reading.main("spikingjelly", start, 1e-4)
