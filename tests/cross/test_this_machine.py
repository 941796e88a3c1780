"""The library of OpenMP that kernels of the package ziglang take their threads from, on this machine."""

import ctypes

import torch

from tests.cross.machines import Zig


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
