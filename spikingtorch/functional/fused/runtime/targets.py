"""The list of targets, and the search for the target of tensors."""

from collections.abc import Sequence
from typing import Any

import torch

from spikingtorch.functional.fused.runtime.cpu import CPU
from spikingtorch.functional.fused.runtime.gpu import GPU
from spikingtorch.functional.fused.runtime.target import Target

TARGETS: tuple[Target, ...] = (CPU, GPU)
_BY_DEVICE = {target.device: target for target in TARGETS}
DEVICES = " or ".join(_BY_DEVICE)


def has_target(device: torch.device) -> bool:
    """Return True if a device has a target."""
    return device.type in _BY_DEVICE


def target_on(device: torch.device) -> Target:
    """Return the target of a device; raise ValueError if it has none."""
    if not has_target(device):
        raise ValueError(f"scan: got a tensor on {device}, expected it on {DEVICES}")
    return _BY_DEVICE[device.type]


def target_of(tensors: Sequence[Any]) -> Target | None:
    """Return the target whose memory holds tensors, all of them plain; None if there is none."""
    for target in TARGETS:
        if target.holds(tensors):
            return target
    return None
