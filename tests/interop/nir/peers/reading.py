"""Files of NIR as the readers of other libraries run them; a library is imported when it is asked for.

Used with snntorch 1.0.0, norse 1.1.0, sinabs 3.1.3, spikingjelly 2.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

import contextlib
import io
import logging
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from tests.interop.nir.peers.fixture import Array


def _network(peer: str, path: Path, N: int, dt: float) -> Any:
    """Return what a reader makes of the file of a graph: a network that takes its state, and gives it back."""
    match peer:
        case "norse":
            return import_module("norse.torch").from_nir(nir.read(path), dt=dt)
        case "sinabs":
            return import_module("sinabs.nir").from_nir(nir.read(path), batch_size=N, num_timesteps=1)
        case "snntorch":
            return import_module("snntorch.import_nir").import_from_nir(nir.read(path))
    return import_module("spikingjelly.activation_based.nir_exchange").import_from_nir(path, dt=dt)


@torch.no_grad()
def read_by(peer: str, graph: nir.NIRGraph, x: Tensor, dt: float) -> Array:
    """Return what a peer's reader makes of a file, (T, N, ...), step by step; the peer has to be installed.

    Args:
        peer: its name.
        graph: what is written into the file.
        x: the input, (N, T, ...).
        dt: length of a step that the reader is told; those of Sinabs and of snnTorch take none.
    """
    logging.disable(logging.WARNING)  # Norse warns of every r that it ignores
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = Path(folder) / "network.nir"
            nir.write(path, graph)
            net, state, outs = _network(peer, path, len(x), dt), None, []
            for step in x.unbind(1):
                out, state = net(step, state)
                outs.append((out[0] if isinstance(out, tuple) else out).numpy())
            return np.stack(outs)
    finally:
        logging.disable(logging.NOTSET)
