"""The library's target for GPUs on the CPU: kernels run in Triton's interpreter, and get what a device would get."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from spikingtorch.functional.dispatch import recurrent
from spikingtorch.functional.fused.build.triton_kernel import Loaded, Run, Source, run_text
from spikingtorch.functional.fused.ir import Program, from_text
from spikingtorch.functional.fused.runtime.gpu import TritonKernel
from tests.functional.fused.runtime.recorder import OnTheCPU, handed_to

_NUMBERS = {
    **{"fp32": (np.float32, tl.float32), "fp64": (np.float64, tl.float64)},
    **{"i32": (np.int32, tl.int32), "i64": (np.int64, tl.int64)},
}


class Library:
    """The device's library of functions, of which the interpreter knows none: torch's own, on the same numbers."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(torch, "round" if name == "rint" else name)

        def call(*args: Any) -> Any:
            arrays = [torch.from_numpy(np.ascontiguousarray(arg.handle.data)) for arg in args]
            longest = max(args, key=lambda arg: arg.handle.data.size)
            return tl.core.tensor(TensorHandle(function(*arrays).numpy(), longest.handle.dtype), longest.type)

        return call


def splat(builder: Any, kind: Any, arg: Any) -> Any:
    """Return a number for each lane. The interpreter's own makes a float of the bool that a comparison gives."""
    return TensorHandle(np.full(kind.shape, arg.data), tl.int1 if arg.data.dtype == bool else arg.dtype.scalar)


@cache
def interpretable(text: str) -> dict[str, Any]:
    """Return what a kernel's text defines, to be interpreted."""
    before = triton.knobs.runtime.interpret
    triton.knobs.runtime.interpret = True
    try:
        found = run_text(text)
    finally:
        triton.knobs.runtime.interpret = before
    found["lib"] = Library()
    return found


class Interpreted:
    """A kernel in the interpreter, which takes the arguments that a device takes: addresses, and Python's numbers.

    Args:
        source: the kernel.
        block: lanes of a program; None stands for all neurons in one.
    """

    def __init__(self, source: Source, block: int | None) -> None:
        self._run = interpretable(source.text)[source.name]
        self._kinds = [kind for name, kind in source.types if name != "BLOCK"]
        self._missing = [name in source.missing for name, _ in source.types if name != "BLOCK"]
        self._block = block

    def launcher(self, lanes: int) -> Run:
        """Return what runs the kernel for so many lanes."""
        # the interpreter takes as long for one lane as for many
        block = self._block or 1 << (lanes - 1).bit_length()

        def launch(arguments: Sequence[Any]) -> None:
            triples = zip(arguments, self._kinds, self._missing, strict=True)
            values = [None if missing else _value(given, kind) for given, kind, missing in triples]
            with np.errstate(all="ignore"):
                self._run[-(-lanes // block),](*values, block)

        return launch


def _value(given: Any, kind: str) -> Any:
    """Return an argument as a kernel gets it; of its own accord the interpreter would take it for something else."""
    if kind[0] == "*":
        assert type(given) is int, f"got {given!r} for an address"
        own = tl.str_to_ty(kind, None)
        return tl.core.tensor(TensorHandle(np.array([given], np.uint64), own), own)
    of_numpy, of_triton = _NUMBERS[kind]
    return tl.core.tensor(TensorHandle(np.array([given], of_numpy), of_triton), of_triton)


class Interpreter(OnTheCPU):
    """A target whose kernels run in the interpreter.

    Attributes:
        chunk: steps between two stored states, if they are to be others than the library's.
        block: lanes of a program; None stands for all neurons in one.
        launches: how many kernels were asked for.
    """

    shortest_run, launches = 1, 0
    chunk: int | None = None
    block: int | None = None

    def chunk_of(self, program: Program) -> int:
        """Return how many steps lie between two stored states."""
        return self.chunk or super().chunk_of(program)

    def forward(self, program: str) -> TritonKernel:
        """Return the forward pass of a program."""
        self.launches += 1
        return TritonKernel(self, from_text(program), None)

    def backward(self, program: str, wanted: tuple[bool, ...]) -> TritonKernel:
        """Return the backward pass of a program."""
        self.launches += 1
        return TritonKernel(self, from_text(program), wanted)

    def load(self, source: Source, device: torch.device) -> Loaded:
        """Return a kernel in the interpreter."""
        assert device.type == self.device
        return Interpreted(source, self.block).launcher


@contextmanager
def interpreted() -> Iterator[Interpreter]:
    """Run fused scans in the interpreter."""
    target = Interpreter()
    with handed_to(target) as patch:
        patch.setattr(InterpreterBuilder, "create_splat", splat)
        # the loop in C is for the CPU alone
        patch.setattr(recurrent, "runs_in_c", lambda *_: False)
        yield target
