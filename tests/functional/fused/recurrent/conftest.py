"""A matrix takes the loop in C for scans of few steps as well."""

import pytest

from spikingtorch.functional.fused.recurrent import c_loop


@pytest.fixture(autouse=True)
def _any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_loop, "FEWEST", 1)
