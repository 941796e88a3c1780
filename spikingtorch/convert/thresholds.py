"""Thresholds of neurons, from the activations of an ANN over data."""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, fx, nn
from torch.utils.data import Dataset, IterableDataset

from spikingtorch.convert.clip_floor import ClipFloor
from spikingtorch.convert.graph import Graph
from spikingtorch.convert.kinds import Kind, kind_of
from spikingtorch.convert.layers import Scale
from spikingtorch.validation import check_finite, check_floating

Batches: TypeAlias = Iterable[Any]
Method: TypeAlias = Literal["robust", "quantile", "max"]
METHODS: tuple[str, ...] = get_args(Method)

QUANTILE = 0.999  # of the positive activations
# for a histogram: the bins per factor of two, and its lowest and highest power of two
_BINS, _LOWEST, _HIGHEST = 64, -128, 128
# the range of candidates for a threshold below the largest activation, in powers of two
_OCTAVES = 10


class Histogram:
    """Counts of positive numbers in bins that grow by 1 % each, and the largest number.

    It is filled batch by batch, in any order. Its size does not depend on the amount of data.

    >>> found = Histogram()
    >>> found.add(torch.tensor([-1.0, 0.0, 1.0, 2.0, 100.0]))
    >>> found.largest, round(found.quantile(0.6), 1)
    (100.0, 2.0)
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self._counts = torch.zeros((_HIGHEST - _LOWEST) * _BINS, dtype=torch.float64)
        powers = _LOWEST + torch.arange(len(self._counts), dtype=torch.float64) / _BINS
        self._middles, self._edges = torch.exp2(powers + 0.5 / _BINS), torch.exp2(powers + 1.0 / _BINS)

    def add(self, numbers: Tensor) -> None:
        """Count the positive numbers."""
        positive = numbers.detach()[numbers > 0].float()
        if len(positive) == 0:
            return
        self.largest = max(self.largest, float(positive.max()))
        bins = ((positive.log2() - _LOWEST) * _BINS).floor().long().clamp(0, len(self._counts) - 1)
        self._counts += torch.bincount(bins, minlength=len(self._counts)).cpu()

    def quantile(self, share: float) -> float:
        """Return the quantile of the numbers at a share, to 1 %."""
        reached = self._counts.cumsum(0) >= share * self._counts.sum()
        return min(float(self._edges[int(reached.long().argmax())]), self.largest)

    def best(self, steps: int) -> float:
        """Return the threshold with which spikes over the steps represent the numbers best, to 1 %.

        error(theta) = sum over a of (a - theta n / T)^2,  n = clip(floor(T a / theta + 1/2), 0, T)
        """
        near = (self._edges > self.largest * 2.0**-_OCTAVES) & (self._middles < self.largest)
        candidates = torch.cat([self._edges[near], torch.tensor([self.largest], dtype=torch.float64)])
        candidates = candidates[candidates <= self.largest, None]
        there = self._counts > 0
        numbers, counts = self._middles[there].clamp(max=self.largest), self._counts[there]
        spikes = torch.floor(steps * numbers / candidates + 0.5).clamp(0, steps)
        errors = (counts * (numbers - candidates * spikes / steps) ** 2).sum(1)
        return float(candidates[int(errors.argmin())])

    def threshold(self, steps: int, method: str) -> float:
        """Return the threshold of a method."""
        if method == "max":
            return self.largest
        return self.quantile(QUANTILE) if method == "quantile" else self.best(steps)


def thresholds_of(graph: Graph, loader: Batches, steps: int, method: str) -> dict[fx.Node, float]:
    """Return the threshold of each activation of a network; loader, steps and method are those of ``to_spiking``.

    Raise TypeError if a batch is not a floating tensor; ValueError if there are no batches, or an activation is zero
    for all of them or beyond float32.
    """
    modules = {node: graph.module(node) for node in graph.activations}
    found = {node: Histogram() for node, module in modules.items() if not isinstance(module, ClipFloor)}
    _fill(graph, {modules[node]: histogram for node, histogram in found.items()}, loader)
    for node, histogram in found.items():
        if math.isinf(histogram.largest):
            raise ValueError(
                f"to_spiking: {graph.name(node)} returns numbers above 3e38, which float32 does not hold. Look "
                "for weights that diverged, or scale them down"
            )
        if histogram.largest == 0.0:
            raise ValueError(
                f"to_spiking: {graph.name(node)} is zero for all inputs of the loader, so that it has no threshold. "
                "Pass data like those of the training; if they are, its units are dead: take the layer out"
            )
    values = {node: module.value for node, module in modules.items() if isinstance(module, ClipFloor)}
    return values | {node: histogram.threshold(steps, method) for node, histogram in found.items()}


@torch.no_grad()
def _fill(graph: Graph, histograms: Mapping[nn.Module, Histogram], loader: Batches) -> None:
    """Run a network on batches, and count the outputs of some of its modules."""

    def note(module: nn.Module, args: Any, output: Tensor) -> None:  # noqa: ARG001
        histograms[module].add(output)

    weight = next((each for each in graph.net.parameters() if each.is_floating_point()), None)
    empty = True
    with ExitStack() as hooks:
        for module in histograms:
            hooks.enter_context(module.register_forward_hook(note))
        for x in _inputs(loader):
            given = x.clone() if weight is None else x.to(weight.device, weight.dtype, copy=True)
            expected = graph.ann(given.clone()) if empty and len(x) > 0 else None
            out = graph.net(given)
            empty = empty and len(x) == 0
            if expected is not None:
                _check_same(out, expected, any([isinstance(each, ClipFloor) for each in graph.modules.values()]))
    if empty:
        raise ValueError("to_spiking: the loader is empty; pass batches of training data. An iterator gives them once")


def _check_same(out: Tensor, expected: Tensor, has_levels: bool) -> None:
    """Raise unless the graph agrees with the ANN up to rounding, which a ClipFloor may turn into a whole level."""
    room = (0.02 * has_levels + torch.finfo(out.dtype).eps ** 0.5) * expected.abs().mean()
    if not bool((out - expected).abs().mean() <= room):
        raise ValueError(
            "to_spiking: the graph of the network computes something else than the network. Possible reasons: "
            "batch norm behind a Linear on inputs of more than two axes; dropout in evaluation (write "
            "nnf.dropout(x, p, self.training)); in-place writes; forward hooks that change values"
        )


def _inputs(loader: Batches) -> Iterable[Tensor]:
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        raise TypeError("to_spiking: loader is a dataset, which gives single samples; pass DataLoader(dataset, 100)")
    if not isinstance(loader, Iterable) or isinstance(loader, str | Mapping):
        raise TypeError(
            f"to_spiking: loader is a {type(loader).__name__}, expected a DataLoader or another iterable of batches"
        )
    for batch in [loader] if isinstance(loader, Tensor) else loader:
        x: Any = batch[0] if isinstance(batch, tuple | list) and batch else batch
        check_floating("to_spiking", "a batch of the loader", x)
        check_finite("to_spiking", "a batch of the loader", x)
        yield x


def scale_weights(graph: Graph, thresholds: Mapping[fx.Node, float]) -> None:
    """Divide the inputs of activations by their thresholds, and multiply their outputs by them.

        relu(x) = theta relu(x / theta)

    The factors pass through sums and pooling into the nearest weights and biases on each path. A Scale is inserted at
    other nodes. The network computes the same as before, except for rounding.
    """
    scaling = _Scaling(graph)
    for node, threshold in thresholds.items():
        scaling.before(node, 1.0 / threshold)
        scaling.behind(node, threshold)


class _Scaling:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kinds = {node: kind_of(node, graph.modules) for node in graph.net.graph.nodes}
        self._scales: set[fx.Node] = set()

    def before(self, node: fx.Node, factor: float) -> None:
        """Multiply the inputs of a node by a factor."""
        for source in node.all_input_nodes:
            if len(source.users) > 1:
                self._between(source, node, factor)
            elif source in self._scales:
                self._graph.module(source).factor.mul_(factor)
            elif self._kinds[source] is Kind.WEIGHT:
                self._multiply(source, factor, bias=True)
            elif self._kinds[source] in (Kind.PASS, Kind.MAX, Kind.ADD):
                self.before(source, factor)
            else:
                self._between(source, node, factor)

    def behind(self, node: fx.Node, factor: float) -> None:
        """Multiply the output of a node, as read by others, by a factor."""
        for user in list(node.users):
            if user in self._scales:
                self._graph.module(user).factor.mul_(factor)
            elif self._kinds[user] is Kind.WEIGHT:
                self._multiply(user, factor, bias=False)
            elif self._kinds[user] in (Kind.PASS, Kind.MAX):
                self.behind(user, factor)
            else:
                self._between(node, user, factor)

    @torch.no_grad()
    def _multiply(self, node: fx.Node, factor: float, bias: bool) -> None:
        module = self._graph.module(node)
        module.weight.mul_(factor)
        if bias and module.bias is not None:
            module.bias.mul_(factor)

    def _between(self, source: fx.Node, user: fx.Node, factor: float) -> None:
        """Put a Scale between two nodes."""
        like = next(self._graph.net.parameters(), torch.zeros(()))
        path = self._graph.add("scale", Scale(torch.tensor(factor, dtype=like.dtype, device=like.device)))
        with self._graph.net.graph.inserting_after(source):
            node = self._graph.net.graph.call_module(path, (source,))
        self._scales.add(node)
        user.replace_input_with(source, node)
