"""The oracle of the fuzzer of networks: mode "auto" gives what mode "step" gives, of a copy with the same weights."""

import random
import re
import warnings
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import SpikingNet
from spikingtorch.testing import relative_error
from tests.fuzz_network_calls import WAYS, Results, snapshot
from tests.fuzz_network_changes import CHANGES, Change
from tests.fuzz_network_inputs import Run
from tests.fuzz_network_layers import MARGINS, NEAR, measure
from tests.fuzz_network_recipes import HANDED, Network, build

# largest max|a - b| / max|b|, of outputs and gradients
TOLERANCE = 1e-9
# what numbers of about one may differ by in any case
NOISE = 1e-14
# what autograd says of a tensor that it saved and somebody wrote on
_WRITTEN = re.compile("modified (by an )?inplace")


class Case(NamedTuple):
    """A network and what happens to it; the seed is that of its weights."""

    network: Network
    events: tuple[Run | Change, ...]
    training: bool = True
    seed: int = 0


def check(case: Case, counts: Counter[str]) -> None:
    """Raise unless a network does the same in both modes; count what was seen."""
    # built twice, since torch's copy of a scripted module is unlike it
    model, reference = (build(case.network, case.seed, case.training) for _ in range(2))
    reference.mode = "step"
    counts["networks"] += 1
    for event in case.events:
        # .backward() of several threads would add to one .grad
        lone = isinstance(event, Run) and (event.then == "backward" or not allows_threads(case, model))
        if isinstance(event, Run) and event.way == "threads" and lone:
            continue
        if isinstance(event, Run) and misleads_torch(case, event):
            continue
        measure(reference)
        MARGINS.clear()
        reference, want, known = performed(reference, event)
        if min(MARGINS, default=1.0) < NEAR:
            counts["discarded, for a membrane came near its threshold"] += 1
            return
        model, got, warned = performed(model, event)
        unexpected = [text for text in warned if text not in known and not text.startswith(("SpikingNet: ", "scan: "))]
        assert not unexpected, f"{event} warns: {unexpected}"
        count(case, event, got, warned, counts)
        compare(case, event, got, want, counts)
        repeats = any(block.kind == "checkpoint" for top in case.network.blocks for block in top.inside())
        if isinstance(got, Exception) and (repeats or not isinstance(want, Exception)):
            return  # a backward pass that was refused halfway has repeated some checkpoints only
        compare_trees(f"after {event}", snapshot(model), snapshot(reference))


def allows_threads(case: Case, model: SpikingNet) -> bool:
    """Say whether a network would be right in several threads, if its layers are."""
    trains = any(module.training for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return case.network.steady and not trains


def misleads_torch(case: Case, event: Run) -> bool:
    """Say whether checkpoint repeats what it cannot repeat.

    After writes in place, torch's own gradients are wrong without an error; and a scripted module saves other tensors
    once torch has optimised it, which checkpoint refuses.
    """
    tops = case.network.blocks
    repeated = tops if event.then == "checkpoint" else [top for top in tops if top.kind == "checkpoint"]
    blocks = [block for top in repeated for block in top.inside()]
    return any(block.kind in ("in place", "scripted") or block.option == "h += f(h)" for block in blocks)


def performed(model: SpikingNet, event: Run | Change) -> tuple[SpikingNet, Results | Exception, list[str]]:
    """Return the model, what came out or was raised, and the warnings."""
    torch.manual_seed(3)
    random.seed(3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if isinstance(event, Change):
                changed = CHANGES[event.what](model, event.place)
                model, found = changed if isinstance(changed, SpikingNet) else model, {}
            else:
                found = WAYS[event.way](model, event) | {"random numbers": torch.get_rng_state()}
        except Exception as error:
            return model, error, []
    return model, found, [str(each.message) for each in caught]


def count(case: Case, event: Run | Change, got: Any, warned: list[str], counts: Counter[str]) -> None:
    """Count how an event ran."""
    if isinstance(event, Change):
        counts["changes"] += 1
        return
    counts[f"runs: {event.way}"] += 1
    if event.way in ("call", "stream") and event.T > 1 and event.N > 0 and not isinstance(got, Exception):
        way = "folded" if HANDED[0] == "FoldToken" else "stepped"
        counts[f"{way}, {'mixing' if case.network.mixes else 'nothing mixes'}"] += 1
        counts["gradients compared"] += sum(name.startswith("d ") for name in got)
        counts["silent outputs"] += not bool(got["out"].any())
    for text in warned:
        if "because it " in text:
            reason = text.split("because it ")[1].split(". The results")[0].split("(")[0]
            counts["warned: " + re.sub(r"parts[.\w]*", "...", reason)[:70]] += 1


def compare(case: Case, event: Run | Change, got: Any, want: Any, counts: Counter[str]) -> None:
    """Raise unless both modes gave or raised the same, or auto refused what it may refuse."""
    if isinstance(got, Exception):
        if type(got) is type(want) and isinstance(got, IndexError | RuntimeError | TypeError | ValueError):
            counts[f"raised both ways: {got!r:.60}"] += 1
        elif isinstance(event, Run) and event.then.startswith("write") and _WRITTEN.search(str(got)):
            counts["refused after a write"] += 1
        else:
            raise AssertionError(f"{event} raises; step gives {want!r:.200}") from got
        return
    if isinstance(want, Exception):
        # GroupNorm takes no slices of what vmap takes apart
        allowed = isinstance(event, Run) and event.way == "transform"
        assert allowed, f"{event} runs, and raises step by step: {want!r}"
        counts["raised in a transform, step by step only"] += 1
        return
    if isinstance(event, Run) and event.way == "threads":
        failed = {name for name, value in got.items() if isinstance(value, Exception)}
        counts["errors in threads"] += len(failed)
        want = {name: value for name, value in want.items() if name in got and name not in failed}
        got = {name: value for name, value in got.items() if name not in failed}
    compare_trees(str(event), got, want)
    # a network that writes on its input in place has changed it before the second call
    writes = any(block.kind == "in place" for top in case.network.blocks for block in top.inside())
    if isinstance(event, Run) and event.way == "stream" and case.network.steady and not writes:
        compare_trees(f"{event} in parts", {"out": got["out"]}, {"out": got["whole"]})


def compare_trees(what: str, got: Results, want: Results) -> None:
    """Assert that named numbers agree."""
    assert got.keys() == want.keys(), f"{what}: there is {sorted(got)}, expected {sorted(want)}"
    for name, value in want.items():
        if isinstance(value, Tensor) and isinstance(got[name], Tensor):
            error = relative_error(got[name], value)
            assert error <= TOLERANCE or _is_noise(got[name], value), (
                f"{what}: {name} is off by {error:.3g}:\n{got[name]}\n{value}"
            )
        else:
            assert got[name] == value, f"{what}: {name} is {got[name]}, expected {value}"


def _is_noise(got: Tensor, want: Tensor) -> bool:
    """Say whether numbers differ by no more than the rounding of a sum that is zero."""
    return got.shape == want.shape and bool(((got - want).abs() <= NOISE).all())
