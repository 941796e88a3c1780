"""summary: the layers of a network with their sizes, rates, and the operations and energy that one sample takes."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.axes import samples_first, sizes
from spikingtorch.functional.core.modes import within
from spikingtorch.functional.core.surroundings import uncompiled
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.copies import on_copy
from spikingtorch.watching.counting import Counting, weights_of
from spikingtorch.watching.network import Network, check_network, check_sequences
from spikingtorch.watching.operations import Count, recurrent
from spikingtorch.watching.recording import record
from spikingtorch.watching.table import ADDITION, MULTIPLICATION, Row, Summary


def summary(model: Network, x: Tensor, *, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run a network once and say what it consists of, how much it fires, and what that takes.

    A spike makes each neuron behind it add one weight, an AC; a graded input is multiplied by the weight first, a MAC.
    Inputs of a layer are spikes if all that are not zero have one magnitude, {0, c} or {-c, 0, c}, at all samples and
    steps of the call; others, such as pixels and what average pooling gives out, are graded. Both are counted exactly,
    of linear layers, convolutions (a spike at the border reaches fewer neurons), transposed ones, average pooling and
    recurrent weights, where neither the input nor the weight is zero, whether weights are parameters or computed from
    them. What several layers share counts as parameters once. The energy is what arithmetic alone would take on
    hardware that skips zeros; nothing is measured.

    Args:
        model: the network. A copy of it runs, in training or not as it is; states, statistics, random numbers and all
            else stay as they were.
        x: inputs, as the network takes them; numbers are means over the samples.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ; by default 3.7 pJ and ``addition``.

    Returns:
        A table to be printed; its rows and totals are attributes.

    Raises:
        TypeError: model is no SpikingNet, or cannot be copied; x is no floating tensor.
        ValueError: x has another shape, or no samples.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> found = summary(model, torch.ones(2, 5, 3))
    >>> found.dense, found.acs, found.macs
    (60.0, 60.0, 0.0)
    """
    check_network("summary", model)
    given = check_sequences("summary", x, model.batch_first)
    return on_copy("summary", model, lambda copied: summary_of_run(copied, given.clone(), addition, mac), x)


def summary_of_run(model: Any, x: Tensor, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run a network itself on x, as it takes it, and return its summary."""
    rows, unseen = within((torch.no_grad(),), partial(_measured, model, x))
    energy = addition + MULTIPLICATION if mac is None else mac
    return Summary(tuple(rows), sizes(x, model.batch_first)[1], addition, energy, tuple(unseen))


def _measured(model: Network, x: Tensor) -> tuple[list[Row], list[str]]:
    """Run a network, and return the rows of the layers, and those with weights of which nothing was seen."""
    counting = Counting(model.net)
    watch = partial(model.watched, counting, partial(record, model, x, "spikes"))
    # what a compiled part of the network calls would not be seen
    recording = uncompiled(watch)
    spikes = {name: samples_first(each["spikes"], model.batch_first) for name, each in recording.items()}
    return _rows(model.net, counting, spikes, sizes(x, model.batch_first)[0])


def _rows(net: nn.Module, counting: Counting, spikes: Mapping[str, Tensor], N: int) -> tuple[list[Row], list[str]]:
    """Return the rows of the layers, by their spikes (N, T, ...), and those with weights of which nothing was seen."""
    rows, unseen, known = [], [], set[int]()
    for name, module in net.named_modules():
        own = weights_of(module, recurse=name in spikes, seen=known)
        numbers, counts = sum(weight.numel() for weight in own), counting.found.get(name, [])
        row = Row(name or "(network)", getattr(module, "original_name", type(module).__name__), (), numbers, None)
        if isinstance(module, StepLayer) and name in spikes:
            own_spikes = spikes[name]
            counts = [recurrent(module, own_spikes)]
            shape, rate = tuple(own_spikes.shape[2:]), _rate(module, own_spikes)
            rows.append(row._replace(name=name, shape=shape, rate=rate, counts=_of_one(counts, N)))
        elif counts:
            rows.append(row._replace(shape=counts[-1].shape, counts=_of_one(counts, N)))
        elif numbers:
            rows.append(row)
        multiplies = not isinstance(module, StepLayer) and any(weight.ndim > 1 for weight in own)
        if name not in spikes and not counts and (multiplies or isinstance(module, torch.jit.ScriptModule)):
            unseen.append(f"{row.name} ({row.kind})")
    if pooled := counting.found.get(None):
        rows.append(Row("(average pooling)", "", pooled[-1].shape, 0, None, _of_one(pooled, N)))
    return rows, unseen


def _rate(layer: StepLayer, out: Tensor) -> float | None:
    """Return the share of an output that is not zero; None for one of levels, as a leaky integrator's is."""
    fired = out != 0
    levels = out[fired].abs()
    if not hasattr(layer, "surrogate") and levels.numel() and levels.min() != levels.max():
        return None
    return float(fired.double().mean())


def _of_one(counts: Iterable[Count], N: int) -> tuple[Count, ...]:
    """Return the operations of one sample, those of N in the mean."""
    return tuple([count.share(1, N) for count in counts])
