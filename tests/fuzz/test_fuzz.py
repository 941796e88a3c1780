"""A short run of each fuzzer, the same one each time."""

import pytest

from tests.fuzz import jax_scan, networks, operations, scan
from tests.fuzz.driver import Fuzzer, counted

# random steps may have no surrogate
pytestmark = pytest.mark.filterwarnings("ignore:.* its output has no gradient:RuntimeWarning")


@pytest.mark.long
@pytest.mark.parametrize(("fuzzer", "compared"), [(scan.FUZZER, "gradients"), (jax_scan.FUZZER, "arrays")])
def test_random_scans(fuzzer: Fuzzer, compared: str) -> None:
    counts = counted(fuzzer._replace(size=10), seed=1)
    assert counts["fused"] > counts["calls"] / 2, counts
    assert counts[f"{compared} compared"] > counts["calls"], counts


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
def test_random_networks() -> None:
    counts = counted(networks.FUZZER._replace(size=25), seed=3)
    assert counts["folded, nothing mixes"] > 6, counts
    assert counts["gradients compared"] > 50, counts


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("size", [4, pytest.param(150, marks=pytest.mark.long)])
def test_random_operations(size: int) -> None:
    counts = counted(operations.FUZZER._replace(size=size), seed=1)
    assert counts["folded"] > size / 5, counts
