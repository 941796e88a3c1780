"""The arguments of a Triton kernel, and the place of a lane's neuron in each array."""

from collections.abc import Iterable, Mapping, Sequence

from spikingtorch.functional.fused.codegen.abi import Group, arrays
from spikingtorch.functional.fused.codegen.triton_expressions import SIGNATURE, TYPE
from spikingtorch.functional.fused.ir import Program

# arguments that may exceed 32 bits, so that one kernel serves small and large tensors
_SIZES = {"steps": "i32", "total": "i64", "neurons": "i64"}
# Arrays that the runtime creates have the same layout: one for arrays over time, one for arrays without time. They
# share their strides, which saves registers. An array from outside has its own strides.
_ALIKE = {"y": "y", "e": "e", "k": "k", **dict.fromkeys("bfzwdq", "r")}


def walker(name: str) -> str:
    """Return the name that an array's strides begin with."""
    return _ALIKE.get(name[0], name)


def signature(groups: tuple[Group, ...], program: Program, axes: int, scalars: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of a kernel and their types, as Triton's compiler names them.

    The arrays have ``axes`` batch axes, and ``scalars`` are the floats and their dtypes.
    """
    pointers: dict[str, str] = {}
    strides: list[str] = []
    for name, group, dtype in arrays(groups, program):
        own = dtype[0] if group.of == "params" else dtype
        pointers[f"{name}_ptr"] = f"*{SIGNATURE[group.dtype or own]}"
        strides += [f"{walker(name)}_step"] if group.over_time else []
        strides += [f"{name}_neuron"] if group.letter in "sp" else []
        strides += [f"{walker(name)}_b{axis}" for axis in range(axes)]
    sizes = {**_SIZES, **{f"size{axis}": "i64" for axis in range(1, axes)}}
    floats = {name: SIGNATURE[dtype] for name, dtype in scalars.items()}
    return {**pointers, **dict.fromkeys(strides, "i64"), **sizes, **floats, "BLOCK": "constexpr"}


def definition(name: str, arguments: Mapping[str, str]) -> list[str]:
    """Return the lines that begin a kernel. No size is specialised: one compiled kernel serves all of them."""
    types = {SIGNATURE[dtype]: word for dtype, word in TYPE.items()} | {"constexpr": "tl.constexpr"}
    printed = [each if kind[0] == "*" else f"{each}: {types[kind]}" for each, kind in arguments.items()]
    numbers = [each for each, kind in arguments.items() if kind in ("i32", "i64")]
    return [f"@triton.jit(do_not_specialize={numbers})", f"def {name}({', '.join(printed)}):"]


def lanes(axes: int) -> list[str]:
    """Return the neuron of a lane: its place in a row, and the row's place on each axis of the batch."""
    lines = ["lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)", "mask = lane < total"]
    lines += ["col = lane % neurons", "row0 = lane // neurons"]
    for axis in range(axes - 1, 0, -1):
        lines += [f"row{axis} = row0 % size{axis}", f"row0 = row0 // size{axis}"]
    return lines


def offsets(axes: int, names: Iterable[str], shared: Sequence[str]) -> list[str]:
    """Return the place of the lane's neuron in arrays; in the shared arrays, neurons may have one value."""
    lines = []
    for name in dict.fromkeys(map(walker, names)):
        rows = [f"row{axis} * {name}_b{axis}" for axis in range(axes)]
        lines.append(f"{name}_at = {' + '.join(rows)} + col{f' * {name}_neuron' if name in shared else ''}")
    return lines


def named(letters: str, items: Sequence[object]) -> list[str]:
    """Return the names of the arrays of groups that have an array for each item."""
    return [f"{letter}{number}" for letter in letters for number in range(len(items))]


def place(name: str) -> str:
    """Return the place of the lane's neuron in an array without time."""
    return f"{name}_ptr + {walker(name)}_at"


def at(name: str, t: str) -> str:
    """Return the place of the lane's neuron in an array at a step."""
    return f"{name}_ptr + {t} * {walker(name)}_step + {walker(name)}_at"


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines one level deeper."""
    return [f"    {line}" for line in lines]
