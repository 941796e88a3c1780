"""Refuses to run without a card, and fixes what results depend on."""

from collections.abc import Iterator

import pytest
import torch

from tests.gpu import device
from tests.gpu_text.compare import Agrees, agree


def pytest_configure(config: pytest.Config) -> None:
    """End the run at once where there is no card."""
    if objection := device.objection():
        pytest.exit(objection, returncode=2)


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the tests run on."""
    return f"device: {device.name()}"


@pytest.fixture(autouse=True)
def _interpreter() -> Iterator[None]:
    """Kernels run in Triton's interpreter, if that is asked for."""
    if not device.INTERPRETED:
        yield
        return
    from tests.gpu_text.launch import interpreted

    with interpreted() as target:
        yield
    assert target.launches > 0


@pytest.fixture(autouse=True)
def _whole_float32() -> None:
    """Products of matrices in float32, not in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture
def agrees() -> Agrees:
    """Compare the kernels of the device with the loop there."""
    return lambda scan, *, exact=True, well_posed=True: agree(
        device.on_device(scan), exact=exact, well_posed=well_posed
    )
