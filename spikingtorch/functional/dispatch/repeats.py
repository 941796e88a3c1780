"""Check that a step computes the same when a backward pass runs it again."""

from collections.abc import Callable, Mapping
from typing import Any

from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.sharing import version_of
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.trace.snapshot import SideEffect, snapshot


def check_repeats(step: Any, params: Mapping[str, Any]) -> Callable[[], None]:
    """Return a check, before a second run, that the step still reads what it reads now.

    Raises:
        ValueError: the step draws random numbers from a generator, or uses something up, so that a second run differs.
    """
    name = step_name(step)
    try:
        found = snapshot(step, dict(params))
    except SideEffect as refusal:
        raise ValueError(
            f"scan: recompute= runs {name} again in the backward pass, and it {str(refusal).split(',')[0]}, which a "
            "second run does not repeat. Draw from torch's own generator, or hand the numbers in with xs"
        ) from None
    except NotFusible:  # its code asks what only a trace answers differently
        return _nothing
    tensors = [(each, version_of(each)) for each in found.tensors]

    def check() -> None:
        changed = found.guard.changed()
        if changed is None and any(version != version_of(each) for each, version in tensors):
            changed = "a tensor"
        if changed is not None:
            raise RuntimeError(
                f"scan: {changed} that {name} reads has changed between a scan and its backward pass, and recompute= "
                "runs the step again in the backward pass. Call backward() before, or leave out recompute"
            )

    return check


def _nothing() -> None:
    """Check nothing."""
