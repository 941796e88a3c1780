"""What every test here takes for granted."""

from collections.abc import Iterator

import pytest

from spikingtorch.functional.sparse import c_abi, crossover, kernels

# the packing of AVX-512, of AVX2 and of any other processor, and vectors of 16 bytes
FORMS = ("#define PACKING 0\n", "#define PACKING 1\n", "#undef __AVX512F__\n#undef __AVX2__\n#undef __AVX__\n")


@pytest.fixture(autouse=True)
def small_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of few channels have their kernels however few products there are."""
    monkeypatch.setattr(crossover, "_FEW_PRODUCTS", 0)


@pytest.fixture(params=FORMS, ids=["plain", "avx2", "narrow"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels as another processor has them."""
    if "PACKING 1" in request.param and "avx2" not in processor():
        pytest.skip("a processor without AVX2")
    found = c_abi.loaded(request.param + c_abi.source())
    monkeypatch.setattr(kernels, "functions", lambda: found)
    kernels._lanes.cache_clear()
    yield
    kernels._lanes.cache_clear()


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return lines.read()
    except OSError:
        return ""
