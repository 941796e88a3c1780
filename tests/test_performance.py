"""What keep_freed_memory does to a process, and what clear_caches forgets."""

import platform
import subprocess
import sys

import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional.core import lru
from spikingtorch.performance import clear_caches, keep_freed_memory

RESIDENT = """
import torch
from spikingtorch.performance import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

for keep in (False, True):
    assert not keep or keep_freed_memory()
    x = torch.ones(50_000_000)
    full = resident()
    del x
    print(full - resident() < 100_000_000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory when it is told to")
def test_keeps_freed_memory() -> None:
    run = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


def test_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False


def test_cleared_caches_are_filled_again() -> None:
    x = torch.rand(5, 3)
    want = F.scan(F.if_step, F.IFState(torch.zeros(3)), x)[1]
    clear_caches()
    assert not any(cache._entries for cache in lru._all)
    for _ in range(2):
        assert torch.equal(F.scan(F.if_step, F.IFState(torch.zeros(3)), x)[1], want)
