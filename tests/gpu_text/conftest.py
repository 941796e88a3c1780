"""Fixtures of the tests of kernels that are printed as Triton."""

from collections.abc import Iterator

import pytest

from tests.gpu_text.launch import Interpreter, interpreted
from tests.torch_threads import on_threads


@pytest.fixture
def target() -> Iterator[Interpreter]:
    """Fused scans run in Triton's interpreter."""
    with on_threads(1), interpreted() as found:
        yield found
