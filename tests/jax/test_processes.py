"""Scans in other processes: compiled or exported elsewhere, on many devices and threads, beside torch's own kernels."""

import json
from pathlib import Path
from typing import Any

import pytest

from spikingtorch.functional.core.threads import SERIAL
from tests.jax import process as work
from tests.processes import child

FOUR_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}


def process(*command: object, **variables: Any) -> Any:
    return json.loads(child("from tests.jax import process; process.main()", *command, **variables).splitlines()[-1])


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("threads", [1, 5])
def test_any_number_of_threads(threads: int) -> None:
    """XLA has as many threads as the variable says."""
    assert work.T * work.B * work.N > SERIAL, "threads share the work"
    assert process("digests", NPROC=str(threads)) == work.digests()


@pytest.mark.long
def test_many_devices_at_once() -> None:
    """Threads of the pool that are all in calls wait for none to come."""
    assert process("on_every_device", **FOUR_DEVICES) == [4, work.digests()]


@pytest.mark.long
def test_samples_that_are_split_over_devices() -> None:
    assert process("split_over_devices", **FOUR_DEVICES) == 4


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("threads", [2, 4])
def test_many_calls_in_one_program(threads: int) -> None:
    """XLA runs some of them at once."""
    assert process("calls_in_one_program", NPROC=str(threads))


@pytest.mark.long
def test_a_compiled_program(tmp_path: Path) -> None:
    """A program that another process has compiled builds its kernels where it runs."""
    want = process("write", tmp_path / "compiled")
    assert process("read", tmp_path / "compiled", SPIKINGTORCH_CACHE_DIR=str(tmp_path / "kernels")) == want
    assert len([*(tmp_path / "kernels").rglob("*.*")]) >= 3  # of the handler, and forward and backward


def test_an_exported_program(tmp_path: Path) -> None:
    """It builds its kernels where it runs, and so does what JAX keeps of it on disk."""
    pytest.importorskip("flatbuffers", reason="JAX writes no exported program without it")
    work.export(str(tmp_path / "exported"))
    want, cache = work.digests(), tmp_path / "cache"
    always = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    always["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

    def kept() -> list[str]:
        return sorted(each.name for each in cache.iterdir() if each.name.endswith("-cache"))

    assert process("run_exported", tmp_path / "exported", **always) == want
    before = kept()
    assert process("run_exported", tmp_path / "exported", **always) == want
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


ORDERS = [
    # a team of OpenMP's threads that is born on a thread of XLA
    "of_torch_in_jax of_torch of_jax of_torch",
    "of_torch of_torch_in_jax of_torch of_jax",
    "of_torch of_jax of_torch",
    "of_jax of_torch of_jax",
    "of_xla of_torch of_jax",
    "of_xla of_jax of_torch",
]


@pytest.mark.sampled
@pytest.mark.parametrize("order", ORDERS)
def test_neither_changes_how_the_other_takes_subnormal_numbers(order: str) -> None:
    """OpenMP's threads are born with the mode of the thread that calls first."""
    of_callback = {"exact", 0}  # as the calling thread does, which is XLA's own business
    for name, found in process("in_order", *order.split()):
        assert found in (of_callback if name == "of_torch_in_jax" else {"exact"}), f"{name}: {found}"


@pytest.mark.long
def test_without_a_compiler(tmp_path: Path) -> None:
    """Mode auto runs by lax.scan and says so once; a request is an error that says how to get a compiler."""
    given = {"CC": "/nonexistent/cc", "SPIKINGTORCH_CACHE_DIR": str(tmp_path)}
    (warned,), raised, told = process("with_both_backends", **given)
    assert "lax.scan" in warned
    assert raised.startswith("ValueError")
    assert "compiler" in raised
    assert told.startswith("loop: ")


@pytest.mark.long
@pytest.mark.parametrize("damage", [True, False], ids=["damaged", "no folder"])
def test_a_cache_that_is_of_no_use(tmp_path: Path, damage: bool) -> None:
    """Kernels are built all the same, those that are damaged again; and a folder that is a file holds none."""
    folder = tmp_path / "kernels"
    cache = {"SPIKINGTORCH_CACHE_DIR": str(folder)}
    if damage:
        assert process("with_both_backends", **cache)[:2] == [[], ""]
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.chmod(0o700)
            path.write_bytes(b"no library")
    else:
        folder.write_text("")
    assert process("with_both_backends", **cache)[:2] == [[], ""]
