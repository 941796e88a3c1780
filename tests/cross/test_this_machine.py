"""What runs on this machine: OpenMP of the package ziglang, with its threads, and kernels for Windows under Wine."""

import ctypes
from pathlib import Path

import pytest
import torch

from spikingtorch.functional.fused.build import cache
from spikingtorch.verification.cases import CASES
from tests.cross.machines import Zig, kernels_of
from tests.cross.windows import WINE, Windows, kernels_under
from tests.functional.fused.codegen.test_exactness import of_case
from tests.fused import assert_same_bits


def test_its_library_takes_threads() -> None:
    source = """
    #include <stdint.h>
    int omp_get_thread_num(void);
    int64_t members(int64_t threads) {
        int64_t seen = 0;
        #pragma omp parallel for schedule(static) reduction(|:seen) num_threads((int)threads) if (threads > 1)
        for (int64_t i = 0; i < threads; i++) seen |= (int64_t)1 << omp_get_thread_num();
        return seen;
    }
    int64_t taken(int64_t threads, int64_t n, int64_t *times) {
        int64_t all = 1;
        #pragma omp parallel for schedule(dynamic, 4) reduction(&:all) num_threads((int)threads) if (threads > 1)
        for (int64_t i = 0; i < n; i++) all &= ++times[i] == 1;
        return all;
    }
    """
    library = Zig().library(source)
    assert [library.members(number) for number in (1, 2, 3, 7)] == [0b1, 0b11, 0b111, 0b1111111]
    for number in (1, 2, 5):
        for n in (0, 1, 3, 17, 1000):
            times = torch.zeros(n, dtype=torch.int64)
            assert library.taken(number, n, ctypes.c_void_p(times.data_ptr())) == 1
            assert times.eq(1).all()


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
