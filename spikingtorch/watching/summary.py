"""The summary of a network: its layers with sizes, rates, and the operations and energy of one sample."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.axes import samples_first, sizes
from spikingtorch.functional.core.modes import within
from spikingtorch.functional.core.surroundings import uncompiled
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.copies import on_copy
from spikingtorch.watching.counting import Counting, bytes_of, weights_of
from spikingtorch.watching.network import Network, check_network, check_sequences
from spikingtorch.watching.operations import Count, recurrent
from spikingtorch.watching.processes import gathered
from spikingtorch.watching.recording import record
from spikingtorch.watching.table import ADDITION, MULTIPLICATION, Row, Summary, merged


def summary(
    model: Network, x: Tensor, *, addition: float = ADDITION, mac: float | None = None, group: Any = None
) -> Summary:
    """Run a network once, and return its layers, rates, operations and energy.

    For a spike, each neuron that it reaches adds one weight: an AC. A graded input is multiplied by the weight first: a
    MAC. Inputs of a layer are spikes if all nonzero values of the call have one magnitude: {0, c} or {-c, 0, c}. Other
    inputs, such as pixels and the output of average pooling, are graded. Operations are counted exactly where neither
    the input nor the weight is zero. The count covers linear layers, convolutions (a spike at the border reaches fewer
    neurons), transposed convolutions, average pooling and recurrent weights. Weights may be parameters or computed from
    them. Parameters that several layers share count once. The energy is the energy of arithmetic alone on hardware that
    skips zeros. Nothing is measured.

    The bytes of the weights are those of all parameters in their dtype. Weights that ``quantize.prepare_qat`` rounds
    take as many bits as they are rounded to, and their scales, which are powers of two, nothing.

    Args:
        model: the network. A copy of it runs, in the same training mode; states, statistics, random numbers and all
            else stay unchanged.
        x: inputs of the network; the numbers are means over its samples.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ; by default 3.7 pJ and ``addition``.
        group: a process group of ``torch.distributed``, such as ``torch.distributed.group.WORLD``, whose processes have
            the same network and other samples. The numbers are then means over the samples of all of them. All call it,
            also one whose x has no samples.

    Returns:
        A table to print; its rows and totals are attributes.

    Raises:
        TypeError: model is not a SpikingNet, or cannot be copied; x is not a floating tensor.
        ValueError: x has another shape, or no samples.
        RuntimeError: another process of the group has raised an error.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> found = summary(model, torch.ones(2, 5, 3))
    >>> found.dense, found.acs, found.macs
    (60.0, 60.0, 0.0)
    """
    check_network("summary", model)
    if group is not None:
        found = gathered("summary", group, partial(_parts, model, x, addition, mac))
        if parts := list(chain.from_iterable(found)):
            return merged(parts)
    given = check_sequences("summary", x, model.batch_first)
    return on_copy("summary", model, lambda copied: summary_of_run(copied, given.clone(), addition, mac), x)


def _parts(model: Network, x: Tensor, addition: float, mac: float | None) -> list[tuple[Summary, int]]:
    """Return the summary of the samples of this process, and their number; nothing if it has none."""
    samples = sizes(x, model.batch_first)[0] if isinstance(x, Tensor) and x.ndim > 1 else 1
    return [(summary(model, x, addition=addition, mac=mac), samples)] if samples else []


def summary_of_run(model: Any, x: Tensor, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run the network itself on x, and return its summary."""
    rows, unseen = within((torch.no_grad(),), partial(_measured, model, x))
    energy = addition + MULTIPLICATION if mac is None else mac
    return Summary(tuple(rows), sizes(x, model.batch_first)[1], addition, energy, tuple(unseen))


def _measured(model: Network, x: Tensor) -> tuple[list[Row], list[str]]:
    """Run a network, and return the rows of the layers, and the layers with weights whose operations were not seen."""
    counting = Counting(model.net)
    watch = partial(model.watched, counting, partial(record, model, x, "spikes"))
    # calls in a compiled part of the network would not be seen
    recording = uncompiled(watch)
    spikes = {name: samples_first(each["spikes"], model.batch_first) for name, each in recording.items()}
    return _rows(model.net, counting, spikes, sizes(x, model.batch_first)[0])


def _rows(net: nn.Module, counting: Counting, spikes: Mapping[str, Tensor], N: int) -> tuple[list[Row], list[str]]:
    """Return the rows of the layers from their spikes (N, T, ...), and the layers whose weights were not seen."""
    rows, unseen, known = [], [], set[int]()
    for name, module in net.named_modules():
        own = weights_of(module, recurse=name in spikes, seen=known)
        numbers, counts = sum(weight.numel() for weight in own), counting.found.get(name, [])
        size = bytes_of(module, own, recurse=name in spikes)
        row = Row(
            name or "(network)", getattr(module, "original_name", type(module).__name__), (), numbers, None, (), size
        )
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
    """Return the share of nonzero outputs; None for graded outputs, such as those of a leaky integrator."""
    fired = out != 0
    levels = out[fired].abs()
    if not hasattr(layer, "surrogate") and levels.numel() and levels.min() != levels.max():
        return None
    return float(fired.double().mean())


def _of_one(counts: Iterable[Count], N: int) -> tuple[Count, ...]:
    """Return the operations of one sample, the mean of N."""
    return tuple([count.share(1, N) for count in counts])
