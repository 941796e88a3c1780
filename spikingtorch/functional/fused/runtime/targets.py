"""The targets that there are, and finding the one of some tensors."""

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
    """Say whether there is a target on a device."""
    return device.type in _BY_DEVICE


def target_on(device: torch.device) -> Target:
    """Return the target of a device.

    Raises:
        ValueError: there is none.
    """
    if not has_target(device):
        raise ValueError(f"scan: got a tensor on {device}, expected it on {DEVICES}")
    return _BY_DEVICE[device.type]


def target_of(tensors: Sequence[Any]) -> Target | None:
    """Return the target in whose memory tensors lie, all of them plain ones; None if there is none."""
    for target in TARGETS:
        if target.holds(tensors):
            return target
    return None
