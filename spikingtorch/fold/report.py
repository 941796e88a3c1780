"""What SpikingNet.explain returns."""

from typing import NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

from spikingtorch.fold.policy import UNDECIDED, FoldPolicy, Mode
from spikingtorch.fold.proof import FoldDecision
from spikingtorch.fold.rng import preserved
from spikingtorch.functional import Explanation, explain_scan
from spikingtorch.layers.steplayer import StepLayer


class LayerReport(NamedTuple):
    """How one spiking layer runs.

    Attributes:
        path: name of the layer in the network.
        kind: its class.
        shape: of its neurons, for one sample.
        backend: what runs its steps, and why.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    backend: Explanation


class Report(NamedTuple):
    """How a network runs.

    Attributes:
        mode: "step" or "fold".
        reason: why.
        layers: how each spiking layer runs; those that are called, in the order of their definition.
    """

    mode: str
    reason: str
    layers: tuple[LayerReport, ...]

    def __str__(self) -> str:
        rows = [(line.path, line.kind, "x".join(map(str, line.shape)), str(line.backend)) for line in self.layers]
        widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
        texts = [[cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)] for row in rows]
        return "\n".join([f"{self.mode}: {self.reason}", *("  " + "  ".join(row) for row in texts)])


def report(policy: FoldPolicy, net: nn.Module, mode: Mode) -> Report:
    """Return how a network runs an input like the last one.

    Raises:
        ValueError: there has been none.
    """
    if policy.seen is None or policy.sample is None:
        raise ValueError(
            "SpikingNet: there is nothing to explain before the first call; give explain an input: explain(x)"
        )
    N, T = policy.seen[:2]
    found = policy.finding(net, policy.sample, policy.seen)
    taken, reason = _taken(mode, T, FoldDecision(UNDECIDED, {}) if found is None else found)
    inputs = {} if found is None else found.inputs
    kind = policy.sample.dtype, policy.sample.device
    layers = [
        _layer(path, layer, *inputs[path], (N, T if taken == "fold" else 1), *kind)
        for path, layer in net.named_modules()
        if path in inputs and isinstance(layer, StepLayer)
    ]
    return Report(taken, reason, tuple(layers))


def _taken(mode: Mode, T: int, found: FoldDecision) -> tuple[str, str]:
    if mode != "auto":
        difference = "" if found.reason is None else f"; in mode 'auto' it would step because it {found.reason}"
        return mode, f"as asked for{difference if mode == 'fold' else ''}"
    if T == 1:
        return "step", "the input has one step"
    if found.reason is not None:
        return "step", f"the network {found.reason}"
    if found.normalises:
        return "fold", "nothing in the network mixes steps; batch norm takes the statistics of each step by itself"
    return "fold", "nothing in the network mixes samples or steps; dropout draws a mask for each step and sample"


def _layer(
    path: str,
    layer: StepLayer,
    shapes: list[tuple[int, ...]],
    form: pytree.TreeSpec,
    sizes: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> LayerReport:
    sequences = [torch.zeros((), dtype=dtype, device=device).expand(*sizes, *shape) for shape in shapes]
    with preserved(device):  # a state at rest may be drawn at random
        state = layer.initial_state(sequences[0].select(1, 0))
    with torch.no_grad():
        step, params = layer.whole_step()
        backend = explain_scan(step, state, pytree.tree_unflatten(sequences, form), params=params, dim=1)
    return LayerReport(path, type(layer).__name__, shapes[0], backend)
