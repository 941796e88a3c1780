"""The arguments of a Triton kernel: pointers, sizes, strides and floats, in the order of its signature."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spikingtorch.functional.fused.codegen.abi import AXES, Group, numbers
from spikingtorch.functional.fused.codegen.triton_layout import walker
from spikingtorch.functional.fused.ir import Program

# the count of numbers of a layout before its arrays, and of an array
_HEADER, _RECORD = 5 + AXES, 3 + AXES


class Arguments(NamedTuple):
    """All arguments except BLOCK for arrays of the recorded layout: addresses and floats are open."""

    known: tuple[int | None, ...]  # the values; None for a missing array and for an open argument
    arrays: tuple[tuple[int, ...], ...]  # for each existing array, its positions in the values
    floats: tuple[tuple[int, int], ...]  # the positions of floats, and their slots in the program
    missing: tuple[str, ...]  # names of the missing arrays
    lanes: int  # the number of neurons

    def filled(self, addresses: Sequence[int], scalars: Sequence[float]) -> list[Any]:
        """Return the values for arrays at addresses, and for the floats of the program."""
        values: list[Any] = [*self.known]
        for places, address in zip(self.arrays, addresses, strict=True):
            for place in places:
                values[place] = address
        for place, slot in self.floats:
            values[place] = scalars[slot]
        return values


def arguments(
    groups: tuple[Group, ...],
    program: Program,
    types: Mapping[str, str],
    chunk: int,
    records: Sequence[int],
    pointers: Sequence[int],
) -> Arguments:
    """Return the arguments of a kernel, whose names and types are ``types``.

    ``chunk`` is the number of steps between two kept states. ``records`` are those of all arrays, one after the other,
    as from ``Layout``, and ``pointers`` the positions of the pointers of existing arrays in them.
    """
    there, sizes = _sizes(groups, program, records, pointers)
    names = [name for name in types if name != "BLOCK"]
    place = {name: index for index, name in enumerate(names)}
    taken = {name: [place[f"{name}_ptr"]] for name in there}
    if sizes["steps"] <= chunk:
        # One kernel serves short and long sequences. A single chunk keeps no states, and the kernel never reads them.
        # It gets the states before the first step in their place.
        for k in range(len(program.states)):
            if f"k{k}" not in taken:
                taken[f"s{k}"].append(place[f"k{k}_ptr"])
    given = {index for places in taken.values() for index in places}
    return Arguments(
        known=tuple([sizes.get(name) for name in names]),
        arrays=tuple(map(tuple, taken.values())),
        floats=tuple([(place[name], int(name[1:].split("_")[0])) for name in names if types[name] in ("fp32", "fp64")]),
        missing=tuple([name for name in names if types[name][0] == "*" and place[name] not in given]),
        lanes=sizes["total"],
    )


def _sizes(
    groups: tuple[Group, ...], program: Program, records: Sequence[int], pointers: Sequence[int]
) -> tuple[list[str], dict[str, int]]:
    """Return the names of the existing arrays, and the sizes and strides of all."""
    _, steps, neurons, rows, _, *batch = records[:_HEADER]
    sizes = {"steps": steps, "total": rows * neurons, "neurons": neurons}
    sizes |= {f"size{axis}": batch[axis] for axis in range(AXES)}
    there: list[str] = []
    walked: set[str] = set()
    for name, number in numbers(groups, program).items():
        start = _HEADER + number * _RECORD
        _, step, neuron, *strides = records[start : start + _RECORD]
        if start in pointers or walker(name) not in walked:
            own = {f"{walker(name)}_step": step, f"{walker(name)}_neuron": neuron}
            own |= {f"{walker(name)}_b{axis}": strides[axis] for axis in range(AXES)}
            assert walker(name) not in walked or own.items() <= sizes.items(), f"{name} lies in another way"
            sizes |= own
        if start in pointers:
            there.append(name)
            walked.add(walker(name))
    return there, sizes
