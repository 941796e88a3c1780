"""Kernels of the package ziglang on this machine beside those of the system's compiler: the same bits, on all threads.

Its compiler has no library of OpenMP: its kernels share their work between torch's threads.
"""

import ctypes
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from spikingtorch.functional.core import threads
from spikingtorch.functional.fused.build import cache
from spikingtorch.functional.sparse import pooling
from spikingtorch.verification.cases import CASES, Case, by_name
from tests.cross.build import ZIG
from tests.cross.machines import kernels_of
from tests.functional.fused.codegen.test_exactness import of_case
from tests.functional.fused.recurrent import test_c_loop as recurrent
from tests.functional.sparse import test_few_channels, test_pooling, test_sampled
from tests.functional.sparse.cases import CASES as LAYERS
from tests.functional.sparse.cases import Case as Layer
from tests.functional.sparse.cases import draw, outcome
from tests.fused import assert_same_bits
from tests.torch_threads import on_threads

THREADS = (1, 3)


@pytest.fixture(autouse=True)
def _always_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share work however little there is."""
    monkeypatch.setattr(threads, "SERIAL", 0)


def library_of(cc: str, source: str) -> Any:
    """Return a library that a compiler makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", cc)
        return cache.library(source)


BY_ZIG, BY_SYSTEM = partial(library_of, f"{shlex.quote(str(ZIG))} cc"), partial(library_of, "")


def same(run: Callable[[], Any]) -> None:
    """Assert that what runs has the same bits from either compiler; torch has a part in it, and so as many threads."""
    for number in THREADS:
        with on_threads(number):
            with kernels_of(BY_SYSTEM):
                want = run()
            with kernels_of(BY_ZIG):
                assert_same_bits(run(), want)


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
    library = BY_ZIG(source)
    assert [library.members(number) for number in (1, 2, 3, 7)] == [0b1, 0b11, 0b111, 0b1111111]
    for number in (1, 2, 5):
        for n in (0, 1, 3, 17, 1000):
            times = torch.zeros(n, dtype=torch.int64)
            assert library.taken(number, n, ctypes.c_void_p(times.data_ptr())) == 1
            assert times.eq(1).all()


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(case: Case) -> None:
    scan = of_case(case, 33, torch.float32)
    same(lambda: scan.found("fused"))


@pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
def test_a_layer(layer: Layer) -> None:
    for density, graded in ((0.2, True), (0.4, False)):
        torch.manual_seed(0)
        tensors = draw(layer, density, graded)
        same(partial(outcome, layer.event, tensors, layer.options))
    torch.manual_seed(0)
    x, weight, support = test_sampled.draw(layer, 0.3)
    same(lambda: test_sampled.gradient(test_sampled.sampled(layer.operation, support), x, weight))


@pytest.mark.parametrize("case", test_few_channels.CASES.values(), ids=list(test_few_channels.CASES))
def test_gradients_of_few_channels(case: Layer) -> None:
    torch.manual_seed(0)
    tensors = test_few_channels.draw(case)
    same(partial(outcome, test_few_channels.layer_of(case.operation), tensors, case.options))


def test_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "LEAST", 1)

    def pooled() -> list[torch.Tensor | None]:
        return [
            pooling.max_pool2d(layout(test_pooling.images()), **windows)
            for windows in test_pooling.WINDOWS.values()
            for layout in test_pooling.LAYOUTS.values()
        ]

    same(pooled)


def test_a_recurrent_scan() -> None:
    for steps, size in ((8, 5), (17, 33), (40, 128)):
        given = recurrent.scan(steps, 5, size)
        same(partial(given.found, "fused"))
        same(partial(given.found, "fused", only=recurrent.OF_FEW))
