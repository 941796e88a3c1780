"""Kernels as DLLs of Windows, under wine: the same bits as on this machine, gradients included."""

from pathlib import Path

import pytest
import torch

from spikingtorch.functional.fused.build import cache
from spikingtorch.verification.cases import CASES
from tests.cross.machines import kernels_of
from tests.cross.windows import WINE, Windows, kernels_under
from tests.functional.fused.codegen.test_exactness import of_case
from tests.fused import assert_same_bits

pytestmark = pytest.mark.skipif(WINE is None, reason="no wine: apt install wine64")
# wine takes seconds for each pass
NEURONS = {"lif": torch.float32, "alif": torch.float64}


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    folder: Path = tmp_path_factory.mktemp("windows")
    return Windows(folder)


@pytest.mark.parametrize(("name", "dtype"), NEURONS.items(), ids=str)
def test_a_neuron(name: str, dtype: torch.dtype, windows: Windows) -> None:
    (case,) = (case for case in CASES if case.name == name)
    scan, before = of_case(case, 33, dtype), windows.calls
    with kernels_of(windows.library), kernels_under(windows):
        got = scan.found("fused")
    assert windows.calls == before + 2, "a pass did not run under wine"
    with kernels_of(cache.library):
        assert_same_bits(got, scan.found("fused"))
