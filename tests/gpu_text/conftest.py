"""Fixtures of the tests of kernels that are printed as Triton."""

from collections.abc import Iterator

import pytest

from tests.fused import Scan
from tests.gpu_text.compare import Agrees, agree
from tests.gpu_text.launch import Interpreter, interpreted
from tests.surroundings import on_threads


@pytest.fixture
def target() -> Iterator[Interpreter]:
    """Fused scans run in Triton's interpreter."""
    with on_threads(1), interpreted() as found:
        yield found


@pytest.fixture
def agrees(target: Interpreter) -> Agrees:
    """Compare the interpreted kernels with the loop; there is one forward pass, and one backward pass."""

    def check(scan: Scan, *, exact: bool = True, well_posed: bool = True) -> None:
        ran = target.launches
        agree(scan, exact=exact, well_posed=well_posed)
        assert target.launches == ran + 2, "one forward pass and one backward pass"

    return check
