"""Kernels called from XLA: the bits of torch, in every thread, device and process."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional.core.threads import SERIAL
from spikingtorch.functional.fused.build.compiler import NoCompiler
from spikingtorch.functional.fused.build.openmp import with_runtime
from spikingtorch.jax import handler, late
from tests.jax import handler_process
from tests.jax.calls import Kernels
from tests.processes import at_once, python

ffi: Any = jax.ffi  # parts of it have no types
HALVES = (torch.float16, torch.bfloat16)
DTYPES = (torch.float32, torch.float64, *HALVES)


@pytest.fixture(autouse=True)
def x64() -> Any:
    """Let JAX have float64."""
    with jax.enable_x64(True):
        yield


def lif(dtype: torch.dtype = torch.float32, decay: float = 0.9) -> Kernels:
    return Kernels.of(F.lif_step, F.LIFState(torch.zeros(())), dtype, decay=decay)


def drawn(T: int, B: int, N: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return state, inputs, and the cotangents of the last state and of the outputs."""
    draw, of_state = torch.Generator().manual_seed(0), torch.float32 if dtype in HALVES else dtype
    shapes = ((B, N), of_state), ((T, B, N), dtype), ((B, N), of_state), ((T, B, N), dtype)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(kind) for shape, kind in shapes]


def of_torch(given: list[torch.Tensor], decay: float = 0.9) -> list[torch.Tensor]:
    """Return last state, outputs, and the gradients of state and inputs."""
    v, x = (each.clone().requires_grad_() for each in given[:2])
    state, out = F.scan(F.lif_step, F.LIFState(v), x, params={"decay": decay}, backend="fused")
    return [state.v, out, *torch.autograd.grad([state.v, out], [v, x], given[2:])]


def to_jax(tensor: torch.Tensor) -> Any:
    return jax.dlpack.from_dlpack(tensor.contiguous())


def bits(array: Any) -> Any:
    return np.asarray(array).view(f"u{np.asarray(array).dtype.itemsize}")


def assert_as_torch(found: Any, given: list[torch.Tensor], decay: float = 0.9) -> None:
    for ours, theirs in zip(found, of_torch(given, decay), strict=True):
        np.testing.assert_array_equal(bits(ours), bits(to_jax(theirs.detach())))


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (17, 2, 130), (33, 3, 700)], ids=str)
def test_the_bits_of_torch(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    given = drawn(*shape, dtype)
    operands, kernels = [*map(to_jax, given)], lif(dtype)
    assert_as_torch(jax.jit(kernels.both)(*operands), given)
    assert_as_torch(kernels.both(*operands), given)


@pytest.mark.parametrize(("B", "N"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_do(B: int, N: int) -> None:
    found = jax.jit(lif().both)(*map(np.asarray, drawn(17, B, N)))
    assert [each.shape for each in found] == [(B, N), (17, B, N)] * 2


def test_a_call_within_a_loop_of_jax() -> None:
    """Buffers move from call to call, and so do the addresses that the handler fills in."""
    v, x, *_ = given = drawn(60, 4, 900)
    kernels = lif()

    def step(state: Any, xs: Any) -> Any:
        found = kernels.forward([state], [xs], keep=False)
        return found["finals"][0], found["outs"][0]

    last, outs = jax.jit(lambda v, xs: jax.lax.scan(step, v, xs))(to_jax(v), to_jax(x.reshape(3, 20, 4, 900)))
    want = of_torch(given)
    np.testing.assert_array_equal(last, want[0].detach())
    np.testing.assert_array_equal(outs.reshape(x.shape), want[1].detach())


@pytest.mark.long
def test_many_threads_at_once() -> None:
    """Threads of Python call the same kernels and new ones."""
    given = drawn(40, 6, 700)
    operands = [*map(to_jax, given)]

    def calls(decays: list[float]) -> list[tuple[float, Any]]:
        return [(decay, jax.jit(lif(decay=decay).both)(*operands)) for decay in decays for _ in range(5)]

    works = [lambda k=k: calls([0.9, 0.5 + k / 100]) for k in range(8)]
    for found in at_once(*works):
        for decay, each in found:
            assert_as_torch(each, given, decay)


def process(*command: object, **variables: Any) -> Any:
    return json.loads(python("-m", "tests.jax.handler_process", *command, **variables).splitlines()[-1])


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("threads", [1, 5])
def test_any_number_of_threads(threads: int) -> None:
    """XLA has as many threads as the variable says."""
    assert handler_process.T * handler_process.B * handler_process.N > SERIAL, "threads share the work"
    assert process("digests", NPROC=str(threads)) == handler_process.digests()


@pytest.mark.long
def test_many_devices_at_once() -> None:
    """Threads of the pool that are all in calls wait for none to come."""
    flags = "--xla_force_host_platform_device_count=4"
    assert process("on_every_device", XLA_FLAGS=flags) == [4, handler_process.digests()]


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("threads", [2, 4])
def test_many_calls_in_one_program(threads: int) -> None:
    """XLA runs some of them at once."""
    assert process("calls_in_one_program", NPROC=str(threads))


@pytest.mark.long
def test_in_other_processes(tmp_path: Path) -> None:
    """A program that another process has compiled builds its kernels where it runs."""
    want = process("write", tmp_path / "compiled")
    assert process("read", tmp_path / "compiled") == [0, 2, want]


def test_an_exported_program(tmp_path: Path) -> None:
    """It builds its kernels where it runs, and so does what JAX keeps of it on disk."""
    pytest.importorskip("flatbuffers", reason="JAX writes no exported program without it")
    want, cache = process("export", tmp_path / "exported"), tmp_path / "cache"
    always = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    always["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

    def kept() -> list[str]:
        return sorted(each.name for each in cache.iterdir() if each.name.endswith("-cache"))

    assert process("run_exported", tmp_path / "exported", **always) == [0, 2, want]
    before = kept()
    assert process("run_exported", tmp_path / "exported", **always) == [0, 2, want]
    assert kept() == before != []


@pytest.mark.long
def test_memory() -> None:
    assert process("many_calls") < 4e6


@pytest.mark.long
def test_large_results_take_the_memory_of_earlier_ones() -> None:
    faults, said = process("page_faults")
    if "kept for the next call" not in said:
        pytest.skip(said)
    assert faults < 800  # a quarter of what results fill; Python itself needs some


@pytest.mark.long
def test_large_results_take_huge_pages() -> None:
    """Where no freed memory is kept, so that all of it is fresh."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip("the system gives no huge pages")
    # so large that the C library never keeps them by itself
    faults, said = process("page_faults", 600, SPIKINGTORCH_KEEP_FREED_MEMORY="0")
    assert "given back" in said
    assert faults < 4800  # a quarter of what results fill; a huge page is one, and their ends are small pages


def test_no_name_is_taken_twice() -> None:
    """A clang without OpenMP compiles the handler and openmp.h as one text."""
    names = re.findall(r"^(?:static |OWN )?\w+ \**(\w+)\(", with_runtime(handler.handler_source()), re.MULTILINE)
    assert "handler" in names
    assert "take_threads" in names
    assert len(names) == len({*names})


def called(**changed: Any) -> Any:
    """Call a kernel with other attributes."""
    v = np.zeros((2, 3), np.float32)
    request = handler.Request(lif().program)
    attributes = {
        "kernel": handler.kernel(request), "request": request.to_text(), "scalars": np.zeros(1),
        "records": np.full(99, 2), "pointers": np.array([20, 40]),
    }  # fmt: skip
    run = ffi.ffi_call(handler.TARGET, v, vmap_method="sequential")
    return np.asarray(run(v, **attributes | changed))


OTHER = "another version of spikingtorch has made this program of JAX. Compile or export it again"


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel": "0" * 64},
        {"kernel": "0" * 64, "request": "{}"},
        {"kernel": "0" * 64, "request": "no request"},
        {"kernel": "0"},
        {"records": np.full(99, 2, np.int32)},
        {"records": np.full(4, 2)},
        {"pointers": np.array([20])},
        {"pointers": np.array([20, 99])},
        {"pointers": np.array([20, -1])},
        {"scalars": 1.0},
    ],
    ids=str,
)
def test_a_program_of_another_version(changed: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=OTHER):
        called(**changed)


def test_no_compiler_where_a_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: str) -> Any:
        raise NoCompiler("there is no C compiler. To get one: ...")

    other = Kernels.of(F.if_step, F.IFState(torch.zeros(())), reset=F.by_subtraction)
    lif().forward([np.zeros((2, 3), np.float32)], [np.zeros((1, 2, 3), np.float32)])
    monkeypatch.setattr(handler, "library", none)
    with pytest.raises(Exception, match=r"cannot be compiled here: there is no C compiler\. To get one"):
        called(kernel="0" * 64, request=handler.Request(other.program).to_text())


ANSWERS: list[Any] = ["there is no C compiler. To get one: ..."]
HEADER = handler.header().read_text()
LATE = late.handler(lambda: ANSWERS[-1], HEADER)  # XLA may call it as long as the process lives


def test_a_handler_without_a_compiler_refuses_in_words_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "TARGET", "spikingtorch_late")
    ffi.register_ffi_target(handler.TARGET, ffi.pycapsule(LATE))
    given = drawn(17, 2, 130)
    for _ in range(2):
        with pytest.raises(Exception, match=r"there is no C compiler\. To get one"):
            assert_as_torch(jax.jit(lif().both)(*map(to_jax, given)), given)
    monkeypatch.setattr(f"{__name__}.ANSWERS", [handler.handler().handler])
    assert_as_torch(jax.jit(lif().both)(*map(to_jax, given)), given)


def test_no_handler_is_made_for_an_interface_that_is_not_known() -> None:
    """XLA's CPU would not start with it."""
    assert late.handler(str, HEADER.replace("API_MAJOR 0", "API_MAJOR 1")) is None
    assert late.handler(str, "") is None
