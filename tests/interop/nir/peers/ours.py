"""Networks of ours as each peer's reader runs them; `write` and `keep` in our environment, the reading in the peer's.

python -m tests.interop.nir.peers.ours write FOLDER PEER        our files, for the dt and method of the reader
python -m tests.interop.nir.peers.read_by_PEER FOLDER --dt DT   in the environment of the peer
python -m tests.interop.nir.peers.ours keep FOLDER PEER         fixtures/ours_PEER.npz: inputs, and what came out
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nir
import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.interop.nir import to_nir
from tests.interop.nir.peers.fixture import FOLDER, Array


class Reader(NamedTuple):
    """What a peer's importer takes for granted.

    Attributes:
        dt: length of a step.
        method: how it turns equations into steps.
    """

    dt: float
    method: Literal["exponential", "euler"]


READERS = {
    "snntorch": Reader(1e-4, "euler"),
    "norse": Reader(1e-3, "euler"),
    "sinabs": Reader(1.0, "exponential"),
    "spikingjelly": Reader(1e-4, "euler"),
}


def _dense(*neurons: nn.Module) -> nn.Module:
    first, second = nn.Linear(6, 8), nn.Linear(8, 4)
    with torch.no_grad():
        first.weight.mul_(4.0)
        second.weight.mul_(6.0)
    return nn.Sequential(first, neurons[0], second, neurons[1])


def _images() -> nn.Module:
    conv, out = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3 * 3 * 3, 4)
    with torch.no_grad():
        conv.weight.mul_(4.0)
        out.weight.mul_(16.0)
    return nn.Sequential(conv, st.IF(), nn.AvgPool2d(2), nn.Flatten(), out, _lif(0.6))


def _lif(decay: float, back: nn.Linear | None = None) -> nn.Module:
    return st.StepLayer(F.lif_step, F.LIFState, decay=decay, gain=1.0, threshold=1.0, recurrent=back)


def _euler(tau: float, back: nn.Linear | None = None) -> nn.Module:
    return st.ParametricLIF(tau, 0.4, recurrent=back)


def _cuba(decay_syn: float, decay: float) -> nn.Module:
    return st.StepLayer(F.cuba_lif_step, F.CubaLIFState, decay_syn=decay_syn, decay=decay, gain=1.0, threshold=1.0)


# the networks, and the shape of an input. What a unit of input does to a membrane is tau (1 - exp(-1 / tau)) in our
# LIF, 1 - decay with r = 1, as in SpikingJelly's default, and 1 with gain 1, as in snnTorch
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "LIF": (lambda: _dense(st.LIF(tau=5.0), st.LIF(tau=3.0)), (6,)),
    "LIF with gain 1": (lambda: _dense(_lif(0.8), _lif(0.6)), (6,)),
    "LIF with r = 1": (lambda: _dense(_euler(3.0), _euler(2.0)), (6,)),
    "IF": (lambda: _dense(st.IF(), st.IF()), (6,)),
    "LI": (lambda: _dense(st.IF(), st.LI(tau=4.0)), (6,)),
    "CubaLIF": (lambda: _dense(st.CubaLIF(tau_syn=2.0, tau=4.0), st.IF()), (6,)),
    "CubaLIF with gain 1": (lambda: _dense(_cuba(0.6, 0.8), _lif(0.6)), (6,)),
    "images": (_images, (2, 6, 6)),
    "recurrent LIF with r = 1": (lambda: _dense(_euler(3.0, nn.Linear(8, 8, bias=False)), _euler(2.0)), (6,)),
    "recurrent LIF with gain 1": (lambda: _dense(_lif(0.8, nn.Linear(8, 8, bias=False)), _lif(0.6)), (6,)),
}


def network(name: str) -> tuple[st.SpikingNet, Tensor]:
    """Return a network of that name, and an input, (N, T, ...)."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    return st.SpikingNet(make()).eval(), (torch.rand(2, 50, *shape) < 0.3).float()


def exported(name: str, peer: str) -> Any:
    """Return the graph of a network, for the reader of a peer."""
    model, x = network(name)
    reader = READERS[peer]
    return to_nir(model, x, dt=reader.dt, discretisation=reader.method)


@torch.no_grad()
def spikes(name: str) -> Array:
    """Return what our network gives out, (T, N, ...)."""
    model, x = network(name)
    return model(x).swapaxes(0, 1).numpy()  # type: ignore[no-any-return]


def numbers(graph: Any) -> Array:
    """Return all weights and parameters of a graph in a row."""
    arrays = [value for _, node in sorted(graph.nodes.items()) for _, value in sorted(vars(node).items())]
    chosen = [each for each in arrays if isinstance(each, np.ndarray) and each.dtype.kind == "f"]
    return np.concatenate([np.ravel(each).astype(np.float64) for each in chosen])


class Kept(NamedTuple):
    """What a peer's reader made of a network.

    Attributes:
        out: outputs (T, N, ...), or the error that it raised.
        numbers: those of the graph that it read.
    """

    out: Array | str
    numbers: Array


def kept(peer: str) -> dict[str, Kept]:
    """Return what a peer's reader made of our networks."""
    with np.load(FOLDER / f"ours_{peer}.npz") as file:
        found = {name: file[name] for name in file.files}
    outs: dict[str, Any] = {name: str(out) if (out := found[name]).dtype.kind == "U" else out for name in NETWORKS}
    return {name: Kept(out, found[f"numbers/{name}"]) for name, out in outs.items()}


def write(folder: Path, peer: str) -> None:
    """Write our networks, and their inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        nir.write(folder / f"{name}.nir", exported(name, peer))
        np.savez_compressed(folder / f"{name}.npz", x=network(name)[1].swapaxes(0, 1).numpy())


def keep(folder: Path, peer: str) -> None:
    """Write what the peer's reader made of them into a fixture."""
    found: dict[str, Any] = {}
    for name in NETWORKS:
        with np.load(folder / f"{name}.{peer}.npz") as file:
            found[name] = file["out"] if "out" in file.files else file["error"]
        found[f"numbers/{name}"] = numbers(nir.read(folder / f"{name}.nir"))
    np.savez_compressed(FOLDER / f"ours_{peer}.npz", **found)
    print(f"{FOLDER / f'ours_{peer}.npz'}: {', '.join(NETWORKS)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("write", "keep"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("peer", choices=READERS)
    options = parser.parse_args()
    (write if options.command == "write" else keep)(options.folder, options.peer)
