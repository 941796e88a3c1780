"""The memory of tensors that some work allocates."""

from collections.abc import Callable
from typing import Any

import torch


def peak(act: Callable[[], object]) -> float:
    """Return the most memory of tensors that are allocated during some work, in MB."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        act()
    results: Any = profile.profiler
    events = [each for each in results.kineto_results.events() if each.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most / 1e6
