"""Read a NIR file by Norse: `python -m tests.interop.nir.peers.read_by_norse FILE.nir FILE.npz OUT.npz`.

Used with norse 1.1.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import nir
import norse.torch as norse
import torch

from tests.interop.nir.peers import reading
from tests.interop.nir.peers.fixture import Array


def start(path: Path, N: int, dt: float) -> reading.Step:
    net = norse.from_nir(nir.read(path), dt=dt)
    state: Any = None

    def step(x: Array) -> Array:
        nonlocal state
        with torch.no_grad():
            out, state = net(torch.from_numpy(x), state)
        return out.numpy()  # type: ignore[no-any-return]

    return step


if __name__ == "__main__":
    reading.main("norse", start, 1e-3)
