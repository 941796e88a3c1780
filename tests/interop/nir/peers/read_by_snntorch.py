"""Read a NIR file by snnTorch: `python -m tests.interop.nir.peers.read_by_snntorch FILE.nir FILE.npz OUT.npz`.

Used with snntorch 1.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0. Its importer takes 1e-4 for dt always.
"""

from pathlib import Path

import nir
from snntorch.import_nir import import_from_nir

from tests.interop.nir.peers import reading


def start(path: Path, N: int, dt: float) -> reading.Step:
    if dt != 1e-4:
        raise ValueError("the importer of snnTorch takes no dt; its own is 1e-4")
    return reading.step_of(import_from_nir(nir.read(path)))


if __name__ == "__main__":
    reading.main("snntorch", start, 1e-4)
