"""The libraries that are compared: a file for each, which is loaded only when a suite needs it."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import beside, convolutional, models, papers, streaming, tutorials
from benchmarks.networks import ARCHITECTURES, Builder, as_documented, network_subject
from benchmarks.subject import Implementation, Run, Subject, documented, neuron_subject, training_subject
from benchmarks.suite import CHANNELS_LAST, DECAY, IN_JAX, IN_JAX_LOOP, OURS, Case, draw_weight

# where a file is not called as the first word of a contestant's name, by that word or by the whole name
FILES = dict.fromkeys(["jax.lax.scan", IN_JAX, IN_JAX_LOOP], "peers.jax")
FILES |= dict.fromkeys([OURS, "torch.add", "torch.linear"], "ours")
FILES |= dict.fromkeys(["eager loop", "older spikingtorch", "ReLU"], "peers.eager")
# networks that each side has as a whole, and the file that has them
WHOLE: dict[str, Any] = {**dict.fromkeys(models.MODELS, models), **dict.fromkeys(tutorials.NETWORKS, tutorials)}
WHOLE |= dict.fromkeys(papers.NETWORKS, papers)


class BesideLIF(NamedTuple):
    """What runs the neurons that are in ``beside.NEURONS``."""

    module: Any  # has the classes under their names
    over_time: Callable[[Any], Run]  # from a neuron
    time: int = 0  # the axis of time


class Library(NamedTuple):
    """What builds a library's neurons and networks, by contestant; what ``LIBRARY`` is in its file."""

    neurons: Mapping[str, Callable[[float], Implementation]]  # LIF from its decay, which is one for integrate-and-fire
    recurrent: Mapping[str, Callable[[Tensor], Implementation]]  # LIF from the weights through which spikes come back
    networks: Mapping[str, Builder]
    normed: Mapping[str, convolutional.Builder] = {}  # the convolutional network with batch norm
    beside_lif: BesideLIF | None = None  # the neurons beside LIF

    def subject(self, case: Case, _: str, plain: bool = False) -> Subject:
        """Return what a case is about, or a plain loop that computes what it says that it computes."""
        if case.model in beside.NEURONS:
            return self._beside(case, plain)
        if case.model in convolutional.VARIANTS:
            return convolutional.subject(case, self.normed[case.contestant.removesuffix(CHANNELS_LAST)], plain)
        if case.model in ARCHITECTURES:
            build = self.networks[case.contestant.removesuffix(CHANNELS_LAST)]
            return network_subject(case, as_documented(build) if plain else build)
        if case.model == "recurrent":
            made = self.recurrent[case.contestant](torch.from_numpy(draw_weight(case.size.N)))
        else:
            made = self.neurons[case.contestant](DECAY)
        return neuron_subject(case.size, documented(made) if plain else made)

    def _beside(self, case: Case, plain: bool) -> Subject:
        """Return a neuron beside LIF, or the layer of ours that equals it, in a loop."""
        if plain or self.beside_lif is None:
            return beside.own_subject(case._replace(contestant=beside.AS + case.contestant), "loop")
        module, over_time, time = self.beside_lif
        peer = beside.NEURONS[case.model].peers[case.contestant]
        neuron = peer.make(module)
        weights = beside.learned(neuron)
        return beside.made_subject(case, peer.drive, over_time(neuron), weights, time)


def subject(case: Case, backend: str, plain: bool = False) -> Subject:
    """Return what a case is about, by a backend of ``scan``; or a plain loop that computes what it says."""
    if case.model in WHOLE:
        return training_subject(WHOLE[case.model].trained(case))
    if case.model in streaming.NETWORKS:
        return streaming.subject(case)
    word = case.contestant.removesuffix(CHANNELS_LAST).partition(",")[0]
    module = importlib.import_module(f"benchmarks.{FILES.get(case.contestant) or FILES.get(word, f'peers.{word}')}")
    return getattr(module, "LIBRARY", module).subject(case, backend, plain)
