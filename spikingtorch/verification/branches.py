"""Find branches on a spike, which no derivative shows: a step must not jump on a path between two spikes.

If a function does not jump on a path, and its derivative is right everywhere on it, the derivative gives the whole
change of the function. So a gradient includes all effects of a spike under two conditions. The smooth version of the
step has right derivatives. The step does not jump while a spike goes from 0 to 1.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.tree import tree_map
from spikingtorch.verification.trial import named, replaced, tensors

# the number of parts of a path; the smallest change that counts as a jump, as a share of a value; and the width of a
# jump
_PARTS, _LEAST, _WIDTH = 8, 1e-6, 1e-12
_DIFFERENCE, _DERIVATIVE_TOLERANCE = 1e-6, 1e-4

At = Callable[[float], dict[str, Tensor]]
# spikes at a share of the way from real ones to others
Path = Callable[[Tensor, Any], Tensor]
Surrogates = Mapping[str, Any]


class Visit(NamedTuple):
    """A state and an input from a run of the spiking step."""

    state: Any
    x: Any


class _Injected:
    """A surrogate that returns spikes at a share of a path at one of its calls, and real spikes at all others."""

    def __init__(self, surrogate: Any, call: int, path: Path, share: Any = 0.0) -> None:
        self.surrogate, self.call, self.path, self.share, self.calls = surrogate, call, path, share, 0

    def __call__(self, u: Tensor) -> Tensor:
        real: Tensor = self.surrogate(u).detach()
        self.calls += 1
        return self.path(real, self.share) if self.calls == self.call + 1 else real


def visits(step: Callable[..., Any], state: Any, xs: Any, params: Mapping[str, Any]) -> list[Visit]:
    """Return the states and inputs of a run, one for each step."""
    found = []
    with torch.no_grad():
        for t in range(len(next(iter(tensors({"xs": xs}).values())))):
            x = tree_map(lambda leaf, t=t: leaf[t] if isinstance(leaf, Tensor) else leaf, xs)
            found.append(Visit(state, x))
            state, _ = step(state, x, **params)
    return found


def spike_branch(
    step: Callable[..., Any], seen: Sequence[Visit], params: Mapping[str, Any], surrogates: Surrogates
) -> str | None:
    """Return the name of a result that jumps, or whose derivative is wrong, while a spike goes from 0 to 1; or None."""
    for visit in seen:
        for name, surrogate in surrogates.items():
            counter = _Injected(surrogate, -1, _together)
            _results(step, visit, {**params, name: counter}, set())
            for call in range(counter.calls):
                for path in (_together, _flipped):
                    make = partial(_Injected, surrogate, call, path)
                    found = _on_the_way(step, visit, {**params, name: surrogate}, name, make)
                    if found:
                        return found
    return None


def path_branch(smooth: Callable[..., Any], seen: Sequence[Visit], params: Mapping[str, Any]) -> str | None:
    """Return the name of a result that jumps in a smooth step between two steps of a run; or None."""
    for before, after in pairwise(seen):
        start = {"state": before.state, "x": before.x}
        carried = _carried(smooth, before, params)
        ends = {n: v for n, v in tensors({"state": after.state, "x": after.x}).items() if n[0] == "x" or n in carried}
        starts = tensors(start)

        def at(share: float, start: Any = start, starts: Any = starts, ends: Any = ends, keep: Any = carried) -> Any:
            moved = {name: starts[name] + share * (end - starts[name]) for name, end in ends.items()}
            built = replaced(start, moved)
            return _results(smooth, Visit(built["state"], built["x"]), params, keep)

        with torch.no_grad():
            found = _jump(at)
        if found:
            return found
    return None


def _together(real: Tensor, share: Any) -> Tensor:
    """Return spikes that go from 0 to 1 in all neurons."""
    found: Tensor = torch.zeros_like(real) + share
    return found


def _flipped(real: Tensor, share: Any) -> Tensor:
    """Return spikes that go from their values to the opposite values."""
    found: Tensor = real + share * (1.0 - 2.0 * real)
    return found


def _on_the_way(
    step: Callable[..., Any], visit: Visit, params: Mapping[str, Any], name: str, make: Callable[..., _Injected]
) -> str | None:
    carried = _carried(step, visit, params)

    def run(share: Any) -> dict[str, Tensor]:
        return _results(step, visit, {**params, name: make(share)}, carried)

    with torch.no_grad():
        found = _jump(run)
    return found or _wrong_at_an_end(run)


def _jump(at: At) -> str | None:
    """Return the name of the result that jumps between 0 and 1."""
    places = [part / _PARTS for part in range(_PARTS + 1)]
    values = [at(place) for place in places]
    for (low, before), (high, after) in pairwise(zip(places, values, strict=True)):
        found = _jump_between(at, (low, high), (before, after))
        if found:
            return found
    return None


def _jump_between(at: At, place: tuple[float, float], value: tuple[dict[str, Tensor], dict[str, Tensor]]) -> str | None:
    """Halve a part of the path where the value changes more, until it stops changing or the part is narrow enough."""
    (low, high), (before, after) = place, value
    while True:
        moved, name = _moved(before, after)
        if moved <= _LEAST or high - low <= _WIDTH:
            return name if moved > _LEAST else None
        middle = (low + high) / 2
        between = at(middle)
        if _moved(before, between)[0] >= _moved(between, after)[0]:
            high, after = middle, between
        else:
            low, before = middle, between


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> tuple[float, str]:
    """Return the largest relative change of a value, and the value's name."""
    found = (0.0, "")
    for name, one in before.items():
        change = ((after[name] - one).abs() / (1.0 + one.abs() + after[name].abs())).nan_to_num()
        if change.numel():
            found = max(found, (change.max().item(), name))
    return found


def _wrong_at_an_end(run: Callable[[Any], dict[str, Tensor]]) -> str | None:
    """Return the name of a result whose derivative by the spike, at 0 or 1, differs from its finite difference."""
    for end, way in ((0.0, _DIFFERENCE), (1.0, -_DIFFERENCE)):
        share = torch.tensor(end, dtype=torch.float64, requires_grad=True)
        generator = torch.Generator().manual_seed(0)
        here = run(share)
        with torch.no_grad():
            there = run(share + way)
        for name, value in here.items():
            weights = torch.rand(value.shape, generator=generator, dtype=value.dtype) + 0.5
            slope = ((there[name] - value).detach() * weights).sum().item() / way
            got = torch.zeros(())
            if value.requires_grad:
                (got,) = torch.autograd.grad((value * weights).sum(), share, retain_graph=True, materialize_grads=True)
            if abs(got.item() - slope) > _DERIVATIVE_TOLERANCE * (1.0 + abs(slope) + value.abs().sum().item()):
                return name
    return None


def _carried(step: Callable[..., Any], visit: Visit, params: Mapping[str, Any]) -> set[str]:
    """Return the names of the results with a gradient; a detached counter has none."""
    tree = {"state": visit.state, "x": visit.x, "params": dict(params)}
    variables = {name: leaf.detach().clone().requires_grad_() for name, leaf in tensors(tree).items()}
    built = replaced(tree, variables)
    state, out = step(built["state"], built["x"], **built["params"])
    return {name for name, leaf in tensors({"state": state, "output": out}).items() if leaf.requires_grad}


def _results(step: Callable[..., Any], visit: Visit, params: Mapping[str, Any], keep: set[str]) -> dict[str, Tensor]:
    state, out = step(visit.state, visit.x, **params)
    return {name: leaf for name, leaf in named({"state": state, "output": out}).items() if name in keep}
