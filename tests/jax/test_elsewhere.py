"""A process without a compiler, and one whose kernels on disk are damaged."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HEAD = """
import warnings
import jax
import jax.numpy as jnp
from spikingtorch import jax as snn
from spikingtorch.functional import jax_reference as J
from tests.jax.oracle import assert_same, on, plain, weighted

xs, state = jnp.linspace(-0.3, 1.2, 30).reshape(10, 3), J.LIFState(jnp.zeros(3))

def step(state, x):
    return J.lif_step(state, x, decay=0.9)

def both(scan):
    return scan(step, state, xs), jax.jit(jax.grad(lambda x: weighted(scan(step, state, x))))(xs)

"""


def run(body: str, **environment: str) -> str:
    """Run a script in a process of its own, and return what it prints."""
    script, given = HEAD + textwrap.dedent(body), {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=given, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_without_a_compiler(tmp_path: Path) -> None:
    """Mode auto runs by lax.scan and says so once; a request is an error that says how to get a compiler."""
    said = run(
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                assert_same(both(on("auto")), both(plain))
        found = [str(each.message) for each in caught if str(each.message).startswith("scan: ")]
        print(len(found), found)
        try:
            snn.scan(step, state, xs, backend="fused")
        except Exception as error:
            print(type(error).__name__, error)
        print(snn.explain_scan(step, state, xs))
        """,
        CC="/nonexistent/cc",
        SPIKINGTORCH_CACHE_DIR=str(tmp_path),
    ).splitlines()
    assert said[0].startswith("1 ['scan: ")
    assert "lax.scan" in said[0]
    assert said[1].startswith("ValueError")
    assert "compiler" in said[1]
    assert said[2].startswith("loop: ")


CHECK = """
with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert_same(both(on("auto")), both(plain))
    assert_same(both(on("fused")), both(plain))
print("right")
"""


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "text"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    cache = {"SPIKINGTORCH_CACHE_DIR": str(tmp_path)}
    assert run(CHECK, **cache) == "right\n"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files, "no kernel lies in the cache"
    for path in files:
        whole = path.read_bytes()
        harm = {"cut": whole[: len(whole) // 2], "empty": b"", "noise": os.urandom(len(whole)), "text": b"no library"}
        path.chmod(0o700)
        path.write_bytes(harm[damage])
    assert run(CHECK, **cache) == "right\n"


@pytest.mark.long
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is a file holds no kernels: they are built all the same, or lax.scan runs and says so."""
    (tmp_path / "file").write_text("")
    said = run(
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_same(both(on("auto")), both(plain))
        print("right")
        """,
        SPIKINGTORCH_CACHE_DIR=str(tmp_path / "file"),
    )
    assert said == "right\n"


@pytest.mark.long
def test_two_processes_build_one_kernel_at_once(tmp_path: Path) -> None:
    given = {**os.environ, "SPIKINGTORCH_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", HEAD + CHECK]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=given) for _ in range(2)]
    assert [process.communicate(timeout=200)[0] for process in running] == ["right\n"] * 2
