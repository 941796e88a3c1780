"""What a process of its own does with scans; the command line names it, and JSON comes out."""

import json
import pickle
import resource
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from jax.experimental import serialize_executable
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spikingtorch import functional as F
from spikingtorch import jax as snn
from spikingtorch.functional.core import freed_memory
from spikingtorch.jax.handler import TARGET
from tests.jax.oracle import assert_same, on, plain, weighted
from tests.processes import at_once

P: Any = PartitionSpec  # without types
T, B, N = 40, 6, 700  # so much that threads share it


def lif(v: Any, xs: Any, decay: Any = 0.9) -> tuple[Any, Any]:
    """Return the last membrane and the spikes of a neuron."""
    final, spikes = snn.scan(snn.lif_step, snn.LIFState(v), xs, params={"decay": decay}, backend="fused")
    return final.v, spikes


def both(v: Any, xs: Any, of_final: Any, of_out: Any, decay: Any = 0.9) -> tuple[Any, ...]:
    """Return the last membrane, the spikes, and the gradients of state and inputs: what both kernels compute."""
    results, pull = jax.vjp(partial(lif, decay=decay), v, xs)
    return *results, *pull((of_final, of_out))


def drawn(shape: Sequence[int] = (T, B, N)) -> list[Any]:
    """Return state, inputs, and the cotangents of the last state and of the outputs."""
    draw = np.random.default_rng(0)
    return [draw.normal(size=each).astype(np.float32) for each in (shape[1:], shape, shape[1:], shape)]


def digest(found: Any) -> list[int]:
    """Return a number for the bytes of each array."""
    return [zlib.crc32(np.asarray(each).tobytes()) for each in found]


def digests() -> Any:
    """Run both kernels."""
    return digest(jax.jit(both)(*drawn()))


def on_every_device() -> Any:
    """Run both kernels on all devices at once, many times."""
    run = jax.jit(both)
    given = [jax.device_put(drawn(), device) for device in jax.devices()]
    found = []
    for _ in range(30):
        found += at_once(*[lambda each=each: digest(run(*each)) for each in given])
    assert all(each == found[0] for each in found), "devices differ"
    return [len(given), found[0]]


def split_over_devices() -> Any:
    """Run a neuron whose samples are split over the devices, mapped by hand and by where its arrays lie."""
    from tests.jax.neurons import Problem

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    problem = Problem("alif", "float64", "per neuron", "(T, C, N)")
    state, xs, params = jax.tree.map(np.asarray, problem.given)
    # of the shapes (C, 1, N) and (T, C, 1, N): several C
    state, xs = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf * 0.9, leaf * 0.8, leaf], -3), (state, xs))
    mesh = Mesh(np.array(jax.devices()), ("many",))
    specs = P("many"), P(None, "many"), P()

    def mapped(run: Any, specs_of_out: Any) -> Any:
        return jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=specs_of_out)

    def gradients(scan: Any) -> Any:
        summed: Any = jax.lax.psum
        total = mapped(lambda *given: summed(weighted(problem.values(scan)(*given)), "many"), P())
        return jax.jit(jax.grad(total, (0, 1, 2)))(state, xs, params)

    def placed(scan: Any) -> Any:
        pairs = zip((state, xs, params), specs, strict=True)
        put = [jax.device_put(tree, NamedSharding(mesh, spec)) for tree, spec in pairs]
        return jax.jit(problem.values(scan))(*put), jax.jit(jax.grad(problem.loss(scan), (0, 1, 2)))(*put)

    def values(scan: Any) -> Any:
        return jax.jit(mapped(problem.values(scan), specs[:2]))(state, xs, params)

    for run in (values, gradients, placed):
        assert_same(run(on("auto")), run(plain))
    return jax.device_count()


def calls_in_one_program() -> Any:
    """Run many calls that do not depend on each other, each on its own numbers, and again one after the other."""
    factors = [1.0 + k / 8 for k in range(12)]
    one = jax.jit(lambda factor, *given: both(given[0] * factor, *given[1:]))
    together = jax.jit(lambda *given: [one(factor, *given) for factor in factors])
    found = [[digest(each) for each in together(*drawn())] for _ in range(10)]
    return all(each == [digest(one(factor, *drawn())) for factor in factors] for each in found)


def write(path: str) -> Any:
    """Compile the call of both kernels."""
    compiled = jax.jit(both).lower(*drawn()).compile()
    Path(path).write_bytes(pickle.dumps(serialize_executable.serialize(compiled)))
    return digest(compiled(*drawn()))


def read(path: str) -> Any:
    """Run it; no step is traced here."""
    return digest(serialize_executable.deserialize_and_load(*pickle.loads(Path(path).read_bytes()))(*drawn()))


def export(path: str) -> Any:
    """Export the call of both kernels."""
    allowed = jax.export.DisabledSafetyCheck.custom_call(TARGET)
    program = jax.export.export(jax.jit(both), disabled_checks=[allowed])(*drawn())
    Path(path).write_bytes(program.serialize())
    return digests()


def run_exported(path: str) -> Any:
    """Run what was exported; no step is traced here."""
    program: Any = jax.export.deserialize(bytearray(Path(path).read_bytes()))
    return digest(jax.jit(program.call)(*drawn()))


def many_calls() -> Any:
    """Return how many bytes of memory 10,000 calls leave behind."""
    small, large = jax.jit(both), jax.jit(lambda v, xs: lif(v, xs)[0])
    given = [each[..., :1] for each in drawn()]

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def calls(number: int) -> int:
        for _ in range(number):
            digest(small(*given))
        for _ in range(number // 20):
            digest([large(*drawn()[:2])])
        return resident()

    calls(1000)
    return -calls(1000) + calls(10_000)


def page_faults(steps: str = "100") -> Any:
    """Return how many fresh pages a call needs whose results fill 32 pages a step, and what is said of memory."""
    run = jax.jit(lambda v, xs: lif(v, xs)[1])
    given = jax.device_put((np.zeros((8, 4096), np.float32), np.zeros((int(steps), 8, 4096), np.float32)))

    def calls(number: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(number):
            jax.block_until_ready(run(*given))  # type: ignore[no-untyped-call]
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    calls(5)
    return [calls(10) / 10, freed_memory.described()]


# --- machines with and without a compiler -----------------------------------------------------------------------------


def with_both_backends() -> Any:
    """Say what mode auto warns of, what a request for a kernel raises, and what explain_scan says."""
    xs: Any = np.linspace(-0.3, 1.2, 30, dtype=np.float32).reshape(10, 3)
    state = snn.LIFState(0.0 * xs[0])

    def run(scan: Any) -> Any:
        given = {"params": {"decay": 0.9}}
        gradient = jax.jit(jax.grad(lambda x: weighted(scan(snn.lif_step, state, x, **given))))(xs)
        return scan(snn.lif_step, state, xs, **given), gradient

    with warnings.catch_warnings(record=True, action="always") as caught:
        for _ in range(3):
            assert_same(run(on("auto")), run(plain))
    try:
        assert_same(run(on("fused")), run(plain))
        raised = ""
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    said = [str(each.message) for each in caught if str(each.message).startswith("scan: ")]
    return [said, raised, str(snn.explain_scan(snn.lif_step, state, xs, params={"decay": 0.9}))]


# --- subnormal numbers, which XLA's threads take for zero -------------------------------------------------------------

TINY = 1e-39


def in_order(*names: str) -> Any:
    """Run torch and JAX on subnormal membranes in some order, and say how many numbers of each result are not zero."""
    torch.set_num_threads(2)
    draw = np.random.default_rng(0)
    v, xs = ((draw.random(shape) * TINY).astype(np.float32) for shape in ((4, 1024), (20, 4, 1024)))
    want = v
    for x in xs:  # on a thread that keeps subnormal numbers
        want = np.float32(0.5) * want + x
    assert want.all()
    works: dict[str, Callable[..., Any]] = {each.__name__: each for each in (of_torch, of_jax, of_torch_in_jax)}
    found = []
    for name in names:
        if name == "of_xla":  # its threads work on something of their own
            np.asarray(jax.jit(lambda a: (a @ a).sum())(np.ones((1500, 1500), np.float32)))
            continue
        result = works[name](v, xs)
        found.append([name, "exact" if np.array_equal(result, want) else int(np.count_nonzero(result))])
    return found


def of_torch(v: Any, xs: Any) -> Any:
    """Run the kernel from torch."""
    with torch.no_grad():
        state = F.LIFState(torch.from_numpy(v))
        found, _ = F.scan(F.lif_step, state, torch.from_numpy(xs), params={"decay": 0.5}, backend="fused")
    return found.v.numpy()


def of_jax(v: Any, xs: Any) -> Any:
    """Run the kernel from JAX."""
    return np.asarray(jax.jit(lambda v, xs: lif(v, xs, 0.5)[0])(v, xs))


def of_torch_in_jax(v: Any, xs: Any) -> Any:
    """Run the kernel from torch on a thread of XLA, which takes subnormal numbers for zero, as it then has to."""
    found: list[Any] = []

    def call(x: Any) -> Any:
        found.append(of_torch(v, xs))
        return np.asarray(x)

    one = np.ones((), np.float32)
    np.asarray(jax.jit(lambda x: jax.pure_callback(call, one, x))(one))
    return found[0]


def main() -> None:
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
