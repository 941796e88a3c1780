"""Networks of ours as each peer's reader runs them, where the peers are installed: ``make nir-table``.

    .venv-bench/bin/python -m tests.interop.nir.peers.ours    writes fixtures/ours.tar.xz: what each reader gave out

Each network is exported twice: with the defaults of ``to_nir``, and with the reader as its target.
"""

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.interop.nir import NIRError, to_nir
from spikingtorch.interop.nir.targets import TARGETS
from tests.interop.nir.peers.fixture import Array, arrays, keep, packed
from tests.interop.nir.peers.reading import read_by
from tests.interop.nir.targets import TAUS, back, counting, dense, scaled

PEERS = tuple(TARGETS)
Variant = Literal["default", "target"]
VARIANTS: tuple[Variant, ...] = ("default", "target")


def _dense(first: nn.Module, last: nn.Module) -> nn.Module:
    return dense(first, last, scale=6.0)


def _images() -> nn.Module:
    conv, out = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3 * 3 * 3, 4)
    return nn.Sequential(scaled(conv, 4.0), st.IF(), nn.AvgPool2d(2), nn.Flatten(), scaled(out, 16.0), _lif(0.6))


def _lif(decay: float) -> nn.Module:
    return st.StepLayer(F.lif_step, F.LIFState, decay=decay, gain=1.0, threshold=1.0)


def _euler(tau: float) -> nn.Module:
    return st.ParametricLIF(tau, 0.4)


def _cuba(decay_syn: float, decay: float) -> nn.Module:
    return st.StepLayer(F.cuba_lif_step, F.CubaLIFState, decay_syn=decay_syn, decay=decay, gain=1.0, threshold=1.0)


# the networks, and the shape of an input. What a unit of input does to a membrane is tau (1 - exp(-1 / tau)) in our
# LIF, 1 - decay with r = 1, as in SpikingJelly's default, and 1 with gain 1, as in snnTorch
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "LIF": (lambda: _dense(st.LIF(tau=5.0), st.LIF(tau=3.0)), (6,)),
    "LIF with gain 1": (lambda: _dense(_lif(0.8), _lif(0.6)), (6,)),
    "LIF with r = 1": (lambda: _dense(_euler(3.0), _euler(2.0)), (6,)),
    "LIF, a tau for each neuron": (lambda: _dense(st.LIF(tau=TAUS), st.LIF(tau=3.0)), (6,)),
    "IF": (lambda: _dense(st.IF(), st.IF()), (6,)),
    "LI": (lambda: _dense(st.IF(), st.LI(tau=4.0)), (6,)),
    "CubaLIF": (lambda: _dense(st.CubaLIF(tau_syn=2.0, tau=4.0), st.IF()), (6,)),
    "CubaLIF with gain 1": (lambda: _dense(_cuba(0.6, 0.8), _lif(0.6)), (6,)),
    "images": (_images, (2, 6, 6)),
    "recurrent LIF": (lambda: _dense(st.LIF(tau=4.0, recurrent=back()), st.LIF(tau=3.0)), (6,)),
    "LIF that counts": (lambda: _dense(counting(st.LIF, tau=5.0), counting(st.LIF, tau=3.0)), (6,)),
    "IF that counts": (lambda: _dense(counting(st.IF), counting(st.IF)), (6,)),
    "recurrent LIF that counts": (
        lambda: _dense(counting(st.LIF, tau=4.0, recurrent=back()), counting(st.LIF, tau=3.0)),
        (6,),
    ),
}


def network(name: str) -> tuple[st.SpikingNet, Tensor]:
    """Return a network of that name, and an input, (N, T, ...)."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    return st.SpikingNet(make()).eval(), (torch.rand(2, 50, *shape) < 0.3).float()


def exported(name: str, peer: str, variant: Variant) -> Any:
    """Return the graph of a network, with the defaults or for the reader of a peer.

    Raises:
        NIRError: what it is for does not compute the network.
    """
    model, x = network(name)
    return to_nir(model, x) if variant == "default" else to_nir(model, x, target=peer)


def dt_of(peer: str, variant: Variant) -> float:
    """Return the length of a step that a reader is told: that of the export where it can be."""
    target = TARGETS[peer]
    return 1e-4 if variant == "default" and target.any_dt else target.dt


@cache
@torch.no_grad()
def spikes(name: str) -> Array:
    """Return what our network gives out, (T, N, ...)."""
    model, x = network(name)
    return model(x).swapaxes(0, 1).numpy()


def numbers(graph: Any) -> Array:
    """Return all weights and parameters of a graph in a row."""
    return np.concatenate(_arrays(graph))


def ranges(graph: Any) -> Array:
    """Return for each of these numbers the largest of its array."""
    return np.concatenate([np.full(each.shape, np.abs(each).max(initial=0.0)) for each in _arrays(graph)])


def _arrays(graph: Any) -> list[Array]:
    arrays = [value for _, node in sorted(graph.nodes.items()) for _, value in sorted(vars(node).items())]
    chosen = [each for each in arrays if isinstance(each, np.ndarray) and each.dtype.kind == "f"]
    return [np.ravel(each).astype(np.float64) for each in chosen]


class Kept(NamedTuple):
    """What a peer's reader made of a network that is exported for it.

    Attributes:
        out: outputs (T, N, ...), or the error that the reader raised.
        numbers: those of the graph that it read.
    """

    out: Array | str
    numbers: Array


def _read(peer: str, variant: Variant) -> str:
    """Return the file with the numbers of all graphs that a reader was given: the defaults are the same for all."""
    return peer if variant == "target" else "default"


@cache
def kept(peer: str, variant: Variant) -> dict[str, Kept]:
    """Return what a peer's reader made of our networks, but for those that the export refuses."""
    found, given = arrays("ours", peer), arrays("ours", _read(peer, variant))
    outs = {name: found[f"{variant}/{name}"] for name in NETWORKS if f"{variant}/{name}" in found}
    return {
        name: Kept(str(out) if out.dtype.kind == "U" else out, given[f"{variant}/numbers/{name}"])
        for name, out in outs.items()
    }


def main() -> None:
    """Write what the readers of all peers make of our networks."""
    files: dict[str, dict[str, Any]] = {}
    for peer, variant, name in itertools.product(PEERS, VARIANTS, NETWORKS):
        try:
            graph = exported(name, peer, variant)
        except NIRError:
            continue
        try:
            found: Array | str = read_by(peer, graph, network(name)[1], dt_of(peer, variant))
        except Exception as error:  # of any kind: that it fails is what there is to find out
            found = f"{type(error).__name__}: {error}"
        files.setdefault(peer, {})[f"{variant}/{name}"] = found
        files.setdefault(_read(peer, variant), {})[f"{variant}/numbers/{name}"] = numbers(graph)
    keep("ours", {f"{name}.npz": packed(found) for name, found in files.items()})


if __name__ == "__main__":
    main()
