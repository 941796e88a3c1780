"""A scan that comes again and again: all steps of a folded layer, from rest, as often as its network is called.

What ``_prepared`` remembers of every scan is found by a key. A layer knows its own last scan, so it compares instead,
and what it knows of a scan from rest to the end of a train spares it the rest: the last state needs no gradient, and
inputs and outputs stay folded, (N T, ...).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from operator import is_
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import are_plain_cpu, in_eager
from spikingtorch.functional.core.tree import LEAF, leaves_of, unflatten
from spikingtorch.functional.dispatch import prepared
from spikingtorch.functional.dispatch.reference import LoopReference
from spikingtorch.functional.fused.runtime.folded import FoldedScan, FusedTrain
from spikingtorch.functional.fused.runtime.torch_ops import layouts_of
from spikingtorch.functional.fused.trace.step_key import is_immutable

_Numbers: TypeAlias = tuple[list[Tensor], tuple[float, ...]]

# how often a layer tries to prepare for scans of one form, and for how many forms: those of training and of evaluation
_TRIES, _FORMS = 8, 8


class Found(NamedTuple):
    """What a scan gives.

    Attributes:
        state: after the last step, without a gradient.
        last: output of the last step, without a gradient and in memory of its own.
        outs: folded outputs.
    """

    state: Any
    last: Tensor
    outs: Tensor


class Repetitions:
    """The scans of a layer that come again, by their form.

    A copy, and what comes out of a pickle, learns anew.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Repeated] = {}
        self._tries: dict[Hashable, int] = {}

    def __reduce__(self) -> Any:
        return Repetitions, ()

    def run(
        self, step: Callable[..., Any], params: Mapping[str, Any], xs: Sequence[Tensor], size: tuple[int, int]
    ) -> Found | None:
        """Run a scan; return None if there was none like this, or an input is NaN or infinite.

        Args:
            step: the step.
            params: keyword arguments of the step.
            xs: folded inputs, (N T, ...).
            size: N samples and T steps.
        """
        repeated = self._known.get(_form(xs, size))
        return None if repeated is None else repeated(step, params, xs)

    def learn(
        self, step: Callable[..., Any], params: dict[str, Any], state: Any, xs: Any, size: tuple[int, int]
    ) -> None:
        """Prepare for a scan that has just run, over inputs (N, T, ...) from a state at rest, to come again."""
        form = _form([x.flatten(0, 1) for x in leaves_of(xs)], size)
        tries = self._tries.get(form, 0)
        if tries == _TRIES or (tries == 0 and len(self._tries) == _FORMS):
            return
        self._tries[form] = tries + 1
        with suppress(LookupError):
            self._known[form] = Repeated(step, params, state, xs, size)


def _form(xs: Sequence[Tensor], size: tuple[int, int]) -> Hashable:
    return size, xs[0].shape, torch.is_grad_enabled()


class Repeated:
    """A folded scan from rest, of trains and parameters that only differ in their numbers.

    Args:
        step: the step.
        params: its keyword arguments.
        state: the state at rest.
        xs: inputs, (N, T, ...).
        size: N samples and T steps.

    Raises:
        LookupError: it cannot be repeated in this way, or has not run yet.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        params: dict[str, Any],
        state: Any,
        xs: Any,
        size: tuple[int, int],
    ) -> None:
        request = prepared.request(step, state, xs, params, 1, "auto")
        found = None if request is None else prepared.find(request)
        if request is None or found is None or found.form is not LEAF or not found.floats_are_inputs:
            raise LookupError("a scan that has to be looked at by itself")
        first, last, _ = found.scan.ends
        states, numbers = request.tensors[:first], request.tensors[last:]
        folded = [x.flatten(0, 1) for x in request.tensors[first:last]]
        kinds = {name: _kind(value) for name, value in params.items()}
        fixed = [value for name, value in params.items() if kinds[name] is value]
        if not all(map(is_immutable, (step, *fixed))):
            raise LookupError("a step or a parameter that can change without becoming another object")
        self._step, self._kinds, self._literals = step, kinds, found.literals
        self._arguments = found.arguments
        self._parts = prepared.parts_of(step, params)
        # the parameters of the last scan, by name, and its numbers
        self._last: tuple[list[str], list[Any], _Numbers] | None = None
        self._described = layouts_of([*folded, *numbers])
        self._state_form = request.state_form
        self._differentiates, self._default = request.differentiates, torch.get_default_dtype()
        dtypes, scalars = [each.dtype for each in states], (*request.floats, *found.literals)
        self._scan = FoldedScan(found.scan, found.order, size, dtypes, folded, numbers, scalars, request.differentiates)

    def __call__(self, step: Callable[..., Any], params: Mapping[str, Any], xs: Sequence[Tensor]) -> Found | None:
        """Run the scan, or return None if this is another one or an input is NaN or infinite."""
        if step is not self._step or torch.get_default_dtype() is not self._default:
            return None
        numbers = self._numbers_of(params)
        if numbers is None:
            return None
        tensors, scalars = [*xs, *numbers[0]], numbers[1]
        if layouts_of(tensors) != self._described or not in_eager() or not are_plain_cpu(tensors) or _saves_elsewhere():
            return None
        if (torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])) != self._differentiates:
            return None
        train = self._scan.forward(tensors, scalars)
        if train is None:
            return None
        outs: Tensor = train.outs
        if self._differentiates:
            reference = LoopReference(step, self._arguments)
            outs = FusedTrain.apply(self._scan, train, scalars, reference, *tensors)
        return Found(unflatten(train.finals, self._state_form), train.last, outs)

    def _numbers_of(self, params: Mapping[str, Any]) -> _Numbers | None:
        """Return the tensors and the floats of the program; None if the parameters differ in more than these."""
        last = self._last
        if last is not None and [*params] == last[0] and all(map(is_, params.values(), last[1])):
            return last[2]
        kinds = self._kinds
        if len(params) != len(kinds) or not all([kinds.get(n, self) is _kind(value) for n, value in params.items()]):
            return None
        tensors, floats = _numbers(self._parts, params)
        numbers = tensors, (*floats, *self._literals)
        if not tensors:  # those are not held on to: a graph may hang on them
            self._last = [*params], [*params.values()], numbers
        return numbers


def _saves_elsewhere() -> bool:
    """Say whether somebody takes what is saved for the backward pass, and compares it, maybe, with another run's."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None  # pyright: ignore


def _kind(value: Any) -> Any:
    """Return what a parameter has to be again: a tensor, a float, or the same object."""
    return Tensor if isinstance(value, Tensor) else float if type(value) is float else value


def _numbers(
    parts: Sequence[str | tuple[Tensor | float, ...]], params: Mapping[str, Any]
) -> tuple[list[Tensor], list[float]]:
    """Return the parameters that are tensors, and those that are floats, in the order of the program."""
    tensors: list[Tensor] = []
    floats: list[float] = []
    for part in parts:
        for leaf in (params.get(part),) if isinstance(part, str) else part:
            if isinstance(leaf, Tensor):
                tensors.append(leaf)
            elif leaf is not None:
                floats.append(leaf)
    return tensors, floats
