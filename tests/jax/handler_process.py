"""What a process of its own does with the handler; the command line names it, and JSON comes out."""

import json
import pickle
import resource
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from jax.experimental import serialize_executable

from spikingtorch import functional as F
from spikingtorch.functional.core import freed_memory
from spikingtorch.jax import handler
from tests.jax.calls import Kernels
from tests.processes import at_once

T, B, N = 40, 6, 700  # so much that threads share it


def kernels() -> Kernels:
    """Return those of a neuron."""
    return Kernels.of(F.lif_step, F.LIFState(torch.zeros(())), decay=0.9)


def drawn() -> list[Any]:
    """Return state, inputs, and the cotangents of the last state and of the outputs."""
    draw = np.random.default_rng(0)
    return [draw.normal(size=shape).astype(np.float32) for shape in ((B, N), (T, B, N), (B, N), (T, B, N))]


def digest(found: Any) -> list[int]:
    """Return a number for the bytes of each array."""
    return [zlib.crc32(np.asarray(each).tobytes()) for each in found]


def digests() -> Any:
    """Run both kernels."""
    return digest(jax.jit(kernels().both)(*drawn()))


def on_every_device() -> Any:
    """Run both kernels on all devices at once, many times."""
    run = jax.jit(kernels().both)
    given = [jax.device_put(drawn(), device) for device in jax.devices()]
    found = []
    for _ in range(30):
        found += at_once(*[lambda each=each: digest(run(*each)) for each in given])
    assert all(each == found[0] for each in found), "devices differ"
    return [len(given), found[0]]


def calls_in_one_program() -> Any:
    """Run many calls that do not depend on each other, each on its own numbers, and again one after the other."""
    factors, kernels_here = [1.0 + k / 8 for k in range(12)], kernels()
    one = jax.jit(lambda factor, *given: kernels_here.both(given[0] * factor, *given[1:]))
    together = jax.jit(lambda *given: [one(factor, *given) for factor in factors])
    found = [[digest(each) for each in together(*drawn())] for _ in range(10)]
    return all(each == [digest(one(factor, *drawn())) for factor in factors] for each in found)


def write(path: str) -> Any:
    """Compile the call of both kernels."""
    compiled = jax.jit(kernels().both).lower(*drawn()).compile()
    Path(path).write_bytes(pickle.dumps(serialize_executable.serialize(compiled)))
    return digest(compiled(*drawn()))


def read(path: str) -> Any:
    """Run it; no step is traced here."""
    run = serialize_executable.deserialize_and_load(*pickle.loads(Path(path).read_bytes()))
    return _run_foreign(run)


def export(path: str) -> Any:
    """Export the call of both kernels."""
    from jax import export

    allowed = export.DisabledSafetyCheck.custom_call(handler.TARGET)
    program = export.export(jax.jit(kernels().both), disabled_checks=[allowed])(*drawn())
    Path(path).write_bytes(program.serialize())
    return digests()


def run_exported(path: str) -> Any:
    """Run what was exported; no step is traced here."""
    from jax import export

    return _run_foreign(jax.jit(export.deserialize(bytearray(Path(path).read_bytes())).call))


def _run_foreign(run: Any) -> Any:
    """Return how many kernels this process knows before and after a call, and what comes out."""
    before = handler.kernel.cache_info().currsize
    found = digest(run(*drawn()))
    return [before, handler.kernel.cache_info().currsize, found]


def many_calls() -> Any:
    """Return how many bytes of memory 10,000 calls leave behind."""
    small, large = jax.jit(kernels().both), jax.jit(lambda v, x: kernels().forward([v], [x])["finals"])
    given = [each[..., :1] for each in drawn()]

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def calls(number: int) -> int:
        for _ in range(number):
            digest(small(*given))
        for _ in range(number // 20):
            digest(large(*drawn()[:2]))
        return resident()

    calls(1000)
    return -calls(1000) + calls(10_000)


def page_faults(steps: str = "100") -> Any:
    """Return how many fresh pages a call needs whose results fill 32 pages a step, and what is said of memory."""
    run = jax.jit(lambda v, xs: kernels().forward([v], [xs])["outs"])
    given = jax.device_put((np.zeros((8, 4096), np.float32), np.zeros((int(steps), 8, 4096), np.float32)))

    def calls(number: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(number):
            jax.block_until_ready(run(*given))  # type: ignore[no-untyped-call]
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    calls(5)
    return [calls(10) / 10, freed_memory.described()]


if __name__ == "__main__":
    works = (digests, on_every_device, calls_in_one_program, write, read, export, run_exported, many_calls, page_faults)
    chosen: dict[str, Callable[..., Any]] = {work.__name__: work for work in works}
    print(json.dumps(chosen[sys.argv[1]](*sys.argv[2:])))
