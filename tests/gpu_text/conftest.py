"""Fixtures of the tests of kernels that are printed as Triton."""

from collections.abc import Iterator

import pytest
import torch

from tests.gpu_text.launch import Interpreter, interpreted


@pytest.fixture
def target() -> Iterator[Interpreter]:
    """Fused scans run in Triton's interpreter."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with interpreted() as found:
        yield found
    torch.set_num_threads(threads)
