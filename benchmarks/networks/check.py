"""The equality checks of networks: each against a plain loop of what it documents, ours in every mode as well."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Size
from benchmarks.check import GRADIENT, NEAR_THRESHOLD, PEER_GRADIENT, RATES, demand, error_of
from benchmarks.networks import CHANNELS_LAST, STEP, ours
from benchmarks.networks.architectures import Synapses
from benchmarks.networks.peers import Builder, chain
from benchmarks.networks.subject import Network, builder
from benchmarks.peer_neurons import Peer
from benchmarks.peers import documented
from benchmarks.workloads import DEEP, DIGITS, LINEAR

# few enough neurons that rounding brings none of them across the threshold, or a sample at most
SIZES = {DIGITS: Size(T=8, B=5, N=784), LINEAR: Size(T=67, B=3, N=65), DEEP: Size(T=8, B=3, N=3 * 8 * 8)}


def check(implementation: str, name: str) -> dict[str, Any]:
    """Compare a network with a plain loop, and one of ours with the steps of ours too.

    Args:
        implementation: a name that ``subject.builder`` knows.
        name: which network.

    Returns:
        The rate of output spikes, the share of them that differ, and the largest error of a gradient.

    Raises:
        CheckError: they differ by more than they may.
    """
    found = Network(name, SIZES[name], builder(implementation))
    report = _compare(found, Network(name, SIZES[name], _as_documented(found.peer)), PEER_GRADIENT)
    if implementation.removesuffix(CHANNELS_LAST) in ours.MODES:
        _compare(found, Network(name, SIZES[name], builder(STEP)), GRADIENT)
    return report


def _as_documented(peer: Peer) -> Builder:
    """Return the builder of a network by layer whose neurons are plain loops of what a peer documents."""

    def build(synapses: Synapses, decay: float) -> Peer:
        return peer._replace(run=chain(synapses, [documented(peer, decay) for _ in synapses]), time=0)

    return build


def _compare(found: Network, expected: Network, tolerance: float) -> dict[str, Any]:
    spikes, others = found.spikes(), expected.spikes()
    rate = float(spikes.mean())
    demand(spikes.shape == others.shape, f"spikes of shape {tuple(spikes.shape)}, not {tuple(others.shape)}")
    demand(set(spikes.unique().tolist()) == {0.0, 1.0}, "spikes other than 0 and 1, or all the same")
    demand(RATES[0] <= rate <= RATES[1], f"spikes in {rate:.1%} of the steps, not in {RATES[0]:.0%} to {RATES[1]:.0%}")
    differ = float((spikes != others).float().mean())
    demand(differ <= NEAR_THRESHOLD, f"{differ:.2%} of the spikes differ, and {NEAR_THRESHOLD:.0%} is the limit")
    cotangent = _cotangent(spikes == others)
    demand(bool(cotangent.any()), "in no sample do all spikes agree")
    pairs = zip(found.gradients(cotangent), expected.gradients(cotangent), strict=True)
    error = max(error_of(a.numpy(), b.numpy()) for a, b in pairs)
    demand(error <= tolerance, f"gradient off by {error:.1e} of its largest entry, and {tolerance:.0e} is the limit")
    return {"rate": rate, "spikes that differ": differ, "gradient error": error}


def _cotangent(same: Tensor) -> Tensor:
    """Return a normal cotangent that is zero in the samples whose spikes differ: they have other gradients."""
    normal = torch.randn(same.shape, generator=torch.Generator().manual_seed(1))
    return normal * same.all(dim=2, keepdim=True).all(dim=0, keepdim=True)
