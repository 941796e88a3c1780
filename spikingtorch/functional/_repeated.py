"""A scan that comes again and again: all steps of a folded layer, from rest, as often as its network is called.

What ``_prepared`` remembers of every scan is found by a key. A layer knows its own last scan, so it compares instead,
and what it knows of a scan from rest to the end of a train spares it the rest: the last state needs no gradient, and
outputs are made folded, (N T, ...).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional import _prepared
from spikingtorch.functional._ordinary import ordinary, undisturbed
from spikingtorch.functional._tree import LEAF, leaves_of, unflatten
from spikingtorch.functional.fused.autograd import FusedScanGradient
from spikingtorch.functional.fused.identity import is_fixed
from spikingtorch.functional.fused.operators import described

# how often a layer tries to prepare for scans of one form, and for how many forms: those of training and of evaluation
_TRIES, _FORMS = 8, 8


class Repetitions:
    """The scans of a layer that come again, by their form.

    A copy, and what comes out of a pickle, learns anew.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Repeated | None] = {}
        self._tries: dict[Hashable, int] = {}

    def __reduce__(self) -> Any:
        return Repetitions, ()

    def run(
        self, step: Callable[..., Any], params: Mapping[str, Any], xs: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[Any, Tensor] | None:
        """Return the last state, without a gradient, and folded outputs; or None if there was no scan like this.

        Args:
            step: the step.
            params: keyword arguments of the step.
            xs: folded inputs, (N T, ...).
            size: N samples and T steps.
        """
        repeated = self._known.get((size, xs[0].shape, torch.is_grad_enabled()))
        return None if repeated is None else repeated(step, params, xs, size)

    def learn(
        self, step: Callable[..., Any], params: dict[str, Any], state: Any, xs: Any, size: tuple[int, int]
    ) -> None:
        """Prepare for a scan that has just run, over inputs (N, T, ...) from a state at rest, to come again."""
        first = leaves_of(xs)[0]
        form = (size, (size[0] * size[1], *first.shape[2:]), torch.is_grad_enabled())
        tries = self._tries.get(form, 0)
        if tries == _TRIES or (tries == 0 and len(self._tries) == _FORMS):
            return
        self._tries[form] = tries + 1
        request = _prepared.request(step, state, xs, params, 1, "auto")
        prepared = None if request is None else _prepared.find(request)
        if request is not None and prepared is not None:
            with suppress(LookupError):
                self._known[form] = Repeated(step, params, size, request, prepared)


class Repeated:
    """A folded scan from rest, of trains and parameters that only differ in their numbers.

    Args:
        step: the step.
        params: its keyword arguments.
        size: N samples and T steps.
        request: the scan that has run, over inputs (N, T, ...).
        prepared: how it ran.

    Raises:
        LookupError: it cannot be repeated in this way.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        params: dict[str, Any],
        size: tuple[int, int],
        request: _prepared.Request,
        prepared: _prepared.Prepared,
    ) -> None:
        first, last, _ = prepared.scan.ends
        states, xs, numbers = request.tensors[:first], request.tensors[first:last], request.tensors[last:]
        kinds = {name: _kind(value) for name, value in params.items()}
        fixed = [value for name, value in params.items() if kinds[name] is value]
        ready = prepared.scan.ready(request.differentiates)
        plain = prepared.order is None and prepared.lifts_floats and prepared.form is LEAF
        contiguous = all([x.is_contiguous() for x in xs])
        if ready is None or not plain or not contiguous or not all(map(is_fixed, (step, *fixed))):
            raise LookupError("a scan that has to be looked at by itself")
        self.scan = prepared.scan
        self.size = size
        self._step, self._kinds = step, kinds
        self._parts = _prepared.parts_of(step, params)
        self._numbers = described([*xs, *numbers])
        self._literals, self._state_form = prepared.literals, request.state_form
        self._differentiates, self._default = request.differentiates, torch.get_default_dtype()
        self._rest = [(state.shape, state.dtype) for state in states]
        self._forward = ready.with_folded(size, first)

    def __call__(
        self, step: Callable[..., Any], params: Mapping[str, Any], xs: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[Any, Tensor] | None:
        """Return what ``Repetitions.run`` does, or None if this is another scan."""
        if step is not self._step or size != self.size or torch.get_default_dtype() is not self._default:
            return None
        kinds = self._kinds
        if len(params) != len(kinds) or not all([kinds.get(n, self) is _kind(value) for n, value in params.items()]):
            return None
        # views, so that autograd sees inputs with a time axis: what is saved has to be what came in
        tensors, floats = _numbers(self._parts, params, [x.unflatten(0, size) for x in xs])
        if described(tensors) != self._numbers or not undisturbed() or not ordinary(tensors):
            return None
        if (torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])) != self._differentiates:
            return None
        scalars = (*floats, *self._literals)
        if self._differentiates:
            outs, *finals = FusedTrain.apply(self, scalars, *tensors)  # type: ignore[no-untyped-call]
        else:
            finals, outs, *_ = self.forward(tensors, scalars)
        return unflatten(finals, self._state_form), outs

    def forward(
        self, tensors: Sequence[Tensor], scalars: tuple[float, ...]
    ) -> tuple[list[Tensor], Tensor, list[Tensor], list[Tensor]]:
        """Return final states, folded outputs, the states that the backward pass starts from, and those at rest."""
        rest = [torch.zeros(shape, dtype=dtype, device="cpu") for shape, dtype in self._rest]
        found = self._forward((*rest, *tensors), scalars)
        states = len(rest)
        return found[:states], found[states], found[states + 1 :], rest


class FusedTrain(Function):
    """``apply(repeated, scalars, *xs, *params)`` returns ``(outs, *finals)``, the outputs folded."""

    @staticmethod
    def forward(ctx: Any, repeated: Repeated, scalars: tuple[float, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return folded outputs and final states; save what ``FusedScanDirect`` saves, tensor by tensor.

        Checkpointing compares what was saved in two runs, of which the first may have been no repetition.
        """
        finals, outs, kept, rest = repeated.forward(tensors, scalars)
        ctx.repeated, ctx.scalars = repeated, scalars
        ctx.save_for_backward(*rest, *tensors, *kept)
        ctx.mark_non_differentiable(*finals, *(() if outs.is_floating_point() else (outs,)))
        ctx.set_materialize_grads(False)
        return outs, *finals

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return the gradients, straight from the kernel unless torch has to see them computed."""
        repeated: Repeated = ctx.repeated
        scan, needed, cotangent = repeated.scan, ctx.needs_input_grad[2:], cotangents[0]
        states, _, leaves = scan.ends
        wanted = tuple([n and has for n, has in zip((*[False] * states, *needed), scan.differentiable, strict=True)])
        if cotangent is None or not any(wanted):
            return (None,) * (2 + len(needed))
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        given = (*[None] * states, cotangent.unflatten(0, repeated.size))
        if not torch.is_grad_enabled() and undisturbed() and ordinary((*saved, cotangent)):
            found = scan.backward(saved[:leaves], saved[leaves:], given, ctx.scalars, wanted)
        else:
            options = scan.program, scan.dim, ctx.scalars, scan.counts, wanted
            found = list(FusedScanGradient.apply(*options, *saved, *given))  # type: ignore[no-untyped-call]
        grads = iter(found)
        return (None, None, *[next(grads) if want else None for want in wanted[states:]])


def _kind(value: Any) -> Any:
    """Return what a parameter has to be again: a tensor, a float, or the same object."""
    return Tensor if isinstance(value, Tensor) else float if type(value) is float else value


def _numbers(
    parts: Sequence[str | tuple[Tensor | float, ...]], params: Mapping[str, Any], xs: Sequence[Tensor]
) -> tuple[list[Tensor], list[float]]:
    """Return the inputs and the parameters that are tensors, and those that are floats, in the order of the program."""
    tensors, floats = [*xs], []
    for part in parts:
        for leaf in (params.get(part),) if isinstance(part, str) else part:
            if isinstance(leaf, Tensor):
                tensors.append(leaf)
            elif leaf is not None:
                floats.append(leaf)
    return tensors, floats
