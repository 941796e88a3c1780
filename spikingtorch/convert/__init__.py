"""Convert a trained network of ReLUs to a spiking network with the same weights.

The files:

    clip_floor      ClipFloor: a ReLU with few levels, to train a network for conversion
    layers          the layers of a converted network: ShiftedIF, CountMaxPool, Scale
    graph           the graph of an ANN, with nodes of known kinds
    kinds           the known kinds of nodes, and advice on other nodes
    thresholds      thresholds from the activations of an ANN, and how they move into the weights
"""

from typing import Any

from torch import nn

from spikingtorch.convert.clip_floor import ClipFloor
from spikingtorch.convert.graph import Graph, graph_of
from spikingtorch.convert.kinds import Kind
from spikingtorch.convert.layers import CountMaxPool, Scale, ShiftedIF
from spikingtorch.convert.thresholds import METHODS, Batches, Method, scale_weights, thresholds_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.validation import check_count

__all__ = ["ClipFloor", "CountMaxPool", "Scale", "ShiftedIF", "to_spiking"]


def to_spiking(ann: nn.Module, loader: Batches, steps: int = 32, method: Method = "robust") -> SpikingNet:
    """Return a spiking network whose rates compute the outputs of a trained ANN.

    Each ReLU becomes integrate-and-fire neurons with reset by subtraction, whose membranes start at half of the
    threshold. For a constant current x and a threshold theta of the ReLU, their output after T steps is

        n = floor(T x / theta + 1/2) spikes,  clipped to 0 and T;   theta n / T is x, rounded to T levels

    The rates of a layer are the inputs of the next one. So the mean over time of the network's outputs approaches the
    output of the ANN as T grows. The last layer has no neurons: its currents are the output.

    Give it images (N, ...) as the same current at each step, and take the mean of the currents, by ``ConstantEncoder``
    and ``RateDecoder`` of ``spikingtorch.spikeio``, as below. T may be any number. ``SumDecoder(T)`` gives T times the
    mean minus a constant, so it predicts the same classes.

    All thresholds are 1. Each weight is multiplied by theta of the layer before it. Weight and bias are divided by
    theta of the layer after it. Where there is no weight, as in a skip connection, a ``Scale`` is inserted. So the
    spikes are 0 and 1, and the surrogate of the neurons has its usual width: the result can be trained further. Batch
    norm becomes part of the weights before it, and dropout is left out. Max pooling counts spikes (``CountMaxPool``),
    so that the largest rate is exact.

    Args:
        ann: the network. It may have Linear, Conv1d and Conv2d; BatchNorm after one of them; ReLU and ``ClipFloor``;
            average and max pooling; Flatten, Dropout and Identity; and sums of two branches. These may be modules or
            functions that ``torch.fx`` can trace. The conversion takes its evaluation mode, and does not change it.
            Forward hooks are not converted; a hook that changes values is an error.
        loader: batches that determine the thresholds: a DataLoader or any iterable of tensors (N, ...) or of tuples
            that begin with one, as in (images, labels), or one such tensor. A few hundred training samples are enough.
        steps: number of steps T for which method "robust" chooses the thresholds.
        method: how the threshold of a ReLU follows from its activations a over the loader:
            "robust", the one with the least error at T steps, sum of (a - theta n(a) / T)^2 (Y. Li et al., ICML 2021);
            "quantile", the value that 99.9 % of the positive activations do not exceed (B. Rueckauer et al.,
            doi:10.3389/fnins.2017.00682); "max", the largest. A ``ClipFloor`` has its own.

    Returns:
        The network, inputs (N, T, ...) to currents (N, T, ...), in evaluation, on the device and in the dtype of ann.

    Raises:
        TypeError: ann is not a module, or loader yields no batches.
        ValueError: a node of the network, which the message names, has no spiking counterpart. The loader is empty, or
            a ReLU is zero for all inputs. steps or method is not valid.

    Source: T. Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks",
    ICLR 2022, arXiv:2303.04347.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> ann, x = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 2)), torch.rand(100, 20)
    >>> model = to_spiking(ann, [x], method="max")
    >>> from spikingtorch.spikeio import ConstantEncoder, RateDecoder
    >>> for T in (4, 16, 64, 256):
    ...     out = RateDecoder()(model(ConstantEncoder(T)(x)))
    ...     print(f"{(out - ann(x)).abs().mean():.4f}")
    0.0313
    0.0071
    0.0019
    0.0005
    """
    if not isinstance(ann, nn.Module):
        raise TypeError(f"to_spiking: ann is a {type(ann).__name__}, expected an nn.Module")
    steps = check_count("to_spiking", "steps", steps)
    if method not in METHODS:
        raise ValueError(f"to_spiking: method={method!r} is not one of {', '.join(map(repr, METHODS))}")
    graph = graph_of(ann)
    thresholds = thresholds_of(graph, loader, steps, method)
    scale_weights(graph, thresholds)
    return SpikingNet(_spiking(graph)).eval()


def _spiking(graph: Graph) -> Any:
    """Replace activations and max pooling by spiking layers."""
    pools = graph.nodes(Kind.MAX)
    for node in graph.activations:
        graph.replace(node, ShiftedIF())
    for node in pools:
        graph.replace(node, CountMaxPool(graph.module(node)))
    return graph.finished()
