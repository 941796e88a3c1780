"""Fixtures of the tests of several processes."""

from collections.abc import Iterator

import pytest

from tests.distributed.ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """Processes that stay up while the tests run."""
    found = Ranks()
    yield found
    found.close()
