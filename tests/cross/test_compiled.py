"""Every text is compiled without a warning for Linux and macOS on AArch64 and for Windows, with and without OpenMP."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from spikingtorch.functional.fused.build.openmp import ATTEMPTS, with_runtime
from spikingtorch.functional.fused.codegen import c
from spikingtorch.functional.fused.runtime.recurrent import c_abi as recurrent
from spikingtorch.functional.sparse import c_abi as sparse
from spikingtorch.verification.cases import CASES, Case, by_name
from tests.cross import build
from tests.cross.build import LINUX, MACOS, OF_TORCH, PRINTED, SERIAL, WINDOWS, CompilerError, object_of
from tests.programs import of_neuron

LIF = next(case for case in CASES if case.name == "lif")


class Target(NamedTuple):
    """A processor with its system, and the flags of a compiler that has OpenMP or has it not."""

    cpu: str
    system: str
    options: tuple[str, ...]

    def check(self, source: str, folder: Path, *options: str) -> None:
        """Assert that a text is compiled without a warning."""
        object_of(with_runtime(source), folder / "kernels.o", self.cpu, (*self.options, *options), self.system)


LINUX_TARGET = Target("generic", LINUX, ATTEMPTS[0])
TARGETS = {
    "linux": LINUX_TARGET,
    "macos": Target("apple_m1", MACOS, OF_TORCH),
    "macos, one thread": Target("apple_m1", MACOS, SERIAL),
    "windows": Target("x86_64_v3", WINDOWS, OF_TORCH),
}
LIBRARIES: dict[str, Any] = {
    "macos": lambda text, path: build.program_of(text, path, "apple_m1", MACOS, "-shared"),
    "windows": lambda text, path: build.dll_of(text, path, "x86_64_v3"),
}
TEXTS = {
    "sparse": sparse.source,
    "recurrent-float32": lambda: recurrent.source(torch.float32),
    "recurrent-float64": lambda: recurrent.source(torch.float64),
}
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


def check_program(program: Any, target: Target, folder: Path) -> None:
    """Assert that both passes are compiled, with the gradients of all parameters."""
    for text in (c.forward_source(program), c.backward_source(program, [True] * len(program.params))):
        target.check(text, folder, *PRINTED)


@every_target
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_what_is_written_by_hand(text: Any, target: Target, tmp_path: Path) -> None:
    target.check(text(), tmp_path)


@every_target
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(case: Case, target: Target, tmp_path: Path) -> None:
    check_program(of_neuron(case), target, tmp_path)


@every_target
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_dtypes(dtype: torch.dtype, target: Target, tmp_path: Path) -> None:
    half = None if dtype == torch.float64 else dtype
    check_program(of_neuron(LIF, torch.float64 if half is None else torch.float32, half), target, tmp_path)


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_libraries_lack_nothing(text: Any, make: Any, tmp_path: Path) -> None:
    """All that clang calls for OpenMP is in the library itself: these linkers refuse one that calls anything else."""
    make(text(), tmp_path / "library")
    incomplete = "int missing(void);\nint answer(void) { return missing(); }"
    with pytest.raises(CompilerError, match="missing"):
        make(incomplete, tmp_path / "incomplete")


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_loops_take_as_many_variables_as_there_is_room_for(text: Any, tmp_path: Path) -> None:
    """What clang hands to the body of a loop, openmp.h hands on."""
    assert_room_for_variables(text(), tmp_path)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_loops_of_neurons_take_few_variables(case: Case, tmp_path: Path) -> None:
    assert_room_for_variables(c.forward_source(of_neuron(case)), tmp_path)


def assert_room_for_variables(text: str, folder: Path) -> None:
    object_of(text, folder / "kernels.ll", "generic", (*OF_TORCH, *PRINTED, "-S", "-emit-llvm"))
    numbers = re.findall(r"call void .*@__kmpc_fork_call\(ptr [^,]*, i32 (\d+)", (folder / "kernels.ll").read_text())
    (room,) = re.findall(r"#define MOST (\d+)", with_runtime(""))
    assert numbers
    assert max(map(int, numbers)) <= int(room)


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match="unused variable"):
        LINUX_TARGET.check("int answer(void) { int unused; return 42; }", tmp_path)
