"""The check that a network that folds does the same for other numbers of samples than in the proof.

A network that reads sizes may do something different for many samples than for a few. So it runs with the numbers of
samples of the call, step by step and folded, and must call the same operations. Nothing is computed: the results are
empty tensors.
"""

from collections.abc import Container, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.fold.copied import CallForm, Copied, attempt
from spikingtorch.fold.operations import for_samples
from spikingtorch.fold.trace import (
    BATCH_NORM,
    LAYER,
    Objection,
    Trace,
    TracedCall,
    TracedTensor,
    by_name,
    called,
    written_by,
)
from spikingtorch.fold.values import check_single
from spikingtorch.functional.core.tree import leaves_of, tree_map

CHANGES = "changes {} while it runs: it keeps a state, or a record, of its own"


class Sizes:
    """The calls in the traces of a proof, which a network must make for any number of samples. No tensors.

    ``expected`` are the calls, merged from both traces, and ``asks`` says whether the user's code has asked for a size.
    """

    def __init__(self, copied: Copied, taught: Container[str], expected: Sequence[TracedCall], asks: bool) -> None:
        self._call_form: CallForm = copied.call_form
        self._numbers = copied.numbers
        self._taught, self._asks = taught, asks
        self._expected = expected
        self._known: dict[int, str | None] = {}

    def knows(self, N: int) -> bool:
        """Return True if a number of samples has been checked."""
        return _number(N) in self._known

    def learn(self, other: "Sizes") -> None:
        """Take over the results of an earlier proof for numbers of samples that were not checked since."""
        self._known = other._known | self._known

    def objection_to(self, N: int, net: nn.Module) -> str | None:
        """Return what the traced network does differently for N samples, as the end of a sentence "it ..."."""
        N = _number(N)
        # for one sample, torch uses views where it copies for several
        if not self._asks and N != 1:
            return None
        if N not in self._known:
            failure = attempt(net, self._call_form, f"{N} samples", partial(self._run, N, net))
            self._known[N] = None if failure is None else str(failure)
        return self._known[N]

    def _run(self, N: int, net: nn.Module) -> None:
        """Run a copy on N samples; raise if it does something else."""
        copied, device = Copied(net, self._call_form, self._numbers), self._call_form.device
        expected = [for_samples(each, N) for each in self._expected]
        trace = Trace(device, self._taught) if N == 1 else _Replay(device, self._taught, expected, N)
        copied.record(N, None, trace)
        if isinstance(trace, _Replay):
            trace.check()
        else:
            check_single(trace.calls, expected)
        if changing := copied.changed():
            raise Objection(CHANGES.format(changing[0]))


class _Replay(Trace):
    """A trace that must equal a known one, with the sizes that it has for N samples."""

    computes = False

    def __init__(self, device: torch.device, taught: Container[str], expected: Sequence[TracedCall], N: int) -> None:
        super().__init__(device, taught)
        self._expected, self._N = expected, N

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return an empty result of the expected form."""
        expected = self._next(func)
        if torch.Tag.inplace_view in func.tags:
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            named = by_name(func, args, kwargs)
            tensors = _tensors_in([named[name] for name in written_by(func)])
            return tensors[0] if len(tensors) == 1 else tuple(tensors)
        return self._made(expected)

    def whole(self, func: Any, *args: Any) -> Any:
        """Return an empty tensor of the expected form; it requires a gradient if an argument does."""
        with self.looks_away():
            return _with_gradient_of(_tensors_in(args), super().whole(func, *args))

    def advance(self, layer: Any, inputs: Any) -> Any:  # noqa: ARG002
        """Return empty outputs of the expected form."""
        return self._made(self._next(LAYER, after=1))

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return an empty tensor of the expected form that requires a gradient."""
        return _with_gradient_of([x], self._made(self._next(BATCH_NORM)))

    def _next(self, func: Any, after: int = 0) -> TracedCall:
        place = len(self.calls) + after
        expected = self._expected[place] if place < len(self._expected) else None
        if expected is None or expected.func != func:
            raise self._differs(called(func))
        return expected

    def check(self) -> None:
        """Raise unless all expected calls were made."""
        calls = zip(self.calls, self._expected, strict=False)
        wrong = [call for call, expected in calls if _common(call) != _common(expected)]
        if wrong or len(self.calls) != len(self._expected):
            raise self._differs(wrong[0].name if wrong else "")

    def _differs(self, what: str) -> Objection:
        where = f" ({what})" if what else ""
        return Objection(f"computes something else for {self._N} samples than for a few{where}")

    def _made(self, expected: TracedCall) -> Any:
        """Return tensors of the expected sizes and strides; memory that is never written costs nothing."""

        def make(one: Any) -> Any:
            noted = isinstance(one, TracedTensor)
            return torch.empty_strided(one.shape, one.strides, dtype=one.dtype, device=self.device) if noted else one

        return tree_map(make, expected.made)


def _common(call: TracedCall) -> Any:
    """Return what a call has in common with the same call of another trace."""

    def part(x: Any) -> Any:
        return (x.number, x.shape, x.constant) if isinstance(x, TracedTensor) else x if x == x else "nan"

    return tree_map(part, call._replace(place=("", 0)))


def _tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in leaves_of(tree) if isinstance(leaf, Tensor)]


def _with_gradient_of(tensors: Sequence[Tensor], made: Tensor) -> Tensor:
    """Return ``made``, with a gradient if one of the tensors has one; its values are meaningless."""
    needed = [tensor.sum().to(made.dtype) for tensor in tensors if tensor.requires_grad]
    return made.add_(sum(needed)) if needed else made


def _number(N: int) -> int:
    """Return a number of samples; for a symbolic number in torch.compile or torch.export, that of the example."""
    return N.node.hint or 0 if isinstance(N, torch.SymInt) else N
