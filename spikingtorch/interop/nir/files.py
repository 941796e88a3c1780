"""Read NIR files of other authors: sizes are checked before anything is loaded."""

import math
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from spikingtorch.interop.nir.errors import NIRError

# bytes that the arrays of a file may take in memory
LIMIT = 2 * 1024**3
_DEEPEST, _MOST = 64, 1_000_000


def read(path: str | Path, limit: int = LIMIT) -> nir.NIRGraph:
    """Return the graph of a file.

    A NIR file is HDF5: arrays by name. All entries are checked before it is loaded. Too large arrays, links to other
    files, and types that hold Python objects are refused.

    Args:
        path: of the file.
        limit: bytes that its arrays may take in memory.

    Raises:
        NIRError: the file is not a NIR file, is damaged, or takes more than the limit.
        FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            link = file.get("node", getlink=True) if "node" in file else None
            if link is not None and not isinstance(link, h5py.HardLink):
                raise NIRError(f"{path}: /node is a link to somewhere else, which is not followed")
            if link is None or not isinstance(file["node"], h5py.Group):
                raise NIRError(f"{path} is an HDF5 file, but no graph of NIR is in it")
            _FileWalk(limit, path).group(file["node"], 0)
            kind = file.get("node/type")
            found = kind[()] if isinstance(kind, h5py.Dataset) else None
            if found != b"NIRGraph":
                raise NIRError(f"{path} holds no graph, but {'nothing' if found is None else repr(found)}")
        # shapes are checked when the graph becomes a network; the check of nir 1.0.8 does not support groups of
        # convolutions
        graph: nir.NIRGraph = nir.read(path, type_check=False)
    except NIRError:
        raise
    except Exception as error:  # h5py and nir may raise any error for a damaged file
        raise NIRError(f"{path} cannot be read as a NIR file ({type(error).__name__}: {error})") from error
    return graph


class _FileWalk:
    """Walk through a file and sum up the memory of its arrays."""

    def __init__(self, limit: int, path: Path) -> None:
        self.limit, self.path = limit, path
        self.bytes = self.entries = 0

    def group(self, group: Any, depth: int) -> None:
        """Check all entries of a group; raise NIRError if one must not be loaded."""
        if depth > _DEEPEST:
            raise NIRError(f"{self.path}: groups lie more than {_DEEPEST} deep in each other")
        for name in group:
            self.entries += 1
            if self.entries > _MOST:
                raise NIRError(f"{self.path}: more than {_MOST:,} entries")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise NIRError(f"{self.path}: {group.name}/{name} is a link to somewhere else, which is not followed")
            entry = group.get(name)
            if isinstance(entry, h5py.Group):
                self.group(entry, depth + 1)
            else:
                self.array(entry)

    def array(self, entry: Any) -> None:
        """Raise NIRError if an array is too large, or holds anything but numbers and text."""
        if not isinstance(entry, h5py.Dataset):
            raise NIRError(f"{self.path}: {entry!r} is no array")
        if entry.shape is None:
            return
        dtype = entry.dtype
        text = h5py.check_string_dtype(dtype) is not None
        if not text and (dtype.kind not in "fiubS" or dtype.names):
            raise NIRError(f"{self.path}: {entry.name} holds values of type {dtype}, expected numbers or text")
        if entry.external or entry.is_virtual:
            raise NIRError(f"{self.path}: {entry.name} keeps its numbers in another file, which is not opened")
        self.bytes += math.prod(entry.shape) * np.dtype(dtype).itemsize
        if self.bytes > self.limit:
            raise NIRError(
                f"{self.path}: its arrays take more than {self.limit:,} bytes; read(path, limit=...) allows more"
            )
