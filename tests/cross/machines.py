"""Whose machine code the library runs: this machine's own, or that of AArch64 in the emulator."""

import functools
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spikingtorch.functional.fused.build import cache
from spikingtorch.functional.fused.recurrent import c_abi as recurrent
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.functional.sparse import c_abi as sparse
from spikingtorch.functional.sparse import kernels
from tests.caches import forget
from tests.cross.build import library_of
from tests.cross.emulator import Library, Processor

# vectors of 16 bytes on this machine too, and a product and a sum that are rounded once
AS_AARCH64 = """
#undef __AVX512F__
#undef __AVX2__
#undef __AVX__
#undef __FMA__
#define __FMA__ 1
"""
_CACHES: tuple[Any, ...] = (
    *(cpu.forward_kernel, cpu.backward_kernel, cpu._failure, cpu._begin_backward),
    *(recurrent.functions, sparse.functions, kernels._lanes),
)


@contextmanager
def kernels_of(library: Callable[[str], Any]) -> Iterator[None]:
    """Run the kernels that a function returns for their texts."""
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        for module in (cpu, recurrent, sparse):
            patch.setattr(module, "library", library)
        for each in _CACHES:
            each.cache_clear()
        yield
    for each in _CACHES:
        each.cache_clear()


def of_this_machine(source: str) -> Any:
    """Return a library of this machine, in the form of AArch64 where the text chooses."""
    return cache.library(AS_AARCH64 + source)


class Emulated:
    """Makes libraries for AArch64, each text once, and runs them.

    Args:
        cpu_name: the processor that they are compiled for, as clang calls it.
    """

    def __init__(self, cpu_name: str) -> None:
        self.processor, self._cpu = Processor(), cpu_name
        self._folder = tempfile.TemporaryDirectory(prefix="spikingtorch-cross-")
        self._lock, self._made = threading.Lock(), dict[str, Library]()

    def __call__(self, source: str) -> Library:
        """Return the library of a text."""
        with self._lock:  # a backward pass is compiled beside a forward pass
            if source not in self._made:
                path = Path(self._folder.name, f"{len(self._made)}.so")
                library_of(source, path, self._cpu)
                self._made[source] = Library(self.processor, path)
            return self._made[source]


@functools.cache
def emulated(cpu_name: str = "generic") -> Emulated:
    """Return what makes libraries for a processor; each is there once."""
    return Emulated(cpu_name)
