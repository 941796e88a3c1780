"""GPUs: programs printed as Triton, for CUDA and ROCm, launched on torch's current stream.

A build of torch for ROCm calls its devices "cuda" as well. Triton says which of the two it compiles for.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import are_plain, plain_keys
from spikingtorch.functional.core.torch_private import profiler_enabled
from spikingtorch.functional.fused.build import triton_kernel
from spikingtorch.functional.fused.build.triton_kernel import Loaded, NoKernel, Run, Settings, Source
from spikingtorch.functional.fused.codegen import triton as printer
from spikingtorch.functional.fused.codegen.abi import BACKWARD, FORWARD
from spikingtorch.functional.fused.ir import Program, from_text
from spikingtorch.functional.fused.runtime.target import Kernel, Launch, Target
from spikingtorch.functional.fused.runtime.triton_arguments import Arguments, arguments

# adjacent neurons that a warp reads at once in float32; with fewer, a copy is made
_SHORTEST_RUN = 32


class TritonLaunch(Launch):
    """A kernel with the arguments of its arrays, except their addresses; ``name`` is the kind of pass."""

    def __init__(self, name: str, run: Run, arguments: Arguments) -> None:
        self._name, self._run, self._arguments = name, run, arguments

    def __call__(self, arrays: Sequence[Tensor], scalars: Sequence[float]) -> bool:
        """Run on arrays. Inputs are not checked for finite values, because the host would wait for the device."""
        values = self._arguments.filled([array.data_ptr() for array in arrays], scalars)
        if profiler_enabled():
            with torch.profiler.record_function(f"spikingtorch::scan_{self._name}"):
                self._run(values)
        else:
            self._run(values)
        return True

    def stepper(self, slices: Sequence[tuple[int, int]], scalars: Sequence[float]) -> Callable[[int], None]:
        """Return what runs the kernel on one slice of its arrays, by number."""
        run, values = self._run, self._arguments.filled([start for start, _ in slices], scalars)
        moving = [
            (place, start, stride)
            for places, (start, stride) in zip(self._arguments.arrays, slices, strict=True)
            for place in places
        ]

        def step(index: int) -> None:
            for place, start, stride in moving:
                values[place] = start + index * stride
            run(values)

        return step


class TritonKernel(Kernel):
    """A pass of a program; its kernel is printed once the number of batch axes is known.

    ``wanted`` says for each parameter whether its gradient is wanted; None stands for a forward pass.
    """

    def __init__(self, target: "TritonTarget", program: Program, wanted: tuple[bool, ...] | None) -> None:
        self._target, self._program, self._wanted = target, program, wanted
        self._chunk = target.chunk_of(program)
        self._groups = FORWARD if wanted is None else BACKWARD
        self._printed: dict[int, Source] = {}

    def launch(
        self,
        records: Sequence[int],
        pointers: Sequence[int],
        neuron_steps: int,  # noqa: ARG002 - the CPU divides them among threads
        device: torch.device,
    ) -> TritonLaunch:
        """Return the launch of the pass, compiled and loaded for the device."""
        source = self.source(max(1, records[4]))
        found = arguments(self._groups, self._program, dict(source.types), self._chunk, records, pointers)
        kernel = self._target.load(source._replace(missing=found.missing), device)
        return TritonLaunch(source.name, kernel(found.lanes), found)

    def source(self, axes: int = 1) -> Source:
        """Return the kernel for a number of batch axes, with all of its arrays."""
        if axes not in self._printed:
            program, wanted, chunk = self._program, self._wanted, self._chunk
            if wanted is None:
                name, text = "forward", printer.forward_source(program, axes, chunk)
                types = printer.forward_signature(program, axes)
            else:
                name, text = "backward", printer.backward_source(program, wanted, axes, chunk)
                types = printer.backward_signature(program, wanted, axes)
            self._printed[axes] = Source(name, text, tuple(types.items()))
        return self._printed[axes]


class TritonTarget(Target):
    """Triton on GPUs."""

    device, dispatch_key = "cuda", "CUDA"
    shortest_run = _SHORTEST_RUN

    def holds(self, tensors: Iterable[Any]) -> bool:
        """Return True if all tensors are plain ones on GPUs; a process without such tensors asks no device."""
        return torch.cuda.is_initialized() and are_plain(tensors, plain_keys(self.device))

    def chunk_of(self, program: Program) -> int:
        """Return the number of steps between two states that a forward pass keeps."""
        return printer.chunk_of(program)

    def forward(self, program: str) -> TritonKernel:
        """Return the forward pass of a program."""
        return _kernel(self, program, None)

    def backward(self, program: str, wanted: tuple[bool, ...]) -> TritonKernel:
        """Return the backward pass of a program, with the gradients of the wanted parameters."""
        return _kernel(self, program, wanted)

    def load(self, source: Source, device: torch.device) -> Loaded:
        """Return a kernel on a device; raise NoKernel if that fails, RuntimeError while a CUDA graph is captured."""
        _check_no_capture()
        return _loaded(source, device.index)

    def settle(self, device: torch.device) -> None:
        """Wait for the current stream, because a later call may use another one; raise RuntimeError in a CUDA graph."""
        _check_no_capture()
        torch.cuda.current_stream(device).synchronize()

    def failure(self, program: str) -> str | None:
        """Return why the forward pass of a program cannot be compiled, or None."""
        return _failure(self, program)

    def begin_backward(self, program: str, wanted: tuple[bool, ...]) -> None:
        """Do nothing: Triton's compiler is Python, and a second thread would only make the forward pass wait."""

    def gathers_time(self, before: int, after: int, steps: int) -> bool:  # noqa: ARG002
        """Return False: lanes read any layout by its strides."""
        return False


GPU = TritonTarget()


def settings(backend: str) -> Settings:
    """Return the compiler options of a kernel for one of Triton's backends."""
    return Settings(printer.EXACT_OPTIONS[backend], printer.BLOCK[backend])


def _check_no_capture() -> None:
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "scan: got tensors of a form that is new to it while a CUDA graph is captured, and a kernel cannot be "
            "loaded then. Call it once, with gradients if the graph has them, before the capture"
        )


@lru_cache(maxsize=512)
def _kernel(target: TritonTarget, program: str, wanted: tuple[bool, ...] | None) -> TritonKernel:
    return TritonKernel(target, from_text(program), wanted)


@lru_cache(maxsize=1024)
def _loaded(source: Source, index: int) -> Loaded:
    return triton_kernel.loaded(source, index, settings)


@lru_cache(maxsize=256)
def _failure(target: TritonTarget, program: str) -> str | None:
    """Compile a forward pass for training, which keeps states; return the error, if there is one."""
    source = target.forward(program).source()
    missing = tuple([f"{letter}{k}_ptr" for letter in "bzw" for k in range(len(from_text(program).outs))])
    index = torch.cuda.current_device() if torch.cuda.is_available() else 0
    try:
        target.load(source._replace(missing=missing), torch.device(target.device, index))
    except NoKernel as error:
        return str(error)
    return None
