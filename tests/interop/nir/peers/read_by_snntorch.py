"""Read a NIR file by snnTorch: `python -m tests.interop.nir.peers.read_by_snntorch FILE.nir FILE.npz OUT.npz`.

Used with snntorch 1.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0. Its importer takes 1e-4 for dt always.
"""

from pathlib import Path
from typing import Any

import nir
import torch
from snntorch.import_nir import import_from_nir

from tests.interop.nir.peers import reading
from tests.interop.nir.peers.fixture import Array


def start(path: Path, N: int, dt: float) -> reading.Step:
    if dt != 1e-4:
        raise ValueError("the importer of snnTorch takes no dt; its own is 1e-4")
    net = import_from_nir(nir.read(path))
    state: Any = None

    def step(x: Array) -> Array:
        nonlocal state
        with torch.no_grad():
            out, state = net(torch.from_numpy(x), state)
        return (out[0] if isinstance(out, tuple) else out).numpy()  # type: ignore[no-any-return]

    return step


if __name__ == "__main__":
    reading.main("snntorch", start, 1e-4)
