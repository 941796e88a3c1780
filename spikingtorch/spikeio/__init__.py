"""Encoders turn a batch (N, ...) into a sequence (N, T, ...); decoders turn the sequence of a network into numbers.

Encoders take the batches of a DataLoader, with any number of channels and dimensions, on any device. Each is a module,
so ``nn.Sequential(encoder, model, decoder)`` is a classifier. ``events_to_sequence`` turns the events of a camera into
a sequence, ``MelSpectrogram`` and ``PCEN`` turn speech into one. ``pad_sequences`` turns sequences of different lengths
into a batch. With ``batch_first=False`` encoders and decoders work on (T, N, ...), time first, as
``SpikingNet(net, batch_first=False)`` does.
"""

from spikingtorch.spikeio.collate import pad_sequences
from spikingtorch.spikeio.decoders import FirstSpikeDecoder, MaxMembraneDecoder, RateDecoder, SumDecoder
from spikingtorch.spikeio.events import events_to_sequence, sequence_to_events
from spikingtorch.spikeio.rate_codes import (
    ConstantEncoder,
    PeriodicEncoder,
    Poisson2D,
    PoissonEncoder,
    markov_spikes,
    poisson_spikes,
    poisson_spikes2d,
)
from spikingtorch.spikeio.speech import PCEN, MelSpectrogram, deltas
from spikingtorch.spikeio.speech_augment import MelAugment
from spikingtorch.spikeio.time_codes import DeltaEncoder, LatencyEncoder, PopulationEncoder

__all__ = ["ConstantEncoder", "DeltaEncoder", "LatencyEncoder", "PeriodicEncoder", "PopulationEncoder"]
__all__ += ["Poisson2D", "PoissonEncoder", "markov_spikes", "poisson_spikes", "poisson_spikes2d"]
__all__ += ["FirstSpikeDecoder", "MaxMembraneDecoder", "RateDecoder", "SumDecoder"]
__all__ += ["PCEN", "MelAugment", "MelSpectrogram", "deltas"]
__all__ += ["events_to_sequence", "pad_sequences", "sequence_to_events"]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
