"""Fixtures of the tests."""

import copy
from collections.abc import Iterator

import pytest
import torch

import spikingtorch as st
from tests.every_layer import LAYERS
from tests.folded_layer import Took, draw, learning, over_time, repeat


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> st.StepLayer:
    return copy.deepcopy(LAYERS[request.param])


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors are slower on many threads, and far slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> Took:
    """How many scans of layers were repetitions."""
    return Took(monkeypatch)


@pytest.fixture
def model(took: Took) -> st.SpikingNet:
    """A layer over time that has come to repeat its scan, with gradients and without."""
    found = over_time(learning())
    repeat(found, took)
    repeat(found, took, draw)
    took.scans = took.trains = 0
    return found
