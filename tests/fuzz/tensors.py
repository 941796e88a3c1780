"""A call for the fuzzer of scan, and its tensors: their numbers, and how they lie in memory.

Each tensor of a call is a view of a source: a tensor of its own that holds its memory, and that gradients are taken of.
Several can be views of one source. The same views, each copied, are tensors that share nothing: what the loop gets.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.fuzz.steps import Built, Step

Shape = tuple[int, ...]
View = Callable[..., Tensor]
PARAMETERS = ["float", "no axes", "channel", "full", "expanded", "row", "int", "numpy", "other precision"]
SURROGATES = [F.Sigmoid(3.0), F.Sigmoid(1.5), F.Arctan(2.0)]


class Call(NamedTuple):
    """A call of scan."""

    precision: str  # dtype of the floating inputs; half precisions go with a float32 state
    shape: Shape  # of the neurons
    T: int
    dim: int  # axis of time, negative ones from the end
    layouts: tuple[str, ...]  # of states, inputs and full parameters in memory, in this order, again and again
    params: tuple[str, ...]  # kinds of the other parameters
    numbers: str  # what the tensors hold
    seed: int  # of the numbers, and of choices of no consequence
    factor: float  # of the numbers that the step holds
    learned: int  # which sources require a gradient, bit by bit
    mode: str  # how scan is called
    write: str  # what is written on before the backward pass
    default: str  # torch's default dtype

    def dtype(self, name: str, stream: bool = False) -> Any:
        """Return a dtype of a step in this call."""
        own = self.precision if stream or self.precision in ("float32", "float64") else "float32"
        return getattr(torch, own if name == "float" else name)


def _without(shape: Shape, axis: int) -> Shape:
    return tuple(1 if k == axis else size for k, size in enumerate(shape))


def _span(shape: Shape) -> Shape:
    return (max(sum(shape) - len(shape) + 1, 1),)


# the shape of a source and the view of it that is the tensor, of the shape of the tensor and an axis of it that is not
# time; "shared" and "slice" are for ``Tensors`` to make
LAYOUTS: dict[str, Callable[[Shape, int], tuple[Shape, View]]] = {
    "plain": lambda shape, _: (shape, lambda t: t),
    "transposed": lambda shape, _: (shape[::-1], lambda t: t.permute([*reversed(range(t.ndim))])),
    "strided": lambda shape, _: ((*shape[:-1], 2 * shape[-1]), lambda t: t[..., ::2]),
    "offset": lambda shape, _: ((shape[0] + 1, *shape[1:]), lambda t: t[1:]),
    "expanded": lambda shape, axis: (_without(shape, axis), lambda t: t.expand(shape)),
    "channels last": lambda shape, _: ((*shape[:-3], *shape[-2:], shape[-3]), lambda t: t.movedim(-1, -3)),
    "broadcast": lambda shape, axis: (_without(shape, axis), lambda t: t),
    "overlapping": lambda shape, _: (_span(shape), lambda t: t.as_strided(shape, (1,) * len(shape))),
    "negated": lambda shape, _: (shape, torch._neg_view),  # pyright: ignore[reportPrivateImportUsage]
    "shared": lambda shape, _: (shape, lambda t: t),
    "slice": lambda shape, _: (shape, lambda t: t),
}
# how many axes they need
LEAST = {"channels last": 3} | dict.fromkeys(("transposed", "strided", "offset", "expanded", "broadcast"), 1)
# those that torch.func knows
TRANSFORMED = ("plain", "transposed", "strided", "offset", "expanded", "broadcast")


class Tensors:
    """The arguments of a call, or of a member of a batch of calls that differ in the numbers of some sources."""

    def __init__(self, step: Step, built: Built, call: Call, member: int = 0) -> None:
        self.step, self.built, self.call, self.member = step, built, call, member
        self.dim = call.dim % (len(call.shape) + 1)
        self.sources: list[Tensor] = []
        self._layouts = iter(call.layouts * 9)
        self._views: list[tuple[int, View]] = []
        self._shapes: list[tuple[Shape, torch.dtype]] = []
        for name in step.xs:
            stream = (*call.shape[: self.dim], call.T, *call.shape[self.dim :])
            self._add(stream, call.dtype(name, stream=True), self.dim)
        for name in (*step.states, *["float"] * step.full):
            self._add(call.shape, call.dtype(name))
        self.params = [self._parameter(kind) for kind in call.params[: step.numbers]]
        for bit, source in enumerate(self.sources):
            source.requires_grad_(source.is_floating_point() and bool(call.learned >> bit & 1))

    @property
    def learned(self) -> list[Tensor]:
        return [source for source in self.sources if source.requires_grad]

    def is_mapped(self, source: int) -> bool:
        """Whether a source differs between the members of a batch."""
        # of two single numbers, vmap compares in the dtype of the one that it maps
        return source == 0 or not self.call.shape or bool(self.call.seed >> source & 1)

    def arguments(self, copied: bool = False, sources: Sequence[Tensor] = ()) -> tuple[Any, Any, dict[str, Any]]:
        """Return state, inputs and parameters; ``copied`` gives each its own contiguous memory."""
        placed = [view((sources or self.sources)[index]) for index, view in self._views]
        if copied:
            placed = [torch.clone(tensor, memory_format=torch.contiguous_format) for tensor in placed]
        first = len(self.step.xs)
        last = first + len(self.step.states)
        params: dict[str, Any] = {f"f{k}": placed[last + k] for k in range(self.step.full)}
        params |= {f"p{k}": placed[p] if type(p) is int else p[0] for k, p in enumerate(self.params)}
        if self.step.surrogate:
            params["spike"] = SURROGATES[self.call.seed % 3]
        make = self.built.space
        return make["make_State"](*placed[first:last]), make["make_X"](*placed[:first]), params

    def _add(self, shape: Shape, dtype: torch.dtype, time: int | None = None) -> None:
        name = next(self._layouts)
        name = name if self._fits(name, shape, dtype, time) else "plain"
        if name == "shared" and (shape, dtype) in self._shapes:
            self._views.append(self._views[self._shapes.index((shape, dtype))])
        elif name == "slice" and time is None and self._is_step_of_first(shape, dtype):
            source, view = self._views[0]
            self._views.append((source, lambda t, view=view: view(t).select(self.dim, 0)))
        else:
            axes = [axis for axis in range(len(shape)) if axis != time]
            size, view = LAYOUTS[name](shape, axes[self.call.seed % len(axes)] if axes else -1)
            self._views.append((len(self.sources), view))
            self.sources.append(self._filled(size, dtype))
        self._shapes.append((shape, dtype))

    def _fits(self, name: str, shape: Shape, dtype: torch.dtype, time: int | None) -> bool:
        """Whether this tensor can have a layout."""
        fits = name != "broadcast" or (time is not None and not self.step.needs_full_inputs)
        fits &= self.call.mode != "transform" or name in TRANSFORMED
        fits &= name != "negated" or dtype.is_floating_point
        fits &= name != "overlapping" or math.prod(shape) > 0
        return fits and len(shape) >= LEAST.get(name, 0)

    def _is_step_of_first(self, shape: Shape, dtype: torch.dtype) -> bool:
        source, view = self._views[0]
        first = view(self.sources[source])
        of_one_kind = self.call.T > 0 and first.dtype == dtype and first.ndim == len(shape) + 1
        return of_one_kind and first.select(self.dim, 0).shape == shape

    def _parameter(self, kind: str) -> Any:
        """Return a number in a tuple, or the place of a tensor."""
        shape, dtype = self.call.shape, self.call.dtype("float")
        number = 0.6 + 0.1 * (self.call.seed % 5)
        numbers: dict[str, Any] = {"float": number, "int": 1 + self.call.seed % 2, "numpy": np.float64(number)}
        if kind in numbers:
            return (numbers[kind],)
        if kind == "other precision":
            dtype = torch.float32 if dtype == torch.float64 else torch.float64
        row = (*shape[:-1], 1)[: len(shape)]
        shapes: dict[str, Shape] = {"full": shape, "channel": shape[-1:], "row": row, "expanded": (1,) * len(shape)}
        self._views.append((len(self.sources), lambda t: t.expand(shape) if kind == "expanded" else t))
        self.sources.append(self._filled(shapes.get(kind, ()), dtype))
        return len(self._views) - 1

    def _filled(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        index = len(self.sources)
        draw = torch.Generator().manual_seed(1000 * self.call.seed + 2 * index + self.member * self.is_mapped(index))
        random = torch.randn(shape, dtype=torch.float64, generator=draw)
        if dtype == torch.bool:
            return random > 0
        if not dtype.is_floating_point:
            return (2 * random).clamp(-5, 5).abs().to(dtype) if dtype == torch.uint8 else (2 * random).to(dtype)
        if self.call.numbers == "grid":
            random = (4 * random).round() / 4
        elif self.call.numbers == "zeros":
            random = torch.where(random.abs() > 0.6, random, torch.copysign(torch.zeros_like(random), random))
        elif self.call.numbers == "special":
            odd = torch.tensor([math.nan, math.inf, -math.inf, 1e-310, -1e-40, 1e300], dtype=torch.float64)
            which = torch.randint(0, 60, shape, generator=draw)
            random = torch.where(which < len(odd), odd[which.clamp(max=len(odd) - 1)], random)
        return random.to(dtype)


def cotangent(leaf: Tensor, seed: int) -> Tensor:
    """Return random numbers: the same one everywhere, in another layout, or the last ones of the second axis only."""
    draw = torch.Generator().manual_seed(seed)
    if seed % 5 == 0:
        return torch.randn((), generator=draw).to(leaf.dtype).expand(leaf.shape)
    random = torch.randn(leaf.shape, dtype=torch.float64, generator=draw).to(leaf.dtype)
    backwards = [*reversed(range(leaf.ndim))]
    if seed % 5 == 1:
        return random.permute(backwards).contiguous().permute(backwards)
    if seed % 5 == 2 and leaf.ndim > 1:
        random[:, :-1] = 0.0
    return random


def gradients(pairs: Iterable[tuple[Tensor, Tensor]], leaves: Sequence[Tensor], **options: Any) -> Sequence[Tensor]:
    """Return the gradients of leaves for results and their cotangents."""
    learned = [(result, given) for result, given in pairs if result.requires_grad]
    if not learned:
        return [torch.zeros_like(leaf) for leaf in leaves]
    results, given = zip(*learned, strict=True)
    return torch.autograd.grad(results, leaves, given, allow_unused=True, materialize_grads=True, **options)
