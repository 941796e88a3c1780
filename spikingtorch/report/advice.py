"""Advice on silent and saturated neurons of a layer, from their number and their places."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.report.firing import Firing
from spikingtorch.report.words import named
from spikingtorch.units import percent

# the number of indices to name; shares below these are no reason to act
LISTED = 20
_FEW_SILENT, _FEW_SATURATED, _MANY = 0.05, 0.01, 0.5
_BUSY = 0.5

TO_RATE = """from spikingtorch.init import to_rate_

to_rate_(model, x, rate=0.1)  # before training: scales weights until every layer fires"""


class Advice(NamedTuple):
    """The advice about a layer.

    Attributes:
        layer: its name.
        look: whether the layer needs attention.
        title: the finding, with its numbers.
        sentences: its meaning, and what helps.
        code: to paste, or nothing.
    """

    layer: str
    look: bool
    title: str
    sentences: list[str]
    code: str = ""


def advise(layer: Firing, samples: int) -> Advice:
    """Return the advice about a layer that fires, after a number of samples."""
    silent, saturated = float(layer.silent.double().mean()), float(layer.saturated.double().mean())
    rate = float(layer.rates.mean())
    shares = f"{percent(silent)} silent, {percent(saturated)} saturated, mean rate {rate:.3g} spikes per step"
    title = f"{named(layer.name)}: {shares}"
    if silent == 1.0:
        return Advice(layer.name, True, title, _all_silent(layer, samples), TO_RATE)
    sentences = []
    # in an image, places without input may be silent, but a channel should not be
    channels = layer.counts.ndim > 1 and not bool(layer.silent.flatten(1).all(1).any())
    look_silent = silent >= (_MANY if channels else _FEW_SILENT)
    look_saturated = saturated >= _FEW_SATURATED
    if silent >= _FEW_SILENT:
        sentences += _silent(layer, samples, silent)[: None if look_silent else 2]
    elif silent > 0:
        sentences.append(
            f"{which(layer.silent)} never fired in {samples:,} samples. So few are nothing to worry about."
        )
    if look_saturated:
        sentences += _saturated(layer, saturated)
    elif saturated > 0:
        sentences.append(f"{which(layer.saturated)} fired at every step.")
    if look_silent and look_saturated:
        sentences.append(
            "Both together mean that inputs of the layer differ too much: a batch norm before it equalises them."
        )
    busy = rate > _BUSY and not look_saturated
    if busy:
        sentences.append(
            f"On average, a neuron fires at {percent(rate)} of its steps. Sparser layers take less energy: "
            "spikingtorch.losses.firing_rate_penalty keeps rates within bounds while you train."
        )
    if not sentences:
        sentences.append(f"Every neuron fired in {samples:,} samples, and none fired at every step.")
    return Advice(
        layer.name, look_silent or look_saturated or busy, title, sentences, TO_RATE if silent >= _MANY else ""
    )


def _all_silent(layer: Firing, samples: int) -> list[str]:
    return [
        f"None of the {layer.neurons:,} neurons fired in {samples:,} samples. Nothing passes this layer, and the "
        "layers before it learn little.",
        "A lower threshold, a longer time constant, larger weights or a normalisation before the layer make it fire. "
        "If a layer before it is silent as well, begin there.",
    ]


def _silent(layer: Firing, samples: int, share: float) -> list[str]:
    said = [f"{which(layer.silent)} never fired in {samples:,} samples."]
    if layer.counts.ndim > 1:
        said.append(
            "In a layer of images, places where the input is always empty, such as the border, are silent and need "
            "nothing. Channels that are silent everywhere have learned nothing."
        )
    if share >= _MANY:
        said.append(
            "More than half of the layer does nothing. A lower threshold, a longer time constant, larger weights or a "
            "normalisation before the layer wake it up. A layer that trains well with few neurons may be made smaller."
        )
    else:
        said.append(
            "A neuron that answers to rare inputs may be among them: more samples tell. If they stay silent, "
            "lower the threshold or begin with larger weights."
        )
    return said


def _saturated(layer: Firing, share: float) -> list[str]:
    much = (
        "These neurons say nothing about their input."
        if share < _MANY
        else "Most of the layer says nothing about its input."
    )
    return [
        f"{which(layer.saturated)} fired at every step of every sample. {much}",
        "A higher threshold, smaller weights or a normalisation before the layer help.",
    ]


def which(chosen: Tensor) -> str:
    """Return the number of chosen neurons, and their indices.

    >>> import torch
    >>> which(torch.tensor([True, False, True])), which(torch.arange(40) < 22)[-22:]
    ('2 of 3 neurons (0, 2)', '17, 18, 19 and 2 more)')
    >>> which(torch.tensor([[[True, True]], [[True, False]]]))
    '3 of 4 neurons, among them the whole of channel 0,'
    """
    total = chosen.numel()
    number = int(chosen.sum())
    head = f"{number:,} of {total:,} neurons"
    if chosen.ndim <= 1:
        return f"{head} ({_listed(chosen.reshape(-1).nonzero().flatten().tolist())})"
    channels = chosen.flatten(1).all(1).nonzero().flatten().tolist()
    noun = "channel" if len(channels) == 1 else "channels"
    return (
        f"{head}, among them the whole of {noun} {_listed(channels)}," if channels else f"{head}, but no whole channel,"
    )


def _listed(indices: list[int]) -> str:
    shown = ", ".join(map(str, indices[:LISTED]))
    return shown if len(indices) <= LISTED else f"{shown} and {len(indices) - LISTED:,} more"
