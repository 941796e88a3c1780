"""A step that gives out fields of its state."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Returning(NamedTuple):
    """state[t], (out[t], field[t], ...): the output of the step, and what its new state holds under each name."""

    step: Callable[..., Any]
    names: tuple[str, ...]

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance one step."""
        after, out = self.step(state, x, **params)
        found = [out]
        for name in self.names:
            owner = after
            while not hasattr(owner, name):
                owner = owner.neuron
            found.append(getattr(owner, name))
        return after, tuple(found)
