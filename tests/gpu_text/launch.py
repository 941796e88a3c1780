"""Runs kernels that are printed as Triton on the CPU, in Triton's interpreter: a target of the runtime, for tests."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from spikingtorch.functional.core.modes import plain_keys
from spikingtorch.functional.fused.codegen import triton as printer
from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, Group, numbers
from spikingtorch.functional.fused.codegen.triton_layout import walker
from spikingtorch.functional.fused.ir import Program, from_text
from spikingtorch.functional.fused.runtime import targets
from spikingtorch.functional.fused.runtime.target import Kernel, Launch, Target
from tests.caches import forget

_HEADER, _RECORD = 5 + AXES, 3 + AXES
_FLOATS = {"fp32": (np.float32, tl.float32), "fp64": (np.float64, tl.float64)}
_INTEGERS = {"i32": (np.int32, tl.int32), "i64": (np.int64, tl.int64)}
_SCALARS = _FLOATS | _INTEGERS


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
def folder() -> Path:
    """Return where the text of kernels lies, which Triton reads from files alone."""
    return Path(tempfile.mkdtemp(prefix="gpu_text"))


@cache
def loaded(text: str, *, interpret: bool) -> Any:
    """Return the module of a kernel's text, to be interpreted or to be compiled."""
    name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:20]}_{interpret}"
    path = folder() / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = triton.knobs.runtime.interpret
    triton.knobs.runtime.interpret = interpret
    try:
        spec.loader.exec_module(module)
    finally:
        triton.knobs.runtime.interpret = before
    if interpret:
        module.__dict__["lib"] = Library()
    return module


class InterpretedLaunch(Launch):
    """A kernel with the records of its arrays.

    Args:
        run: the kernel in the interpreter.
        signature: its arguments and their types.
        names: of the arrays that there are, in order.
        sizes: the arguments that are whole numbers.
        block: lanes of a program.
    """

    def __init__(
        self, run: Any, signature: dict[str, str], names: Sequence[str], sizes: dict[str, int], block: int
    ) -> None:
        self._run, self._signature, self._names, self._sizes, self._block = run, signature, names, sizes, block

    def __call__(self, arrays: Sequence[Tensor], scalars: Sequence[float]) -> bool:
        """Run on arrays. Whether inputs are finite no kernel on a device says: nothing is looked up on the host."""
        given: dict[str, Any] = {f"{name}_ptr": array for name, array in zip(self._names, arrays, strict=True)}
        for name, kind in self._signature.items():
            if kind in _FLOATS:
                given[name] = _number(scalars[int(name[1:].split("_")[0])], kind)
            elif kind in _INTEGERS:
                given[name] = _number(self._sizes[name], kind)
        given["BLOCK"] = self._block
        programs = -(-self._sizes["total"] // self._block)
        with np.errstate(all="ignore"):
            self._run[(programs,)](*[given.get(name) for name in self._signature])
        return True

    def stepper(self, slices: Sequence[tuple[int, int]], scalars: Sequence[float]) -> NoReturn:
        """Refuse: a recurrent loop hands over addresses, and the interpreter takes tensors."""
        raise NotImplementedError


def _number(value: float, kind: str) -> Any:
    """Return a number as a kernel gets it, which Python's own would not be in the interpreter."""
    of_numpy, of_triton = _SCALARS[kind]
    return tl.core.tensor(TensorHandle(np.array([value], of_numpy), of_triton), of_triton)


class InterpretedKernel(Kernel):
    """A pass of a program, printed for as many axes of a batch as a launch has.

    Args:
        program: the program.
        wanted: for each parameter, whether its gradient is; None stands for a forward pass.
        target: what says how many steps a chunk has, and how many lanes a program.
    """

    def __init__(self, program: Program, wanted: tuple[bool, ...] | None, target: "Interpreter") -> None:
        self._program, self._wanted, self._chunk, self._target = program, wanted, target.chunk, target

    def launch(self, records: Sequence[int], pointers: Sequence[int], neuron_steps: int) -> InterpretedLaunch:
        """Return what runs the pass on arrays that lie as recorded."""
        axes, wanted = max(1, records[4]), self._wanted
        if wanted is None:
            text, name = printer.forward_source(self._program, axes, self._chunk), "forward"
            signature = printer.forward_signature(self._program, axes)
        else:
            text, name = printer.backward_source(self._program, wanted, axes, self._chunk), "backward"
            signature = printer.backward_signature(self._program, wanted, axes)
        there, sizes = _sizes(FORWARD if wanted is None else BACKWARD, self._program, axes, records, pointers)
        # the interpreter takes as long for one lane as for many
        block = self._target.block or 1 << (sizes["total"] - 1).bit_length()
        return InterpretedLaunch(getattr(loaded(text, interpret=True), name), signature, there, sizes, block)


def _sizes(
    groups: tuple[Group, ...], program: Program, axes: int, records: Sequence[int], pointers: Sequence[int]
) -> tuple[list[str], dict[str, int]]:
    """Return the names of the arrays that there are, and the sizes and strides of all."""
    _, steps, neurons, rows, _, *batch = records[:_HEADER]
    sizes = {"steps": steps, "total": rows * neurons, "neurons": neurons}
    sizes |= {f"size{axis}": batch[axis] for axis in range(1, axes)}
    there: list[str] = []
    walked: set[str] = set()
    for name, number in numbers(groups, program).items():
        start = _HEADER + number * _RECORD
        _, step, neuron, *strides = records[start : start + _RECORD]
        if start in pointers or walker(name) not in walked:
            own = {f"{walker(name)}_step": step, f"{walker(name)}_neuron": neuron}
            own |= {f"{walker(name)}_b{axis}": strides[axis] for axis in range(axes)}
            assert walker(name) not in walked or own.items() <= sizes.items(), f"{name} lies in another way"
            sizes |= own
        if start in pointers:
            there.append(name)
            walked.add(walker(name))
    return there, sizes


class Interpreter(Target):
    """Kernels in Triton's interpreter, on tensors of the CPU.

    Attributes:
        chunk: steps between two stored states of the program that runs next.
        block: lanes of a program; None stands for all neurons in one.
        launches: how many kernels were asked for.
    """

    device, dispatch_key = "cpu", "CPU"
    plain = plain_keys("cpu")
    chunk, shortest_run, launches = 8, 1, 0
    block: int | None = None

    def forward(self, program: str) -> InterpretedKernel:
        """Return the forward pass of a program."""
        self.launches += 1
        return InterpretedKernel(from_text(program), None, self)

    def backward(self, program: str, wanted: tuple[bool, ...]) -> InterpretedKernel:
        """Return the backward pass of a program."""
        self.launches += 1
        return InterpretedKernel(from_text(program), wanted, self)

    def failure(self, program: str) -> None:
        """Return None: what fails is to be seen in the test."""

    def begin_backward(self, program: str, wanted: tuple[bool, ...]) -> None:
        """Do nothing: a text is printed at once."""

    def gathers_time(self, before: int, after: int, steps: int) -> bool:
        """Return False: strides are to be walked."""
        return False


@contextmanager
def interpreted() -> Iterator[Interpreter]:
    """Run fused scans in the interpreter."""
    target = Interpreter()
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        patch.setattr(InterpreterBuilder, "create_splat", splat)
        patch.setattr(targets, "TARGETS", (target,))
        patch.setattr(targets, "_BY_DEVICE", {target.device: target})
        yield target
