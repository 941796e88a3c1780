"""Microcontrollers in qemu's user mode: Cortex-M0, Cortex-M4 and RV32, with Debian's compilers."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

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
