"""A processor of AArch64, emulated in the memory of this process: what an address means here, it means there.

A library for AArch64 is laid out in memory of its own, and its functions take what ctypes gives to those of this
machine. They reach memory as far as this process does: pages are lent to the processor as it asks for them. What a
library calls of C's own, memcpy or sin, is called on this machine.
"""

import ctypes
import ctypes.util
import functools
import mmap
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_RELOC_TYPE_AARCH64 as RELOCATIONS
from unicorn import UC_ARCH_ARM64, UC_HOOK_INTR, UC_HOOK_MEM_UNMAPPED, UC_MODE_ARM, UC_PROT_ALL, Uc, UcError
from unicorn import arm64_const as arm

PAGE = mmap.PAGESIZE
STACK = 2**23
# what the call of a function of this machine is in machine code: supervisor call, return
_CALL = struct.pack("<II", 0xD4000001, 0xD65F03C0)
# system registers that let a program use vectors (CPACR_EL1, CPTR_EL2, CPTR_EL3), those of SVE too, which then have 32
# bytes (ZCR_EL1, ZCR_EL2, ZCR_EL3); each by the numbers CRn, CRm, op0, op1, op2
_VECTORS = (
    *(((1, 0, 3, 0, 2), 0x330000), ((1, 1, 3, 4, 2), 0), ((1, 1, 3, 6, 2), 0x100)),
    *(((1, 2, 3, level, 0), 1) for level in (0, 4, 6)),
)
# what libraries call of C's own, with the arguments of mathematics
_MEMORY = {"memcpy": ctypes.memmove, "memmove": ctypes.memmove, "memset": ctypes.memset}
_MATHEMATICS: dict[str, list[Any]] = {
    **{name: [ctypes.c_double] for name in ("log", "log1p", "log2", "log10", "sin", "cos", "erf", "atan")},
    **{name: [ctypes.c_double] * 2 for name in ("pow", "fmod")},
    "fmodf": [ctypes.c_float] * 2,
}


class Memory:
    """Memory of this process that nothing else uses, and that stays."""

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, -(-size // PAGE) * PAGE)
        self.view = memoryview(self._map)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.end = self.start + len(self.view)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes at an address."""
        self.view[address - self.start : address - self.start + len(data)] = data


class Processor:
    """The processor, with a stack and the functions of this machine that its code may call.

    Attributes:
        calls: how often it was called.
    """

    def __init__(self) -> None:
        self._uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self._uc.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)
        self._lock = threading.RLock()
        self._failure: BaseException | None = None
        self._uc.hook_add(UC_HOOK_MEM_UNMAPPED, self._lend)
        self._uc.hook_add(UC_HOOK_INTR, self._serve)
        for place, value in _VECTORS:
            self._uc.reg_write(arm.UC_ARM64_REG_CP_REG, (*place, value))
        self._stack, self._calls = Memory(STACK), Memory(PAGE)
        self._served: list[Callable[[], None]] = []
        self._places: dict[str, int] = {}
        self.calls = 0
        # where a function returns to in the end
        self._end = self._at("")

    def call(self, address: int, integers: tuple[int, ...]) -> int:
        """Call a function of integers, of which eight go into registers, and return an integer."""
        with self._lock:
            uc, self._failure = self._uc, None
            beyond = integers[8:]
            top = self._stack.end - -(-8 * len(beyond) // 16) * 16
            self._stack.write(top, struct.pack(f"<{len(beyond)}Q", *beyond))
            for register, value in enumerate(integers[:8]):
                uc.reg_write(arm.UC_ARM64_REG_X0 + register, value)
            uc.reg_write(arm.UC_ARM64_REG_SP, top)
            uc.reg_write(arm.UC_ARM64_REG_LR, self._end)
            self.calls += 1
            try:
                uc.emu_start(address, self._end)
            except UcError as error:
                place = uc.reg_read(arm.UC_ARM64_REG_PC)
                raise RuntimeError(f"{error} at {place:#x}") from self._failure
            if self._failure is not None:
                raise self._failure
            return int(uc.reg_read(arm.UC_ARM64_REG_X0))

    def symbol(self, name: str) -> int:
        """Return the address of a function of this machine for code of AArch64."""
        if name not in self._places:
            self._places[name] = self._at(name)
        return self._places[name]

    def _at(self, name: str) -> int:
        place = self._calls.start + len(_CALL) * len(self._served)
        self._served.append(self._service(name) if name else lambda: None)
        self._calls.write(place, _CALL)
        return place

    def _service(self, name: str) -> Callable[[], None]:
        """Return what takes a function's arguments from registers, and writes its result there."""
        uc = self._uc
        if name in _MEMORY:
            move = _MEMORY[name]

            def serve() -> None:
                x0, x1, x2 = (int(uc.reg_read(arm.UC_ARM64_REG_X0 + k)) for k in range(3))
                move(x0, x1 & 0xFF if name == "memset" else x1, x2)

            return serve
        if name not in _MATHEMATICS:
            raise NotImplementedError(f"a kernel calls {name}, which is not known here")
        own, kinds = getattr(_mathematics(), name), _MATHEMATICS[name]
        own.argtypes, own.restype = kinds, kinds[0]
        form, size = ("<d", 8) if kinds[0] is ctypes.c_double else ("<f", 4)

        def compute() -> None:
            raw = [int(uc.reg_read(arm.UC_ARM64_REG_D0 + k)).to_bytes(8, "little") for k in range(len(kinds))]
            found = own(*(struct.unpack(form, each[:size])[0] for each in raw))
            uc.reg_write(arm.UC_ARM64_REG_D0, int.from_bytes(struct.pack(form, found), "little"))

        return compute

    def _serve(self, uc: Uc, number: int, data: Any) -> None:
        index = (int(uc.reg_read(arm.UC_ARM64_REG_PC)) - self._calls.start) // len(_CALL)
        if number != 2 or not 0 <= index < len(self._served):
            self._failure = RuntimeError(f"exception {number} at {uc.reg_read(arm.UC_ARM64_REG_PC):#x}")
            uc.emu_stop()
            return
        self._served[index]()

    def _lend(self, uc: Uc, access: int, address: int, size: int, value: int, data: Any) -> bool:
        """Let the processor have the memory around an address, as far as this process has it."""
        for begin, end in _mapped():
            if begin <= address < end:
                for lent_begin, lent_end, _ in uc.mem_regions():
                    if lent_end < address:
                        begin = max(begin, lent_end + 1)
                    if lent_begin > address:
                        end = min(end, lent_begin)
                uc.mem_map_ptr(begin, end - begin, UC_PROT_ALL, ctypes.c_void_p(begin))
                return True
        self._failure = RuntimeError(f"an access of {size} bytes to {address:#x}, where there is no memory")
        return False


def _mapped() -> list[tuple[int, int]]:
    """Return the pieces of memory that this process may write to."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as lines:
        words = [line.split(" ", 2) for line in lines]
    places = [place.split("-") for place, rights, _ in words if rights.startswith("rw")]
    return [(int(begin, 16), int(end, 16)) for begin, end in places]


@functools.cache
def _mathematics() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("m"))


class Function:
    """A function of a library for AArch64, as ctypes has those of this machine."""

    def __init__(self, processor: Processor, address: int) -> None:
        self._processor, self._address = processor, address
        self._as_parameter_ = ctypes.c_void_p(address)
        self.argtypes: tuple[Any, ...] | None = None
        self.restype: Any = ctypes.c_int

    def __call__(self, *given: Any) -> Any:
        """Call it with integers, pointers and arrays."""
        integers = tuple(map(_integer, given))
        found = self._processor.call(self._address, integers)
        return None if self.restype is None else self.restype(found).value


def _integer(value: Any) -> int:
    """Return an argument as a register holds it."""
    if value is None:
        return 0
    if isinstance(value, bytes):
        return ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value or 0
    # byref keeps what it points at
    return value & 0xFFFFFFFFFFFFFFFF if isinstance(value, int) else ctypes.addressof(getattr(value, "_obj", value))


class Library:
    """A shared library for AArch64, laid out in memory.

    Args:
        processor: what runs it.
        path: its file.
    """

    def __init__(self, processor: Processor, path: Path) -> None:
        with path.open("rb") as file:
            elf = ELFFile(file)
            pieces = list(elf.iter_segments("PT_LOAD"))
            self._memory = Memory(max(piece["p_vaddr"] + piece["p_memsz"] for piece in pieces))
            base = self._memory.start
            for piece in pieces:
                self._memory.write(base + piece["p_vaddr"], piece.data())
            symbols = elf.get_section_by_name(".dynsym")
            for name in (".rela.dyn", ".rela.plt"):
                section = elf.get_section_by_name(name)
                for each in section.iter_relocations() if section else ():
                    self._relocate(processor, base, each, symbols.get_symbol(each["r_info_sym"]))
            self._functions = {
                each.name: Function(processor, base + each["st_value"])
                for each in symbols.iter_symbols()
                if each["st_info"]["type"] == "STT_FUNC" and each["st_shndx"] != "SHN_UNDEF"
            }

    def _relocate(self, processor: Processor, base: int, entry: Any, symbol: Any) -> None:
        kind = entry["r_info_type"]
        if kind == RELOCATIONS["R_AARCH64_RELATIVE"]:
            value = base + entry["r_addend"]
        else:
            assert kind in {RELOCATIONS[f"R_AARCH64_{word}"] for word in ("ABS64", "GLOB_DAT", "JUMP_SLOT")}, kind
            known = symbol["st_shndx"] != "SHN_UNDEF"
            value = (base + symbol["st_value"] if known else processor.symbol(symbol.name)) + entry["r_addend"]
        self._memory.write(base + entry["r_offset"], struct.pack("<Q", value))

    def __getattr__(self, name: str) -> Function:
        """Return a function by its name."""
        try:
            return self._functions[name]
        except KeyError:
            raise AttributeError(name) from None
