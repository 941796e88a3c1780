"""Read a NIR file by Sinabs: `python -m tests.interop.nir.peers.read_by_sinabs FILE.nir FILE.npz OUT.npz`.

Used with sinabs 3.1.3, nir 1.0.8, nirtorch 2.6 and torch 2.13.0. Its importer counts time in steps.
"""

from pathlib import Path

import nir
from sinabs.nir import from_nir

from tests.interop.nir.peers import reading


def start(path: Path, N: int, dt: float) -> reading.Step:
    if dt != 1.0:
        raise ValueError("the importer of Sinabs takes no dt; its own is 1")
    return reading.step_of(from_nir(nir.read(path), batch_size=N, num_timesteps=1))


if __name__ == "__main__":
    reading.main("sinabs", start, 1.0)
