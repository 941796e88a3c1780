"""What a scan keeps for its gradient, what keep_freed_memory does to a process, and what clear_caches forgets."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import lru
from spikingtorch.performance import clear_caches, keep_freed_memory

RESIDENT = """
import torch
from spikingtorch.performance import keep_freed_memory
import sys

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "keep":
    assert keep_freed_memory()
x = torch.ones(50_000_000)
full = resident()
del x
print(full - resident() < 100_000_000)
"""


def test_a_scan_keeps_its_inputs_and_one_state_in_sixteen() -> None:
    T, N = 100, 50
    xs, decay = torch.rand(T, N, requires_grad=True), torch.full((N,), 0.9, requires_grad=True)
    rest = F.CoarseLIFState(torch.zeros(N), torch.zeros(N))
    params = {"decay": decay, "gain": 0.9, "refractory_gain": 0.5}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = F.scan(F.coarse_lif_step, rest, xs, params=params, backend="fused")[1]
    out.sum().backward()
    of_states = 2 * (T // 16) * N  # before step 16, 32, ..., of both states
    assert sum(tensor.numel() for tensor in kept) == xs.numel() + decay.numel() + 2 * N + of_states
    shared = {tensor.data_ptr() for tensor in (xs, decay, *rest)}
    assert shared <= {tensor.data_ptr() for tensor in kept}  # the inputs themselves, no copies of them


def test_keeps_freed_memory() -> None:
    linux = platform.libc_ver()[0] == "glibc"
    for choice in ("keep", "leave") if linux else ():
        run = subprocess.run([sys.executable, "-c", RESIDENT, choice], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == str(choice == "keep")


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
