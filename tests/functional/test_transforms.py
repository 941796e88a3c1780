"""scan under everything that torch offers is the loop: values, gradients, which road it takes, and how often."""

import pytest

from tests.caches import forget
from tests.ways import MAPS, SCANS, WAYS

NOT_LINEAR = SCANS.keys() - {"li"}
SECOND_ORDER = {"double backward", "hessian", "jacrev(jacrev)", "jacrev(grad)"}


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scan", SCANS)
def test_is_the_loop(scan: str, way: str) -> None:
    WAYS[way].check(SCANS[scan], *SCANS[scan].tensors(), first=True)


@pytest.mark.parametrize("roles", ["x", "p", "sxp"])
@pytest.mark.parametrize("way", MAPS)
@pytest.mark.parametrize("scan", SCANS)
def test_of_many_members_is_one_loop_for_each(scan: str, way: str, roles: str) -> None:
    MAPS[way].check(SCANS[scan], *SCANS[scan].members(roles), first=True)
