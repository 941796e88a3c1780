"""What becomes of fresh and of freed memory, a matter of the whole process, and what clear_caches forgets."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

from spikingtorch import LIF, SpikingNet
from spikingtorch import functional as F
from spikingtorch.functional.core import allocation, allocator, freed_memory, lru
from spikingtorch.performance import clear_caches, keep_freed_memory, release
from tests.processes import OF_GLIBC, child, python

glibc = pytest.mark.skipif(allocator.unusable() is not None, reason="only glibc keeps memory when it is told to")

UNSET = OF_GLIBC | {freed_memory.VARIABLE: None}
# a call of a network, of which six tensors of 48 MB are alive at once, and one of a network without large tensors
HEAD = """
import ctypes, os, threading
import torch
from torch import nn
import spikingtorch
from spikingtorch import LIF, SpikingNet, functional as F
from spikingtorch.functional.core import allocator, freed_memory
from spikingtorch.performance import keep_freed_memory, release

torch.set_num_threads(1)
torch.manual_seed(0)
model, small = SpikingNet(nn.Sequential(nn.Linear(64, 1000), LIF()), warn_silent=False), torch.rand(2, 3, 64)
batch = torch.rand(12, 1000, 64)

def resident():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1e3

def train(x=batch, times=1):
    for _ in range(times):
        model(x).square().sum().backward()

def idle(times=10):
    for _ in range(times):
        model(small)

def told():
    return freed_memory._state.keeps

model(small)
start = resident()
"""


def run(code: str, **variables: str) -> list[str]:
    """Run code in a process that begins with these variables, and return the words that it prints."""
    environment: Any = UNSET | variables
    return python("-c", HEAD + code, **environment).split()


BEHAVIOUR: dict[str, tuple[str, str]] = {
    "nothing before a large tensor of a network, nor after it is turned off": (
        """
torch.rand(10_000_000).sum()
F.scan(F.if_step, F.IFState(torch.zeros(3)), torch.rand(4, 3))
print(told(), allocator.set_by.cache_info().currsize)
train()
print(told())
keep_freed_memory(False)
train()
print(told(), resident() - start < 100)
""",
        "False 0 True False True",
    ),
    "used again until ten calls do not need it": (
        """
train(times=12)  # until the heap has grown as far as it does
print(resident() - start > 80)
idle(9)
print(resident() - start > 80, told())
train()
print(told())
idle()
print(resident() - start < 40, told())
train()
print(told())
""",
        "True True True True True False True",
    ),
    "calls that need less than half give the rest back": (
        """
train()
held = resident() - start
train(batch[:2], 20)
print(resident() - start < held / 2, told())
""",
        "True True",
    ),
    "after some training steps, one faults few pages; where memory goes back, all of them": (
        """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def pages():
    counts = []
    for _ in range(12):
        before = faults()
        train()
        counts.append(faults() - before)
    return sorted(counts[6:])[2]
kept = pages()
keep_freed_memory(False)
print(kept < 0.1 * pages())
""",
        "True",
    ),
    "release gives memory back at once": (
        """
for kept in (False, True):
    if kept:
        print(keep_freed_memory())
    train()
    full = resident()
    release()
    print(full - start > 80, resident() - start < 40, told())
train()
idle(12)
print(resident() - start > 80)
""",
        "True True False True True True True True",
    ),
    "scans are calls but within a network": (
        """
class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.neurons = LIF()
    def forward(self, x, init):
        for _ in range(15):
            F.scan(F.if_step, F.IFState(torch.zeros(3)), torch.rand(4, 3))
        after.append(told())
        return self.neurons(x, init)

after = []

net = SpikingNet(Many(), mode="fold", warn_silent=False)
for _ in range(3):
    net(torch.rand(2, 500, 1000))
print(*after)
for _ in range(10):
    F.scan(F.if_step, F.IFState(torch.zeros(3)), torch.rand(4, 3))
print(told())
""",
        "False True True False",
    ),
    "the layers of a network in multi-step style are one call": (
        """
from spikingtorch import MultiStep
layers = [MultiStep(LIF()) for _ in range(15)]
for _ in range(3):
    layers[0](torch.rand(500, 2, 1000), True)
    for layer in layers[1:]:
        layer(torch.rand(4, 3), True)
    print(told())
for _ in range(10):
    layers[1](torch.rand(4, 3), True)
print(told())
""",
        "True True True False",
    ),
    "threads and forked children": (
        """
def work():
    net = SpikingNet(nn.Sequential(nn.Linear(64, 1000), LIF()), warn_silent=False)
    for _ in range(3):
        net(batch).square().sum().backward()
        net(small)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
train()  # whatever came last in the threads
print(told())
child = os.fork()
if child == 0:
    train()
    idle()
    os._exit(told())
print(os.waitpid(child, 0)[1], told())
idle()
print(resident() - start < 60 + 4 * 64, told())  # glibc does not shrink the heaps of threads, 64 MB each, at their end
""",
        "True 0 True True False",
    ),
    "explain says what becomes of large tensors": (
        """
print(str(model.explain()).count("memory"))
train()
print(next(line for line in str(model.explain()).splitlines() if line.startswith("memory")))
keep_freed_memory(False)
print(model.explain().memory)
keep_freed_memory()
print(model.explain().memory)
""",
        "0 memory of large tensors: kept for the next call when it is freed, up to 1 GB, until 10 calls do not need "
        "it; spikingtorch.performance.keep_freed_memory(False) turns this off "
        "given back to the system when it is freed, because keep_freed_memory(False) has been called "
        "kept when it is freed, as spikingtorch.performance.keep_freed_memory() has been called",
    ),
}
# whatever has told the allocator something before
BEHAVIOUR |= {
    f"mallopt({setting}) turns it off": (
        f"ctypes.CDLL(None).mallopt({setting})\ntrain()\nprint(told(), 'mallopt' in freed_memory.described())",
        "False True",
    )
    for setting in ("-1, 2**20", "-3, 2**20", "-3, 2**31 - 1", "-4, 0", "-2, 2**20")
}


@pytest.mark.long
@glibc
@pytest.mark.parametrize("name", BEHAVIOUR)
def test_what_becomes_of_freed_memory(name: str) -> None:
    code, said = BEHAVIOUR[name]
    assert child(HEAD + code, **UNSET).split() == said.split()


@pytest.mark.long
@glibc
@pytest.mark.sampled
@pytest.mark.parametrize(
    "variables",
    [
        {freed_memory.VARIABLE: "0"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_MAX_": "1000"},
        {"MALLOC_TOP_PAD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_the_environment_turns_it_off(variables: dict[str, str]) -> None:
    code = """
train(times=2)
print(told(), resident() - start < 40)
print(freed_memory.described())
print(keep_freed_memory())
"""
    off, lean, *sentence, asked = run(code, **variables)
    assert (off, lean, asked) == ("False", "True", "True")
    assert next(iter(variables)) in sentence


@glibc
@pytest.mark.long
def test_the_peak_is_that_of_memory_that_goes_back() -> None:
    code = """
train(times=12)
print(int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]))
"""
    returned = int(run("keep_freed_memory(False)" + code)[0])
    # where the gaps of the heap lie is luck, another one in each process: at times a tensor or two of 48 MB find none
    assert any(int(run(code)[0]) < 1.1 * returned for _ in range(3))


@pytest.mark.long
@glibc
def test_other_settings_of_the_allocator_do_not_matter() -> None:
    assert run("train()\nprint(told())", MALLOC_ARENA_MAX="2", GLIBC_TUNABLES="glibc.malloc.arena_max=2") == ["True"]


@pytest.mark.long
@glibc
def test_another_allocator_is_left_alone(tmp_path: Path) -> None:
    source, library = tmp_path / "own.c", tmp_path / "own.so"
    source.write_text("""
        #include <stddef.h>
        extern void *__libc_memalign(size_t, size_t);
        int posix_memalign(void **to, size_t alignment, size_t size) {
            *to = __libc_memalign(alignment, size);
            return *to ? 0 : 12;
        }
    """)
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = "train()\nprint(told(), keep_freed_memory(), freed_memory.described())\nrelease()"
    off, asked, *sentence = run(code, LD_PRELOAD=str(library))
    assert (off, asked) == ("False", "False")
    assert "another" in sentence


def test_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: (None, "the C library is not glibc"))
    monkeypatch.setattr(freed_memory, "_state", freed_memory._State())
    freed_memory.note(2**30)
    assert not freed_memory._state.keeps
    assert freed_memory.described() == "given back to the system when it is freed, because the C library is not glibc"
    release()
    for keep in (True, False):
        assert keep_freed_memory(keep) is False


def test_cleared_caches_are_filled_again() -> None:
    x, net = torch.rand(5, 3), SpikingNet(torch.nn.Sequential(LIF()))
    want, whole = F.scan(F.if_step, F.IFState(torch.zeros(3)), x)[1], net(x[None])
    net(x[None])
    assert any(cache._entries for cache in lru._all)
    clear_caches()
    assert not any(cache._entries for cache in lru._all)
    assert torch.equal(net(x[None]), whole)
    for _ in range(2):
        assert torch.equal(F.scan(F.if_step, F.IFState(torch.zeros(3)), x)[1], want)


HUGE = 2**21


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What the system is asked for."""
    found: list[tuple[int, int, int]] = []
    monkeypatch.setattr(allocation, "_madvise", lambda: lambda *args: found.append(args))
    return found


def test_huge_pages_lie_within_fresh_memory(asked: list[tuple[int, int, int]]) -> None:
    device = torch.device("cpu")
    allocation.empty((allocation.HOLDS_HUGE_PAGE // 4 - 1,), torch.float32, device)
    assert not asked
    for numbers in (allocation.HOLDS_HUGE_PAGE // 4, 3_000_001):
        asked.clear()
        tensor = allocation.empty((numbers,), torch.float32, device)
        ((start, size, advice),) = asked
        assert advice == 14
        assert start % HUGE == size % HUGE == 0
        assert tensor.data_ptr() <= start < tensor.data_ptr() + HUGE
        assert 0 <= tensor.data_ptr() + tensor.nbytes - (start + size) < HUGE


def test_outputs_of_a_scan(asked: list[tuple[int, int, int]]) -> None:
    state = F.LIFState(torch.zeros(1, 4096))
    for T, number in ((16, 0), (256, 1)):
        x = torch.rand(T, 1, 4096)
        F.scan(F.lif_step, state, x, params={"decay": 0.9, "threshold": 1.0})
        asked.clear()
        F.scan(F.lif_step, state, x, params={"decay": 0.9, "threshold": 1.0})
        assert len(asked) == number
