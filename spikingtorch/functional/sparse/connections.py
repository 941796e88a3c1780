"""Which neurons are connected: the places of a sparse matrix's entries, sorted once."""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.threads import threads_for
from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler

_NAMES = {torch.float32: "float", torch.float64: "double"}
# kernels count neurons in 32 bits
_MOST = 2**31 - 1


class Connections:
    """The edges of a sparse matrix of shape (receivers, senders), sorted by sender and then by receiver.

    An edge that is given twice stays two, and their weights add. Nothing in it changes, and no two objects are equal.

    Args:
        indices: the receiver and the sender of each edge, whole numbers of shape (2, E), as of a sparse tensor in COO.
        shape: the number of receivers and of senders, each at most 2^31 - 1.

    Attributes:
        indices: as above, sorted.
        order: the place of each sorted edge among those that were given, shape (E,): ``weight[order]`` sorts weights.

    Raises:
        TypeError: indices are no tensor of whole numbers.
        ValueError: their shape is another one, or an index is out of range.

    >>> edges = Connections(torch.tensor([[1, 0], [2, 0]]), (2, 3))
    >>> edges.indices.tolist(), edges.order.tolist()
    ([[0, 1], [0, 2]], [1, 0])
    """

    __slots__ = ("_record", "_starts", "indices", "order", "shape")

    def __init__(self, indices: Tensor, shape: Sequence[int]) -> None:
        _check(indices, shape)
        self.shape: tuple[int, int] = (int(shape[0]), int(shape[1]))
        receivers, senders = indices.detach().cpu().long()
        keys = senders * self.shape[0] + receivers
        self.order = keys.sort(stable=True).indices
        self.indices = torch.stack([receivers, senders])[:, self.order].int()
        counts = senders.bincount(minlength=self.shape[1])
        self._starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def __len__(self) -> int:
        return self.indices.shape[1]

    def __repr__(self) -> str:
        return f"Connections({len(self)} edges, shape={self.shape})"

    def __reduce__(self) -> Any:
        return Connections, (self.indices, self.shape)

    def record(self, rows: int) -> "Edges":
        """Return the edges for the kernels, for so many rows."""
        receivers, senders = self.shape
        threads = threads_for(rows * (senders + len(self)))
        return Edges(threads, rows, senders, receivers, self._starts.data_ptr(), self.indices.data_ptr())


class Edges(ctypes.Structure):
    """The edges as connections.h has them."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("threads", "rows", "senders", "receivers")),
        *((name, ctypes.c_void_p) for name in ("starts", "receiver")),
    ]


@lru_cache(maxsize=2)
def functions(dtype: torch.dtype) -> Any:
    """Return the functions of connections.h for a dtype, or None if there are none."""
    if dtype not in _NAMES:
        return None
    package = resources.files("spikingtorch.functional")
    parts = [(package / name).read_text() for name in ("fused/build/float_mode.h", "sparse/connections.h")]
    try:
        found = library(f"typedef {_NAMES[dtype]} real;\n" + "\n".join(parts))
    except (NoCompiler, CompileError):
        return None
    pointers: list[Any] = [ctypes.POINTER(Edges), *[ctypes.c_void_p] * 3]
    found.to_receivers.argtypes = found.to_edges.argtypes = [*pointers, ctypes.c_int64]
    found.to_senders.argtypes = pointers
    for run in (found.to_receivers, found.to_senders, found.to_edges):
        run.restype = None
    return found


def _check(indices: Any, shape: Sequence[int]) -> None:
    """Raise an error unless indices are places of a matrix of this shape."""
    if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.is_complex():
        kind = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
        raise TypeError(f"Connections: indices are {kind}, expected a tensor of whole numbers, shape (2, edges)")
    if indices.ndim != 2 or len(indices) != 2:
        raise ValueError(
            f"Connections: indices have shape {tuple(indices.shape)}, expected (2, edges): receivers, then senders"
        )
    if len(shape) != 2 or not all([0 <= size <= _MOST for size in shape]):
        raise ValueError(f"Connections: shape={tuple(shape)}, expected (receivers, senders), each at most {_MOST}")
    for name, places, size in zip(("receiver", "sender"), indices, shape, strict=True):
        wrong = ((places < 0) | (places >= size)).nonzero()
        if len(wrong):
            edge = int(wrong[0])
            raise ValueError(
                f"Connections: the {name} of edge {edge} is {int(places[edge])}, expected 0 to {size - 1} "
                f"for shape={tuple(shape)}; indices are receivers, then senders, both counted from 0"
            )
