"""Calls of operations as a rule sees them: merged from the traces of 7 and of 11 samples.

The two traces differ in the sizes that depend on the batch. In a shape, such a size is a ``Batch(k)``, k times the
batch. Views can merge other axes with the axis of the batch. So the entries of this axis are numbered (outer, batch,
inner), and ``outer`` is kept for each tensor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from spikingtorch.fold.trace import Objection, TracedCall, TracedTensor
from spikingtorch.functional.core.tree import leaves_of, tree_map

# why an operation mixes samples, and the change that keeps them apart
REDUCES = "works along the axis of the batch"
AXES = "work along other axes, so that each sample is computed by itself"
FEW, MORE = 7, 11  # numbers of samples of the two traces


@dataclass(frozen=True, slots=True)
class Batch:
    """A size of k times the batch."""

    k: int


@dataclass(frozen=True, slots=True)
class Value(TracedTensor):
    """A tensor of both traces: one size at most is a Batch, and the strides of an axis are pairs."""

    outer: int = 1  # the factor outside of the batch in the numbering of the axis

    @property
    def axis(self) -> int | None:
        """The axis of the samples; None for a tensor that is the same for all samples."""
        return next((axis for axis, size in enumerate(self.shape) if isinstance(size, Batch)), None)

    @property
    def last(self) -> int | None:
        """The axis of the samples, counted from the end."""
        return None if self.axis is None else self.axis - len(self.shape)

    @property
    def k(self) -> int:
        """The number of entries per sample along this axis."""
        size = None if self.axis is None else self.shape[self.axis]
        return size.k if isinstance(size, Batch) else 0


def merged_size(a: int, b: int) -> int | Batch:
    """Merge the sizes of both traces; raise an objection to one that depends on the batch and is no multiple of it."""
    if a == b:
        return a
    k = a // FEW
    if k * FEW != a or k * MORE != b:
        raise Objection("makes a size of that of the batch which is no multiple of it")
    return Batch(k)


def for_samples(call: TracedCall, N: int) -> TracedCall:
    """Return a call of both traces as a trace of N samples would note it."""

    def size(one: Any) -> Any:
        return one.k * N if isinstance(one, Batch) else one

    def note(one: Any) -> Any:
        if not isinstance(one, Value):
            return size(one)
        strides = [size(merged_size(*each)) for each in one.strides]
        return TracedTensor(
            one.number, tuple(map(size, one.shape)), one.storage, one.dtype, tuple(strides), one.constant
        )

    return tree_map(note, call)


class Operation(NamedTuple):
    """A call of an operation in both traces."""

    call: TracedCall  # in the first trace
    named: dict[str, Any]  # its arguments by name
    tensors: list[Value]  # those that go in
    outs: list[Value]  # those that come out

    @property
    def carrying(self) -> list[Value]:
        """The arguments that differ from sample to sample."""
        return [tensor for tensor in self.tensors if tensor.axis is not None]

    def need(self, condition: object, what: str, remedy: str = "") -> None:
        """Raise an objection unless a condition holds."""
        if not condition:
            raise Objection(f"{what} ({self.call.name})", remedy)

    def dims(self) -> list[int]:
        """Return the axes of the first tensor along which the operation works."""
        found: list[int] = []
        for name in ("dim", "dims", "dim0", "dim1", "dim2", "dimension"):
            dims = self.named.get(name, [])
            found += dims if isinstance(dims, list | tuple) else [dims]
        self.need(found and all(type(dim) is int for dim in found), REDUCES, AXES)
        return [dim % max(len(self.tensors[0].shape), 1) for dim in found]


Rule: TypeAlias = Callable[[Operation], int]  # returns the outer factor of the result


def values_in(tree: Any) -> list[Value]:
    """Return the tensors of a tree of arguments."""
    return [x for x in leaves_of(tree) if isinstance(x, Value)]
