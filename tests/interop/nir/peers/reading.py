"""Files of NIR as the readers of other libraries run them; a library is imported when it is asked for.

Used with snntorch 1.0.0, norse 1.1.0, sinabs 3.1.3, spikingjelly 2.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from tests.interop.nir.peers.fixture import Array


def _norse(path: Path, N: int, dt: float) -> Any:
    import norse.torch as norse

    return norse.from_nir(nir.read(path), dt=dt)


def _sinabs(path: Path, N: int, dt: float) -> Any:
    from sinabs.nir import from_nir

    if dt != 1.0:
        raise ValueError("the importer of Sinabs counts time in steps and takes no dt; its own is 1")
    return from_nir(nir.read(path), batch_size=N, num_timesteps=1)


def _snntorch(path: Path, N: int, dt: float) -> Any:
    from snntorch.import_nir import import_from_nir

    if dt != 1e-4:
        raise ValueError("the importer of snnTorch takes no dt; its own is 1e-4")
    return import_from_nir(nir.read(path))


def _spikingjelly(path: Path, N: int, dt: float) -> Any:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(path, dt=dt)


# from the path of a graph, the number of samples N and dt, to a network that takes its state, and gives it back
READERS: dict[str, Callable[[Path, int, float], Any]] = {
    "norse": _norse,
    "sinabs": _sinabs,
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
}


@torch.no_grad()
def run(peer: str, path: Path, xs: Array, dt: float) -> Array:
    """Return what a peer's reader makes of inputs (T, N, ...), step by step, of the same shape."""
    net, state, outs = READERS[peer](path, xs.shape[1], dt), None, []
    for x in xs:
        out, state = net(torch.from_numpy(x), state)
        outs.append((out[0] if isinstance(out, tuple) else out).numpy())
    return np.stack(outs)
