"""Generated C on microcontrollers in qemu's user mode: equal to the reference, and within the cost that it states."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from spikingtorch.quantize.c import to_c
from spikingtorch.quantize.c.header import CSource
from tests.quantize.c_programs import expected, ran
from tests.quantize.float_networks import random_model

BARE = Path(__file__).parent / "bare"
# flags, in which no library is linked but the compiler's own, which has products of 64 bits
_FREE = ("-std=c99", "-nostdlib", "-static", f"-I{BARE}", "-fno-tree-loop-distribute-patterns", str(BARE / "start.c"))
_ARM = ("-mthumb", "-Ttext=0x10000", "-Wl,-e,_start")


class Machine(NamedTuple):
    """A processor: its compiler with flags, its emulator, and Debian's packages for both."""

    name: str
    compiler: tuple[str, ...]
    emulator: tuple[str, ...]
    packages: str

    def missing(self) -> str:
        """Return what to install, or nothing."""
        if all(shutil.which(command[0]) for command in (self.compiler, self.emulator)):
            return ""
        return f"{self.name} is emulated with Debian's packages, which are not installed: apt install {self.packages}"

    def build(self, source: Path, target: Path, *options: str) -> None:
        """Compile sources of a program that need no C library."""
        command = [*self.compiler, *options, *_FREE, str(source), "-lgcc", "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"

    def instructions(self, program: Path) -> int:
        """Return the number of instructions that a program takes."""
        log = program.with_suffix(".log")
        asked = [*self.emulator, "-one-insn-per-tb", "-d", "exec,nochain", "-D", str(log), str(program)]
        subprocess.run(asked, check=True, stdin=subprocess.DEVNULL)
        with log.open("rb") as lines:
            return sum(line.startswith(b"Trace") for line in lines)


MACHINES = (
    Machine(
        "Cortex-M0",
        ("arm-none-eabi-gcc", "-mcpu=cortex-m0", *_ARM),
        # qemu's user mode has no Cortex-M0, whose instructions a Cortex-M4 has too
        ("qemu-arm", "-cpu", "cortex-m4"),
        "qemu-user gcc-arm-none-eabi",
    ),
    Machine(
        "Cortex-M4",
        ("arm-none-eabi-gcc", "-mcpu=cortex-m4", *_ARM),
        ("qemu-arm", "-cpu", "cortex-m4"),
        "qemu-user gcc-arm-none-eabi",
    ),
    Machine(
        "RV32IMC",
        ("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-mno-relax"),
        ("qemu-riscv32",),
        "qemu-user gcc-riscv64-unknown-elf",
    ),
)


pytestmark = pytest.mark.long
# all events of a step, and K steps
BUSY = """
#include "net.c"
int main(void)
{
    static snn_input in[SNN_INPUTS];
    const snn_output *out;
    uint32_t i;
    int k;
    for (i = 0; i < SNN_INPUTS; i++) TAKE;
    snn_reset();
    for (k = 0; k < K; k++) snn_step(in, SNN_INPUTS, &out);
    return 0;
}
"""


@pytest.fixture(params=MACHINES, ids=[each.name for each in MACHINES])
def machine(request: pytest.FixtureRequest) -> Machine:
    found: Any = request.param
    if found.missing():
        pytest.skip(found.missing())
    return found


def test_microcontrollers_equal_the_reference(machine: Machine, tmp_path: Path) -> None:
    for seed in range(20):
        model, x = random_model(seed)
        x = x[:2, :6]
        found = to_c(model, tmp_path / "net.c", main=True)
        machine.build(found.source, tmp_path / "net", ("-Os", "-O2")[seed % 2])
        assert ran(tmp_path / "net", x, machine.emulator) == expected(model, x), seed


@pytest.mark.parametrize("option", ["-Os", "-O2"])
def test_a_step_takes_no_more_instructions_than_stated(machine: Machine, option: str, tmp_path: Path) -> None:
    for seed in range(200, 210):
        model, _ = random_model(seed)
        found = to_c(model, tmp_path / "net.c")
        taken = _taken(machine, found, model.input_range[1], option)
        assert taken <= found.needs.cost.instructions, seed


def _taken(machine: Machine, found: CSource, value: int, option: str) -> int:
    graded = "} snn_input;" in found.header.read_text()
    take = "in[i].index = (uint8_t)i, in[i].value = VALUE" if graded else "in[i] = (uint8_t)i"
    source = found.source.with_name("busy.c")
    source.write_text(BUSY.replace("TAKE", take.replace("VALUE", str(value))))
    programs = []
    for steps in (2, 3):
        machine.build(source, found.source.with_name("busy"), option, f"-DK={steps}")
        programs.append(machine.instructions(found.source.with_name("busy")))
    return programs[1] - programs[0]
