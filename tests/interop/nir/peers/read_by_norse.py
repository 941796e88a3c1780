"""Read a NIR file by Norse: `python -m tests.interop.nir.peers.read_by_norse FILE.nir FILE.npz OUT.npz`.

Used with norse 1.1.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from pathlib import Path

import nir
import norse.torch as norse

from tests.interop.nir.peers import reading


def start(path: Path, N: int, dt: float) -> reading.Step:
    return reading.step_of(norse.from_nir(nir.read(path), dt=dt))


if __name__ == "__main__":
    reading.main("norse", start, 1e-3)
