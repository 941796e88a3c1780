"""Emptying what the library remembers of scans."""

import pytest

from spikingtorch.functional import _prepared
from spikingtorch.functional._recent import Recent
from spikingtorch.functional.fused import operators, plan


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call of every step its first one, for the duration of a test."""
    monkeypatch.setattr(plan, "_recent", Recent(64))
    monkeypatch.setattr(_prepared, "_prepared", Recent(64))
    monkeypatch.setattr(operators, "_ready", Recent(64))
