"""The order of a kernel's arrays, which the printer of the source and the launcher share."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from spikingtorch.functional.fused.ir import Program

# the number of axes of a batch that an array may walk with its own strides
AXES = 12


class Group(NamedTuple):
    """Arrays of one kind, one after the other."""

    name: str  # name of the group
    letter: str  # the first letter of their names in a kernel, which a number follows
    of: str  # the field of a program that has an item for each of them
    over_time: bool  # whether the arrays have an axis of time
    written: bool = False  # whether the kernel writes them; the arrays that it reads come first
    dtype: str | None = None  # dtype of their numbers, if it differs from the dtype of the items


FORWARD = (
    Group("states", "s", "states", False),
    Group("xs", "x", "xs", True),
    Group("params", "p", "params", False),
    # the number of steps at which each output was not zero in earlier calls, if the count continues
    Group("before", "b", "outs", False, False, "i32"),
    # results: final states, outputs, the outputs of the last step again, the number of steps with a nonzero output, and
    # the state of one step in CHUNK
    Group("finals", "f", "states", False, True),
    Group("outs", "y", "outs", True, True),
    Group("lasts", "z", "outs", False, True),
    Group("fired", "w", "outs", False, True, "i32"),
    Group("kept", "k", "states", True, True),
)
BACKWARD = (
    Group("states", "s", "states", False),
    Group("xs", "x", "xs", True),
    Group("params", "p", "params", False),
    Group("kept", "k", "states", True),
    # the incoming gradients of final states and of outputs
    Group("of_finals", "c", "states", False),
    Group("of_outs", "c", "outs", True),
    # results: gradients of states, inputs and parameters
    Group("of_states", "d", "states", False, True),
    Group("of_xs", "e", "xs", True, True),
    Group("of_params", "q", "params", False, True),
)


def arrays(groups: tuple[Group, ...], program: Program) -> Iterator[tuple[str, Group, Any]]:
    """Yield each array: its name in a kernel, its group, and its item of the program."""
    counts: Counter[str] = Counter()
    for group in groups:
        for item in getattr(program, group.of):
            yield f"{group.letter}{counts[group.letter]}", group, item
            counts[group.letter] += 1


def numbers(groups: tuple[Group, ...], program: Program) -> dict[str, int]:
    """Return the number of each array, by its name in a kernel."""
    return {name: number for number, (name, _, _) in enumerate(arrays(groups, program))}
