"""What SpikingNet.explain returns."""

import inspect
import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import nn

from spikingtorch.axes import counted
from spikingtorch.fold.copied import CallForm
from spikingtorch.fold.policy import UNDECIDED, FoldPolicy, Mode
from spikingtorch.fold.proof import FoldDecision, Inputs
from spikingtorch.fold.unsharded import copied, whole_weights
from spikingtorch.functional import Explanation, explain_scan
from spikingtorch.functional.core import freed_memory
from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.surroundings import same_random_numbers
from spikingtorch.functional.core.torch_private import is_shard, pytree
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.scan import explain_one_step
from spikingtorch.functional.sparse.automatic import Note
from spikingtorch.layers.rounded import rounded_in
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.whole_numbers import FixedPointLayer
from spikingtorch.units import quantity


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


class ProductReport(NamedTuple):
    """How one linear layer or convolution was computed at the last call.

    Attributes:
        path: name of its module in the network. If the weights are not the ``weight`` of a module of torch, the name of
            the weights; empty for computed weights.
        kind: the module's class, "weights", "computed weights", or "gathered weights" of modules that are sharded.
        shape: of the weights.
        reason: why it did not skip the zeros of its input; None if it did.
        density: the share of the inputs that were not zero; None if they were not counted.
        kept: bytes that the backward pass keeps instead of the input; None if it keeps the input or needs none.
        inputs: numbers of its input.
        wanted: the share of the inputs whose gradient is computed, because the derivative of their spikes is not zero;
            None if all gradients are computed.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    reason: str | None
    density: float | None
    kept: int | None
    inputs: int
    wanted: float | None = None

    @property
    def form(self) -> str:
        """A sentence that says how the layer was computed, and why."""
        wanted = "" if self.wanted is None else f"; gradient of {self.wanted:.2g} of them, where spikes have a slope"
        if self.reason is not None:
            return f"dense: {self.reason}{wanted.replace('them', 'the inputs')}"
        bits = ""
        if self.kept is not None:
            bits = f"; {quantity(self.kept, 'B')} kept in place of {quantity(4 * self.inputs, 'B')}"
        return f"event-driven: {self.density:.2g} of the inputs not zero{bits}{wanted}"


class Report(NamedTuple):
    """How a network runs.

    Attributes:
        mode: "step" or "fold".
        reason: why.
        layers: how each spiking layer runs, for all layers that are called, in the order of their definition. If a
            network steps for a reason that is found before its layers are reached, they are known after a call.
        products: how linear layers and convolutions were computed at the last call; empty before it.
        memory: how the memory of large tensors is handled; empty if no layer makes any.
        taken: how the axes of the input were read.
        whole: which weights are rounded, and which neurons compute with whole numbers; empty without any.
        decides: why calls like the last one are decided each time, which takes longer; empty if they have a plan.
    """

    mode: str
    reason: str
    layers: tuple[LayerReport, ...]
    products: tuple[ProductReport, ...] = ()
    memory: str = ""
    taken: str = ""
    whole: str = ""
    decides: str = ""

    def __str__(self) -> str:
        rows = [(line.path, line.kind, "x".join(map(str, line.shape)), str(line.backend)) for line in self.layers]
        rows += [(line.path, line.kind, "x".join(map(str, line.shape)), line.form) for line in self.products]
        widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
        texts = [[cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)] for row in rows]
        memory = [f"memory of large tensors: {self.memory}"] if self.memory else []
        given = [f"x taken as {self.taken}"] if self.taken else []
        advice = "quantize.to_integer(model, x) says whether the network has integers"
        whole = [f"whole numbers: {self.whole}; {advice}"] if self.whole else []
        lines = ["  " + "  ".join(row) for row in texts]
        decides = [f"calls: each decides anew, because {self.decides}"] if self.decides else []
        return "\n".join([f"{self.mode}: {self.reason}", *lines, *whole, *memory, *given, *decides])


def report(
    policy: FoldPolicy,
    net: nn.Module,
    mode: Mode,
    notes: Mapping[int, Note],
    batch_first: bool = True,
    statistics: str = "step",
) -> Report:
    """Report how a network runs an input like the last one.

    Args:
        policy: the decisions about the network.
        net: the network.
        mode: that was asked for.
        notes: how layers were computed at the last call, by the id of their weights.
        batch_first: order of the axes of an input.
        statistics: the statistics of batch norm in training: of each "step" or of the "sequence".

    Raises:
        ValueError: there has been none.
    """
    if policy.seen is None or policy.call_form is None:
        raise ValueError(
            "SpikingNet: there is nothing to explain before the first call; give explain an input: explain(x)"
        )
    N, T = policy.seen[:2]
    found = policy.finding(net, policy.call_form, policy.seen, explains=True)
    taken, reason = _taken(mode, FoldDecision(UNDECIDED, {}) if found is None else found, statistics)
    inputs = _remembered(net) | ({} if found is None else found.inputs)
    layers = [
        _layer(path, layer, inputs[path], policy.call_form, (N, T if taken == "fold" else 1), taken == "step")
        for path, layer in net.named_modules()
        if path in inputs and isinstance(layer, StepLayer)
    ]
    products = [
        _product(path, module, name, notes[id(weight)])
        for path, module in net.named_modules()
        for name, weight in module.named_parameters(recurse=False)
        if id(weight) in notes
    ]
    known = {id(weight) for weight in net.parameters()}
    # computed and gathered weights have no name; step by step, each step has new ones
    computed = {note.shape: note for of, note in notes.items() if of not in known}
    kind_of_weights = "gathered weights" if any(map(is_shard, net.parameters())) else "computed weights"
    products += [_line("", kind_of_weights, note) for note in computed.values()]
    steps = N * T if taken == "fold" else N
    largest = max([steps * math.prod(layer.shape) * policy.call_form.dtype.itemsize for layer in layers], default=0)
    memory = freed_memory.described() if largest >= freed_memory.LARGE and policy.call_form.device == HOST else ""
    given = counted(N, T, batch_first)
    others = memory, given, whole_numbers(net), policy.decides if taken == "fold" else ""
    return Report(taken, reason, tuple(layers), tuple(products), *others)


def _remembered(net: nn.Module) -> dict[str, Inputs]:
    """Return the inputs of each layer at the last call, as its output tells them: they have the same neurons."""
    found = {}
    for path, layer in net.named_modules():
        memory = layer._cell.memory if isinstance(layer, StepLayer) else None
        if memory is not None and memory.output is not None:
            names = [*inspect.signature(layer.forward).parameters]
            count = names.index("init") if "init" in names else 1
            leaves, form = pytree.tree_flatten((0,) * count if count > 1 else 0)
            found[path] = [tuple(leaves_of(memory.output)[0].shape[1:])] * len(leaves), form
    return found


def _product(path: str, module: nn.Module, name: str, note: Note) -> ProductReport:
    """Return how the layer with these weights was computed; ``name`` is their name in its module."""
    if name == "weight" and isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return _line(path, type(module).__name__, note)
    return _line(f"{path}.{name}".removeprefix("."), "weights", note)


def _line(path: str, kind: str, note: Note) -> ProductReport:
    density, wanted = (None if n is None else n / max(note.inputs, 1) for n in (note.events, note.wanted))
    return ProductReport(path, kind, note.shape, note.reason, density, note.kept, note.inputs, wanted)


def _taken(mode: Mode, found: FoldDecision, statistics: str) -> tuple[str, str]:
    if mode != "auto":
        difference = "" if found.reason is None else f"; in mode 'auto' it would step because it {found.reason}"
        return mode, f"as asked for{difference if mode == 'fold' else ''}"
    if found.reason is not None:
        return "step", f"the network {found.reason}"
    whose = "each step by itself" if statistics == "step" else "all steps together"
    norms = f"; batch norm takes the statistics of {whose}" if found.normalises else ""
    drawn = "; random numbers, such as dropout masks, are drawn for each step and sample" if found.draws else ""
    return "fold", f"nothing in the network mixes {'steps' if norms else 'samples or steps'}{norms}{drawn}"


def _layer(
    path: str, layer: StepLayer, inputs: Inputs, call_form: CallForm, sizes: tuple[int, int], steps: bool
) -> LayerReport:
    (shapes, form), dtype, device = inputs, call_form.dtype, call_form.device
    if layer.explained is not None:
        return LayerReport(path, type(layer).__name__, shapes[0], layer.explained)
    sequences = [torch.zeros((), dtype=dtype, device=device).expand(*sizes, *shape) for shape in shapes]
    if weights := whole_weights(layer, dtype):
        layer = cast(StepLayer, copied(layer, dict(weights)))
    # a state at rest may be random
    state = same_random_numbers(device, partial(layer.initial_state, sequences[0].select(1, 0)))
    with torch.no_grad():
        step, params = layer.whole_step()
        explain = explain_one_step if steps else explain_scan
        backend = explain(step, state, pytree.tree_unflatten(sequences, form), params=params, dim=1)
    return LayerReport(path, type(layer).__name__, shapes[0], backend)


def whole_numbers(net: nn.Module) -> str:
    """Return in words which neurons and weights are whole numbers; empty if there are none.

    >>> from spikingtorch import LIF, FixedPointIF
    >>> whole_numbers(nn.Sequential(FixedPointIF(threshold=0.5, fraction_bits=4, membrane_bits=8), LIF()))
    'neurons of 0, not those of 1'
    """
    weights: dict[int, list[str]] = {}
    whole: list[str] = []
    others: list[str] = []
    for path, module in net.named_modules():
        for each in rounded_in(module):
            weights.setdefault(each.bits, []).append(path or "net")
        if isinstance(module, StepLayer):
            (whole if isinstance(module, FixedPointLayer) else others).append(path or "net")
    of_weights = [f"weights of {', '.join(paths)} in {bits} bits" for bits, paths in sorted(weights.items())]
    of_neurons = [f"neurons of {', '.join(whole)}"] if whole else []
    if not (of_weights or of_neurons):
        return ""
    rest = [f"not {'those' if whole else 'the neurons'} of {', '.join(others)}"] if others else []
    return ", ".join([*of_weights, *of_neurons, *rest])
