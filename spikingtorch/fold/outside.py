"""What the code of a network can change besides the network: put back after a copy of it has run."""

import types
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from spikingtorch.functional.core.bytecode import slots_of


class Outside:
    """Places that a copy of a network shares with it, and what was in them."""

    def __init__(self) -> None:
        self._restorers: list[Callable[[], object]] = []

    def keep_names(self, space: dict[str, Any], names: Iterable[str]) -> None:
        """Keep variables of a module of Python."""
        names = tuple(names)
        before = {name: space[name] for name in names if name in space}

        def restore() -> None:
            for name in [name for name in names if name in space and name not in before]:
                del space[name]
            for name in [name for name, value in before.items() if space.get(name) is not value]:
                space[name] = before[name]

        self._restorers.append(restore)

    def keep_cells(self, cells: Iterable[types.CellType]) -> None:
        """Keep the variables that a function closes over."""
        before = [(cell, content) for cell in cells for content in _content(cell)]

        def restore() -> None:
            for cell, value in before:
                cell.cell_contents = value

        self._restorers.append(restore)

    def keep_attributes(self, owner: Any) -> None:
        """Keep the attributes of a class, a function or an object."""
        before = {name: value for name, value in _attributes(owner).items() if not name.startswith("__")}

        def restore() -> None:
            now = _attributes(owner)
            for name in [name for name in now if name not in before and not name.startswith("__")]:
                delattr(owner, name)
            for name, value in before.items():
                if now.get(name) is not value:
                    setattr(owner, name, value)

        self._restorers.append(restore)

    def keep_content(self, value: Any) -> None:
        """Keep what a container holds, or where a generator of random numbers is."""
        if isinstance(value, np.ndarray):
            array = value.copy()
            self._restorers.append(lambda: np.copyto(value, array) if value.flags.writeable else None)
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._restorers.append(lambda: value.set_state(state))
        elif isinstance(value, list | deque):
            items = list(value)
            self._restorers.append(lambda: (value.clear(), value.extend(items)) if _differ(value, items) else None)
        elif isinstance(value, dict | set):
            whole = value.copy()
            self._restorers.append(lambda: (value.clear(), value.update(whole)) if _differ(value, whole) else None)

    def restore(self) -> None:
        """Put everything back."""
        for restorer in self._restorers:
            restorer()


def _differ(one: Any, other: Any) -> bool:
    """Say whether two containers do not hold the very same things in the same order."""
    pairs = (one.items(), other.items()) if isinstance(one, dict) else ([(x,) for x in one], [(x,) for x in other])
    return len(one) != len(other) or any(
        a is not b for x, y in zip(*pairs, strict=True) for a, b in zip(x, y, strict=True)
    )


def _attributes(owner: Any) -> dict[str, Any]:
    slots = {name: getattr(owner, name) for name in slots_of(type(owner)) if hasattr(owner, name)}
    return slots | dict(vars(owner) if hasattr(owner, "__dict__") else {})


def _content(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # empty yet
        return []
