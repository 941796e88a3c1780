"""The tensors of a call of the fuzzer of scan: their numbers, and how they lie in memory.

Each tensor of a call is a view of a source: a tensor of its own that holds its memory, and that gradients are taken of.
Several can be views of one source. The same views, each copied, are tensors that share nothing: what the loop gets.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.fuzz_calls import Call, Shape
from tests.fuzz_source import Built
from tests.fuzz_steps import Step

View = Callable[[Tensor], Tensor]
SURROGATES = [F.Sigmoid(3.0), F.Sigmoid(1.5), F.Arctan(2.0)]


class Layout(NamedTuple):
    """The shape of a source, and the view of it that is the tensor."""

    shape: Shape
    view: View


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _overlapping(shape: Shape) -> Layout:
    length = sum(size - 1 for size in shape) + 1
    return Layout((max(length, 1),), lambda t: t.as_strided(shape, (1,) * len(shape)))


def _without(shape: Shape, axis: int) -> Shape:
    return tuple(1 if k == axis else size for k, size in enumerate(shape))


# of the shape of a tensor, and an axis of it that is not time; "shared" and "slice" are for ``Tensors`` to make
LAYOUTS: dict[str, Callable[[Shape, int], Layout]] = {
    "plain": lambda shape, _: Layout(shape, _as_it_is),
    "transposed": lambda shape, _: Layout(shape[::-1], lambda t: t.permute([*reversed(range(t.ndim))])),
    "strided": lambda shape, _: Layout((*shape[:-1], 2 * shape[-1]), lambda t: t[..., ::2]),
    "offset": lambda shape, _: Layout((shape[0] + 1, *shape[1:]), lambda t: t[1:]),
    "expanded": lambda shape, axis: Layout(_without(shape, axis), lambda t: t.expand(shape)),
    "channels last": lambda shape, _: Layout((*shape[:-3], *shape[-2:], shape[-3]), lambda t: t.movedim(-1, -3)),
    "broadcast": lambda shape, axis: Layout(_without(shape, axis), _as_it_is),
    "overlapping": lambda shape, _: _overlapping(shape),
    "negated": lambda shape, _: Layout(shape, torch._neg_view),  # pyright: ignore[reportPrivateImportUsage]
    "shared": lambda shape, _: Layout(shape, _as_it_is),
    "slice": lambda shape, _: Layout(shape, _as_it_is),
}
# those that torch.func knows
TRANSFORMED = ("plain", "transposed", "strided", "offset", "expanded", "broadcast")


class Tensors:
    """The arguments of a call.

    Args:
        step: the step.
        built: the same, to be called.
        call: the call.
        member: of a batch of calls that differ in the numbers of some sources.
    """

    def __init__(self, step: Step, built: Built, call: Call, member: int = 0) -> None:
        self.step, self.built, self.call, self.member = step, built, call, member
        self.dim = call.dim % (len(call.shape) + 1)
        self._layouts = iter(call.layouts * 9)
        self.sources: list[Tensor] = []
        self._views: list[tuple[int, View]] = []
        self._shapes: list[tuple[Shape, torch.dtype]] = []
        stream = (*call.shape[: self.dim], call.T, *call.shape[self.dim :])
        for name in step.xs:
            self._add(stream, call.dtype(name, stream=True), self.dim)
        for name in step.states:
            self._add(call.shape, call.dtype(name))
        for _ in range(step.full):
            self._add(call.shape, call.dtype("float"))
        self.params = [self._parameter(kind) for kind in call.params[: step.numbers]]
        for bit, source in enumerate(self.sources):
            source.requires_grad_(source.is_floating_point() and bool(call.learned >> bit & 1))

    @property
    def learned(self) -> list[Tensor]:
        """The sources that require a gradient."""
        return [source for source in self.sources if source.requires_grad]

    def is_mapped(self, source: int) -> bool:
        """Whether a source differs between the members of a batch."""
        return source == 0 or bool(self.call.seed >> source & 1)

    def arguments(
        self, *, copied: bool = False, sources: Sequence[Tensor] | None = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Return state, inputs and parameters; ``copied`` gives each its own contiguous memory."""
        given = self.sources if sources is None else sources
        placed = [view(given[index]) for index, view in self._views]
        if copied:
            placed = [torch.clone(tensor, memory_format=torch.contiguous_format) for tensor in placed]
        streams, states = len(self.step.xs), len(self.step.states)
        params: dict[str, Any] = {f"f{k}": placed[streams + states + k] for k in range(self.step.full)}
        params |= {f"p{k}": placed[p] if type(p) is int else p[0] for k, p in enumerate(self.params)}
        if self.step.surrogate:
            params["spike"] = SURROGATES[self.call.seed % 3]
        xs, state = placed[:streams], placed[streams : streams + states]
        return self.built.state_of(*state), self.built.xs_of(*xs), params

    def _add(self, shape: Shape, dtype: torch.dtype, time: int | None = None) -> None:
        name = self._layout(next(self._layouts), shape, dtype, time)
        earlier = [k for k, found in enumerate(self._shapes) if found == (shape, dtype)]
        if name == "shared" and earlier:
            self._views.append(self._views[earlier[0]])
        elif name == "slice" and time is None and self._shapes and self._is_step_of_first(shape, dtype):
            source, view = self._views[0]
            self._views.append((source, functools.partial(_first_step, view, self.dim)))
        else:
            axes = [axis for axis in range(len(shape)) if axis != time]
            layout = LAYOUTS[name](shape, axes[self.call.seed % len(axes)] if axes else -1)
            self._views.append((len(self.sources), layout.view))
            self.sources.append(self._filled(layout.shape, dtype))
        self._shapes.append((shape, dtype))

    def _layout(self, name: str, shape: Shape, dtype: torch.dtype, time: int | None) -> str:
        """Return a layout that this tensor can have."""
        fits = name != "broadcast" or (time is not None and not self.built.needs_full_inputs)
        fits &= self.call.mode != "transform" or name in TRANSFORMED
        least = {"channels last": 3, "plain": 0, "shared": 0, "slice": 0, "negated": 0, "overlapping": 0}.get(name, 1)
        fits &= name != "negated" or dtype.is_floating_point
        fits &= len(shape) >= least and (name != "overlapping" or math.prod(shape) > 0)
        return name if fits else "plain"

    def _is_step_of_first(self, shape: Shape, dtype: torch.dtype) -> bool:
        stream = list(self._shapes[0][0])
        full = self.call.T > 0 and self._views[0][1](self.sources[0]).ndim == len(stream)
        stream.pop(self.dim)
        return (
            full
            and dtype == self._shapes[0][1]
            and self._views[0][1](self.sources[0]).select(self.dim, 0).shape == shape
        )

    def _parameter(self, kind: str) -> Any:
        """Return a number in a tuple, or the place of a tensor."""
        shape, dtype = self.call.shape, self.call.dtype("float")
        number = 0.6 + 0.1 * (self.call.seed % 5)
        numbers: dict[str, Any] = {"float": number, "int": 1 + self.call.seed % 2, "numpy": np.float64(number)}
        if kind in numbers:
            return (numbers[kind],)
        if kind == "other precision":
            shape, dtype = (), torch.float32 if dtype == torch.float64 else torch.float64
        shapes = {
            "no axes": (),
            "channel": shape[-1:],
            "row": (*shape[:-1], 1)[: len(shape)],
            "expanded": (1,) * len(shape),
        }
        made = self._filled(shapes.get(kind, shape), dtype)
        self._views.append((len(self.sources), lambda t: t.expand(shape) if kind == "expanded" else t))
        self.sources.append(made)
        return len(self._views) - 1

    def _filled(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        index = len(self.sources)
        draw = torch.Generator().manual_seed(1000 * self.call.seed + 2 * index + self.member * self.is_mapped(index))
        random = torch.randn(shape, dtype=torch.float64, generator=draw)
        if dtype == torch.bool:
            return random > 0
        if not dtype.is_floating_point:
            return (2 * random).clamp(-5, 5).abs().to(dtype) if dtype == torch.uint8 else (2 * random).to(dtype)
        kind = self.call.numbers
        if kind == "grid":
            random = (4 * random).round() / 4
        elif kind == "zeros":
            random = torch.where(random.abs() > 0.6, random, torch.copysign(torch.zeros_like(random), random))
        elif kind == "special":
            odd = torch.tensor([math.nan, math.inf, -math.inf, 1e-310, -1e-40, 1e300], dtype=torch.float64)
            which = torch.randint(0, 60, shape, generator=draw)
            random = torch.where(which < len(odd), odd[which.clamp(max=len(odd) - 1)], random)
        return random.to(dtype)


def _first_step(view: View, dim: int, source: Tensor) -> Tensor:
    return view(source).select(dim, 0)
