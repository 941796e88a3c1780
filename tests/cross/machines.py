"""Whose machine code the library runs: that of ziglang or the system's compiler here, or that of AArch64, emulated."""

import functools
import shlex
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from spikingtorch.functional.core import threads
from spikingtorch.functional.fused.build import cache
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.functional.fused.runtime.recurrent import c_abi as recurrent
from spikingtorch.functional.sparse import c_abi as sparse
from spikingtorch.functional.sparse import kernels
from tests.cross.build import ZIG, library_of
from tests.cross.emulator import Library, Processor
from tests.fused import assert_same_bits
from tests.surroundings import forget, on_threads

# vectors of 16 bytes on this machine too, and a product and a sum that are rounded once
AS_AARCH64 = """
#pragma GCC optimize ("O0")
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


class Machine(Protocol):
    """Runs kernels, which have to give the bits of this machine's own."""

    def same(self, run: Callable[[], Any]) -> Any:
        """Assert that what runs has the same bits as on this machine, and return it."""


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

    def same(self, run: Callable[[], Any]) -> Any:
        """Assert that what runs has the bits of this machine in the emulator, and return it."""
        before = self.processor.calls
        with kernels_of(self):
            got = run()
        assert self.processor.calls > before, "no kernel ran in the emulator"
        with kernels_of(of_this_machine):
            want = run()
        assert_same_bits(got, want)
        return got


class Zig:
    """Kernels of the package ziglang on this machine, beside those of the system's compiler, on several threads.

    Its compiler has no library of OpenMP: its kernels share their work between torch's threads.
    """

    def library(self, source: str, cc: str = f"{shlex.quote(str(ZIG))} cc") -> Any:
        """Return a library that a compiler makes, ziglang's by default."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CC", cc)
            return cache.library(source)

    def same(self, run: Callable[[], Any]) -> Any:
        """Assert that what runs has the same bits from either compiler, on threads that torch has as well."""
        got: Any = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threads, "SERIAL", 0)  # work is shared however little there is
            for number in (1, 3):
                with on_threads(number):
                    with kernels_of(functools.partial(self.library, cc="")):
                        want = run()
                    with kernels_of(self.library):
                        got = run()
                assert_same_bits(got, want)
        return got


@functools.cache
def emulated(cpu_name: str = "generic") -> Emulated:
    """Return what makes libraries for a processor; each is there once."""
    return Emulated(cpu_name)
