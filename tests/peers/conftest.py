"""These tests compare with other libraries; `make test-peers` runs them where those are installed.

Elsewhere, and beside other releases than those in benchmarks/requirements.txt, nothing here is collected.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

PEERS = ("spikingjelly", "snntorch", "norse", "sinabs")
_REQUIREMENTS = Path(__file__).parents[2] / "benchmarks" / "requirements.txt"


def _installed() -> bool:
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", _REQUIREMENTS.read_text(), re.MULTILINE))
    try:
        return all([metadata.version(name) == pinned[name] for name in PEERS])
    except metadata.PackageNotFoundError:
        return False


collect_ignore_glob = [] if _installed() else ["*.py"]


@pytest.fixture
def in_float64() -> Iterator[None]:
    """Make float64 the default dtype, and random numbers those of one seed, for a test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_default_dtype(before)
