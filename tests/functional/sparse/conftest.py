"""What every test here takes for granted."""

import pytest

from spikingtorch.functional.sparse import crossover


@pytest.fixture(autouse=True)
def small_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input gradient of few channels has its kernel however few products there are."""
    monkeypatch.setattr(crossover, "_FEW_PRODUCTS", 0)
