"""The libraries whose readers are targets of ``to_nir``, and the assumptions of each reader.

The readers are those of the named releases. Their use of a node's numbers comes from their code and from experiments,
and is in ``reader_neurons``. This file has the facts that an export needs beforehand.
"""

from typing import Any, NamedTuple

from spikingtorch.interop.nir.discretise import Discretisation
from spikingtorch.interop.nir.errors import NIRError

# the nodes that all four read, and those that two of them read
_MAPS = frozenset({"Affine", "Conv2d", "SumPool2d", "Flatten"})
_MOST_MAPS = _MAPS | {"Linear", "Conv1d", "AvgPool2d"}


class Target(NamedTuple):
    """A library whose reader is the target of an export."""

    name: str  # in ``to_nir``
    title: str  # its name and release
    dt: float  # length of a step in seconds, unless the user of the reader passes another one
    maps: frozenset[str]  # nodes without a state that it reads, by their classes
    any_dt: bool = False  # whether the reader can be told another one
    discretisation: Discretisation = "euler"  # method with which the reader turns equations into steps
    at_threshold: bool = False  # whether its neurons fire at the threshold, and not only above it
    counts: bool = False  # whether they fire once for each threshold in the membrane, and subtract these thresholds
    cycles: bool = True  # whether it reads neurons with weights back to themselves
    # whether it runs nodes in the order of a depth-first search along the list of edges; others run a node after those
    # that it needs
    depth_first: bool = False
    flattens_batch: bool = False  # whether it counts the axes of Flatten with the batch

    @property
    def reader(self) -> str:
        """The name in messages."""
        return f"the reader of {self.title}"


TARGETS: dict[str, Target] = {
    each.name: each
    for each in (
        Target("snntorch", "snnTorch 1.0.0", 1e-4, _MOST_MAPS, cycles=False, flattens_batch=True),
        Target(*("norse", "Norse 1.1.0", 1e-3, _MAPS | {"Linear"}), any_dt=True, depth_first=True, flattens_batch=True),
        Target(
            *("sinabs", "Sinabs 3.1.3", 1.0, _MAPS, False, "exponential"),
            at_threshold=True,
            counts=True,
            depth_first=True,
        ),
        Target("spikingjelly", "SpikingJelly 2.0.0", 1e-4, _MOST_MAPS, any_dt=True, at_threshold=True),
    )
}


def target_of(owner: str, given: Any) -> Target | None:
    """Return the target of a name, None for None; raise NIRError if there is none of this name."""
    if given is None:
        return None
    if not isinstance(given, str) or given not in TARGETS:
        listed = ", ".join(map(repr, TARGETS))
        raise NIRError(f"{owner}: target={given!r} is not one of {listed}, or None for no library in particular")
    return TARGETS[given]


def check_steps(target: Target, dt: float, discretisation: str) -> None:
    """Raise NIRError unless a reader takes steps of this length, by this method."""
    if discretisation != target.discretisation:
        raise NIRError(
            f"to_nir: discretisation={discretisation!r}, but {target.reader} uses {target.discretisation!r}; "
            "leave discretisation out"
        )
    if not target.any_dt and dt != target.dt:
        raise NIRError(f"to_nir: dt={dt:g}, but {target.reader} takes {target.dt:g} for it always; leave dt out")
