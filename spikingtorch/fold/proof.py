"""The proof that a network can run all steps of a sequence as one batch.

Three traces of a copy are compared: 7 samples in a fold, 11 samples in a first step, 7 samples in a later one. They
have to be the same, except for sizes that are a multiple of the batch. Then each operation is judged by its rule. The
result of an operation that mixes samples does no harm as long as the network does not use it.
"""

import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from spikingtorch.fold.copied import CallForm, Copied, attempt, kept_graph
from spikingtorch.fold.judge import aten_name, draws, judge
from spikingtorch.fold.operations import FEW, MORE, Batch, Operation, Rule, Value, merged_size, values_in
from spikingtorch.fold.proof_fold import ProofFold
from spikingtorch.fold.rules import FACTORIES, SIZES, outer_of
from spikingtorch.fold.sizes import CHANGES, Sizes
from spikingtorch.fold.trace import (
    BACKWARD,
    BATCH_NORM,
    GRADIENTS,
    LAYER,
    PARAMETERS,
    RETURNED,
    Objection,
    Trace,
    TracedCall,
    TracedTensor,
    written_by,
)
from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import flatten, leaves_of, tree_map, unflatten
from spikingtorch.functional.core.undo import raise_interrupt
from spikingtorch.layers.fold_token import FoldError

_OTHERWISE = "computes something else for another number of samples, or at another step"
_KEEPS = "keeps {}, tensors with their graph, after a call: a record of its own"
_RETURN = "return it as a part of the output, or leave it to spikingtorch.record(model, x)"
_NO_BATCH = "make the batch the first axis of what layers are handed and of what forward returns"
# the shapes of the tensors for one sample, and the tree that holds them
Inputs: TypeAlias = tuple[list[tuple[int, ...]], pytree.TreeSpec]


class FoldDecision(NamedTuple):
    """The decision for a network in its current form."""

    reason: str | None  # why it must step, as the end of a sentence "it ..."; None if it folds
    inputs: dict[str, Inputs]  # of each spiking layer that the trace has reached, by path
    remedy: str = ""  # the change that would let it fold, if known
    normalises: bool = False  # whether it has batch norm in training, which takes the statistics of each step
    draws: bool = False  # whether it draws random numbers outside of its spiking layers, as dropout in training does
    changing: tuple[str, ...] = ()  # the attributes that a call changes
    settled: bool = False  # whether each call changes them, not only the first one
    repeats: bool = False  # whether the next step changes them as well
    sizes: Sizes | None = None  # checks whether it does the same for other numbers of samples
    theirs: bool = False  # whether it has a neuron of another library, whose state stays from call to call
    for_size: bool = False  # whether it steps for this number of samples alone

    @property
    def objection(self) -> str:
        """The reason why it must step, and the change that would let it fold."""
        return f"{self.reason}{f'. To let it fold, {self.remedy}' if self.remedy else ''}"

    @property
    def passes(self) -> bool:
        """True if the network may fold at the next call: a first call has changed it, and later steps do not."""
        return bool(self.changing) and not (self.settled or self.repeats)


def prove(
    net: nn.Module, call_form: CallForm, taught: Mapping[str, Rule], numbers: Collection[str] = ()
) -> FoldDecision:
    """Decide whether a network can run all steps at once, by a copy; the network and all random states stay unchanged.

    ``taught`` are rules of the user, by operation, and ``numbers`` name attributes that may have any value.
    """
    inputs: dict[str, Inputs] = {}
    if (kept := kept_graph(net)) is not None:
        return FoldDecision(_KEEPS.format(kept), inputs, _RETURN, changing=(kept,), repeats=True)
    if call_form.device.type == "meta":  # tensors on meta hold no values, so noise replaces the inputs and the weights
        call_form = call_form._replace(device=HOST)
    found = attempt(
        net, call_form, "a few samples of noise", lambda: _Proof(Copied(net, call_form, numbers), taught).run(inputs)
    )
    return FoldDecision(str(found), inputs, found.remedy) if isinstance(found, FoldError) else found


class _Proof:
    """The proof for one network, and the properties of the tensors in its traces."""

    def __init__(self, copied: Copied, taught: Mapping[str, Rule]) -> None:
        self.copied, self.taught = copied, taught
        self.outer: dict[int | None, int] = {}
        self.poison: dict[int, Objection] = {}  # tensors in which samples are mixed, with the objection to each
        self.sums: set[int] = set()  # gradients that are a sum over the batch
        self.asks = self.draws = False
        self.expected: list[TracedCall] = []

    def run(self, inputs: dict[str, Inputs]) -> FoldDecision:
        """Trace and judge the network; note the inputs of the layers."""
        first, few = self._record(FEW, None)
        for path, layer in self.copied.layers.items():
            if id(layer) in few.inputs:
                leaves, form = pytree.tree_flatten(few.inputs[id(layer)])
                inputs[path] = ([tuple(leaf.shape[1:]) for leaf in leaves], form)
        if changing := self.copied.changed():
            text = CHANGES.format(changing[0])
            return FoldDecision(text, inputs, _RETURN, changing=changing, repeats=self._changes_again())
        second, _ = self._record(MORE, True)
        later, _ = self._record(FEW, False)
        if changing := self.copied.changed():  # at a later step, or with more samples
            return FoldDecision(CHANGES.format(changing[0]), inputs, _RETURN, changing=changing)
        for one, other in zip(first, later, strict=False):
            _merged_call(one, other)
        if not len(first) == len(second) == len(later):
            raise Objection(_OTHERWISE)
        self._judge_all(first, second)
        normalises = any(call.func == BATCH_NORM for call in first)
        sizes = Sizes(self.copied, self.taught, self.expected, self.asks)
        return FoldDecision(None, inputs, normalises=normalises, draws=self.draws, sizes=sizes)

    def _changes_again(self) -> bool:
        """Return True if the network changes something at a later step as well."""
        now, handled = self.copied.look(), sys.exception()
        try:
            self._record(FEW, False)
        except Exception as error:  # any error: the reason not to fold is already known from the first step
            raise_interrupt(error, handled)
        return bool(self.copied.look().changed_since(now))

    def _record(self, N: int, init: bool | None) -> tuple[list[TracedCall], ProofFold]:
        trace = Trace(self.copied.call_form.device, self.taught)
        rehearsal = self.copied.record(N, init, trace)
        self.asks = self.asks or trace.asks
        return trace.calls, rehearsal

    def _judge_all(self, first: list[TracedCall], second: list[TracedCall]) -> None:
        backward = False
        for one, other in zip(first, second, strict=True):
            merged = tree_map(self._placed, _merged_call(one, other))
            self.expected.append(merged)
            backward = backward or (isinstance(one.func, str) and one.func.startswith(BACKWARD))
            self._judge(Operation(one, merged.given, values_in(merged.given), values_in(merged.made)), backward)

    def _placed(self, value: Any) -> Any:
        return replace(value, outer=self.outer.get(value.number, 1)) if isinstance(value, Value) else value

    def _judge(self, op: Operation, backward: bool) -> None:
        """Judge an operation, and note the properties of its results."""
        func = op.call.func
        found = next((self.poison[t.number] for t in op.tensors if t.number in self.poison), None)
        if isinstance(func, str):
            if found is not None:
                raise found
            self._judge_text(op, func)
            return
        self.draws = self.draws or draws(op)
        outer = 1
        try:
            if found is None and backward and self._is_sum(op):
                self.sums |= {out.number for out in op.outs if out.number is not None}
            elif found is None:
                outer = judge(op, self.taught)
        except Objection as objection:
            found = objection
        writes = func._schema.is_mutable and torch.Tag.inplace_view not in func.tags
        if found is None and writes and "batch_norm" not in func._opname:
            self._judge_written(op, outer, backward)
        if found is not None and (func._schema.is_mutable or backward or not op.outs):
            raise found
        for out in op.outs:
            if out.number is None:
                continue
            if not writes:  # a tensor that is written on keeps its place
                self.outer[out.number] = outer
            lost = op.carrying and out.axis is None and out.shape != (0,) and out.number not in self.sums
            lost = lost and aten_name(func) not in FACTORIES
            if found is not None or lost:
                self.poison[out.number] = found or Objection(
                    f"makes one out of all samples of the batch ({op.call.name})", "keep the batch the first axis"
                )

    def _judge_written(self, op: Operation, outer: int, backward: bool) -> None:
        """Raise unless a write keeps each sample in its place, because other tensors may share the memory."""
        for value in values_in([op.named[name] for name in written_by(op.call.func)]):
            same = value.shape in [out.shape for out in op.outs] or not op.outs
            place = value.outer == outer or aten_name(op.call.func) in FACTORIES
            op.need(same and (place if value.axis is not None else not op.carrying), "writes samples in another place")
        op.need(not (backward and self.sums.intersection(t.number for t in op.outs)), "writes a sum over the samples")

    def _judge_text(self, op: Operation, func: str) -> None:
        """Judge an entry that is no torch operation: layers, their parameters, the output, gradients, batch norm."""
        if func == PARAMETERS:
            if op.carrying:
                raise Objection("has neurons whose parameters come from the batch")
        elif func in (LAYER, RETURNED):
            what = "hands a spiking layer an input" if func == LAYER else "returns something"
            for value in (*op.tensors, *op.outs):
                if value.axis != 0 or value.k != 1:
                    raise Objection(f"{what} whose first axis is not the batch ({op.call.name})", _NO_BATCH)
        elif func == BATCH_NORM:
            x = op.tensors[0]
            op.need(len(op.carrying) == 1 and x.axis == 0 and x.outer == 1, "normalises over the batch")
        elif func == GRADIENTS:
            for value in op.tensors:
                if value.k > 1 or (value.axis is None and value.number not in self.sums):
                    raise Objection("computes a gradient that is no sum over the samples", "return such a sum, or None")
        for out in op.outs:
            if out.k > 1 and func.startswith(BACKWARD):
                raise Objection("merges the batch with other axes before a function with a backward pass of its own")

    def _is_sum(self, op: Operation) -> bool:
        """In a backward pass, return True if the result is a sum over the samples; raise if a sum is used further."""
        name = aten_name(op.call.func)
        given = [tensor.number in self.sums for tensor in op.tensors]
        if not any(given):
            sums = name in _SUMS and bool(op.carrying) and all(out.axis is None for out in op.outs)
            return sums and bool(outer_of(op, op.carrying))
        adds = name in ("add", "sub") and all(given) and len(given) == 2
        scales = name in ("mul", "div") and sum(given) == 1 and (given[0] or name == "mul")
        moves = name in _LINEAR and all(out.dtype in _WIDE for out in op.outs)
        stays = op.named.get("rounding_mode") is None and all(out.axis is None for out in op.outs)
        op.need(
            (adds or scales or moves) and stays and not op.carrying, "computes with a sum over the samples of the batch"
        )
        return True


_SUMS = {"sum", "mm", "bmm", "mv", "dot"}
_WIDE = (torch.float32, torch.float64)
_LINEAR = {"neg", "clone", "_to_copy", "sum", "permute", "transpose", "t", "select", "slice", "expand", "squeeze"} | {
    *("unsqueeze", "view", "_unsafe_view", "detach", "alias", "reshape")
}


def _merged_call(one: TracedCall, other: TracedCall) -> TracedCall:
    """Return a call with its arguments and results merged from both traces."""
    if (one.func is not other.func and one.func != other.func) or one.records != other.records:
        raise Objection(f"{_OTHERWISE} ({one.name})")
    size = "" if isinstance(one.func, str) else SIZES.get(aten_name(one.func), "")
    try:
        both = [(one.given, other.given), (one.made, other.made)]
        given, made = [unflatten(leaves_of(_merged(a, b, size)), flatten(a)[1]) for a, b in both]
    except Objection as objection:
        text = "computes other parameters of a spiking layer at each step" if one.func == PARAMETERS else objection
        raise Objection(f"{text} ({one.name})", objection.remedy) from None
    return one._replace(given=given, made=made)


def _merged(a: Any, b: Any, size: str, name: str = "") -> Any:
    """Merge the notes of two traces; ``size`` names the argument that may be a multiple of the batch."""
    if isinstance(a, TracedTensor) and isinstance(b, TracedTensor):
        if (a.number, a.constant, len(a.shape)) != (b.number, b.constant, len(b.shape)):
            raise Objection(_OTHERWISE)
        shape = tuple([merged_size(i, j) for i, j in zip(a.shape, b.shape, strict=True)])
        if sum([isinstance(each, Batch) for each in shape]) > 1:
            raise Objection("compares the samples of a batch with each other")
        return Value(a.number, shape, a.storage, a.dtype, (*zip(a.strides, b.strides, strict=False),), a.constant)
    if type(a) is not type(b):
        raise Objection(_OTHERWISE)
    if isinstance(a, dict):
        return {key: _merged(a[key], b[key], size, key) for key in a}
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            raise Objection(_OTHERWISE)
        return [_merged(i, j, size, name) for i, j in zip(a, b, strict=True)]
    if a is b or a == b or a != a:
        return a
    if type(a) is int and name == size:
        return merged_size(a, b)
    raise Objection("computes with the number of samples, or with a number that changes", "leave it out of the network")
