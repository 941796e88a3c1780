"""Read a NIR file by SpikingJelly: `python -m tests.interop.nir.peers.read_by_spikingjelly FILE.nir FILE.npz OUT.npz`.

Used with spikingjelly 2.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from pathlib import Path

from spikingjelly.activation_based.nir_exchange import import_from_nir

from tests.interop.nir.peers import reading


def start(path: Path, N: int, dt: float) -> reading.Step:
    return reading.step_of(import_from_nir(path, dt=dt))


if __name__ == "__main__":
    reading.main("spikingjelly", start, 1e-4)
