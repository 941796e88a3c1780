"""Fixtures of the tests."""

import copy

import pytest

import spikingtorch as st
from tests.every_layer import LAYERS


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> st.StepLayer:
    return copy.deepcopy(LAYERS[request.param])
