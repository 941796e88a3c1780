"""Fixtures of the tests."""

import os

# before torch: several processes share the cores, where a thread that waits in a loop takes them from others
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import copy
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch

import spikingtorch as st
import tests.xla  # noqa: F401 - before JAX compiles
from tests.every_layer import LAYERS
from tests.folded_layer import Took
from tests.surroundings import forget, on_threads

# make test runs one in so many cases of a long table, and make test-long one in so many of the others
EVERY, EVERY_LONG = 64, 5

# torch's compiler and JAX load modules while tests run, which each full collection would go through again
gc.set_threshold(10_000)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is left out of the tables that are sampled: the same cases each time, the first of a table never."""
    seen: Counter[str] = Counter()
    for item in items:
        if item.get_closest_marker("sampled") is not None:
            table = item.nodeid.partition("[")[0]
            late, night = divmod(crc32(item.nodeid.encode()), EVERY_LONG)
            if seen[table] and late % EVERY:
                item.add_marker(pytest.mark.long)
            if seen[table] and night and item.get_closest_marker("long") is not None:
                item.add_marker(pytest.mark.night)
            seen[table] += 1


def pytest_collection_finish() -> None:
    """Spare the garbage collector, which many tests call, what torch, JAX and all modules hold until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> st.StepLayer:
    return copy.deepcopy(LAYERS[request.param])


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors are slower on many threads, and far slower on a busy machine."""
    with on_threads(1):
        yield


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call of every step its first one."""
    forget(monkeypatch)


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> Took:
    """How many scans of layers were repetitions."""
    return Took(monkeypatch)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the main of a command in a folder with modules; it returns the exit code, and what is said in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(main: Callable[..., int], *arguments: str, **modules: str) -> tuple[int, str]:
        for name, text in modules.items():
            sys.modules.pop(name, None)
            (tmp_path / f"{name}.py").write_text(text)
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(str(left.code))
        return code, " ".join("".join(capsys.readouterr()).split())

    return run
