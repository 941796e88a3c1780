"""Compiles printed kernels to machine code ahead of time, which needs Triton and no GPU."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import triton
from triton._C.libtriton import passes
from triton.backends.compiler import GPUTarget

from spikingtorch.functional.fused.build.triton_kernel import Source, compiled
from spikingtorch.functional.fused.codegen import triton as printer
from spikingtorch.functional.fused.ir import Program
from spikingtorch.functional.fused.runtime.gpu import settings

GPUS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_CUOBJDUMP = Path(str(triton.__file__)).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class Compiled(NamedTuple):
    """A kernel in machine code.

    Attributes:
        text: the assembly that it was made of.
        registers: of a lane.
        spilled: bytes or registers of a lane that did not fit, and went to memory.
    """

    text: str
    registers: int
    spilled: int


def both(program: Program, gpu: str) -> tuple[Compiled, Compiled]:
    """Return both passes in machine code, the backward pass with the gradients of all parameters."""
    return compile_forward(program, gpu), compile_backward(program, gpu)


def both_quickly(program: Program, gpu: str) -> tuple[Compiled, Compiled]:
    """Return the same without a pass of Triton that takes half of the time, and widens accesses of aligned arrays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes.ttgpuir, "add_coalesce", lambda _: None)
        return both(program, gpu)


def compile_forward(program: Program, gpu: str) -> Compiled:
    """Return the forward pass in machine code, as it runs with a gradient to come."""
    text, signature = printer.forward_source(program), printer.forward_signature(program)
    without = [f"{letter}{k}_ptr" for letter in "bzw" for k in range(len(program.outs))]
    return _compile("forward", text, signature, gpu, missing=without)


def compile_backward(program: Program, gpu: str) -> Compiled:
    """Return the backward pass in machine code, with the gradients of all parameters."""
    wanted = [True] * len(program.params)
    text, signature = printer.backward_source(program, wanted), printer.backward_signature(program, wanted)
    _, of_xs, of_params = program.split_gradients()
    missing = [f"e{k}_ptr" for k, node in enumerate(of_xs) if node < 0]
    missing += [f"q{k}_ptr" for k, node in enumerate(of_params) if node < 0]
    return _compile("backward", text, signature, gpu, missing)


def _compile(name: str, text: str, signature: dict[str, str], gpu: str, missing: Sequence[str]) -> Compiled:
    source, target = Source(name, text, tuple(signature.items()), tuple(missing)), GPUS[gpu]
    with tempfile.TemporaryDirectory() as folder, triton.knobs.cache.scope():
        triton.knobs.cache.dir = folder
        found = compiled(source, target, settings(target.backend))
    assert "tt.divisibility" not in found.asm["ttir"], "an address is known to be aligned"
    return _of_cuda(found.asm) if target.backend == "cuda" else _of_hip(found.asm)


def _of_cuda(asm: Any) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(asm["cubin"])
        told = subprocess.run([_CUOBJDUMP, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    registers, stack, local = (int(_found(rf"{word}:(\d+)", told)) for word in ("REG", "STACK", "LOCAL"))
    return Compiled(asm["ptx"], registers, stack + local)


def _of_hip(asm: Any) -> Compiled:
    text = asm["amdgcn"]
    # a register that is the same for all lanes spills to lanes of another one, which is not memory and not counted
    spilled = int(_found(r"\.vgpr_spill_count:\s+(\d+)", text))
    spilled += int(_found(r"\.private_segment_fixed_size:\s+(\d+)", text))
    return Compiled(text, int(_found(r"\.vgpr_count:\s+(\d+)", text)), spilled)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern} is not in {text}"
    return match[1]
