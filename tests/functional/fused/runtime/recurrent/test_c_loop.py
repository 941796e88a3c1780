"""Recurrence through a matrix with its loop in C: the product against numpy, whole scans against the loop backend."""

import ctypes
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.core.threads import Process
from spikingtorch.functional.fused.build.compiler import CompileError
from spikingtorch.functional.fused.runtime.recurrent import c_abi, c_loop
from spikingtorch.testing import assert_close
from tests.drawn import normal
from tests.fused import Scan
from tests.recurrences import Recurrent, check, with_records
from tests.surroundings import calls_of, on_threads, saved_by

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Run on two threads, where there is enough to do for them."""
    with on_threads(2):
        yield


# the product


def spikes(rows: int, size: int, share: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return rows of numbers, of which about a share is not zero."""
    return normal(rows, size, seed=2).to(dtype) * (normal(rows, size, seed=3).sigmoid() < share)


def product(a: Tensor, matrix: Tensor, base: Tensor | None = None, skip_zeros: bool = True) -> Tensor:
    """Return base + a @ matrix as the compiled loop has it."""
    prepared = c_abi.matrix(matrix, across=False)
    if not skip_zeros:
        prepared.record.finite = 0
    # more room than is needed: nothing may be written beyond the rows
    out = torch.full((len(a) + 1, a.shape[1]), 7.0, dtype=a.dtype)
    address = None if base is None else base.data_ptr()
    functions = c_abi.functions(a.dtype)
    functions.multiply_rows(ctypes.byref(prepared.record), len(a), a.data_ptr(), address, out.data_ptr())
    assert (out[-1] == 7.0).all(), "wrote beyond its rows"
    return out[:-1]


@pytest.mark.sampled
@dtypes
@pytest.mark.parametrize("size", [1, 2, 7, 16, 31, 32, 33, 100, 128])
def test_the_product(size: int, dtype: torch.dtype) -> None:
    """A row is the same in any company, and zeros add nothing."""
    matrix, base = normal(size, size, seed=0).to(dtype), normal(20, size, seed=1).to(dtype)
    base[0] = -0.0
    for share, given in itertools.product((0.0, 0.12, 0.3, 0.6, 1.1), (None, base)):
        a = spikes(20, size, share, dtype)
        want = a.double().numpy() @ matrix.double().numpy() + (0.0 if given is None else given.double().numpy())
        alone = [product(a[k : k + 1], matrix, None if given is None else given[k : k + 1]) for k in range(20)]
        for rows in range(1, 21):
            found = product(a[:rows], matrix, given)
            assert torch.equal(found, torch.cat(alone[:rows]))
            assert_close(found.numpy(), want[:rows].astype(found.numpy().dtype))
        skipped, added = product(a, matrix, given), product(a, matrix, given, skip_zeros=False)
        assert torch.equal(skipped, added)
        assert torch.equal(skipped.signbit(), added.signbit())


def test_rows_of_all_kinds_in_one_product() -> None:
    matrix, base = normal(70, 70, seed=0), normal(150, 70, seed=1)
    a = torch.stack([spikes(150, 70, share)[k] for k, share in enumerate([0.1, 1.1, 0.0, 0.2, 0.9] * 30)])
    assert_close(product(a, matrix, base).numpy(), base.numpy() + a.numpy() @ matrix.numpy())


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_zero_times_infinity_is_not_a_number(value: float) -> None:
    a, matrix = spikes(9, 40, 0.1), normal(40, 40, seed=0)
    matrix[3, 5] = value
    assert (a @ matrix).isnan().any()
    torch.testing.assert_close(product(a, matrix), a @ matrix, equal_nan=True)


def test_a_sum_of_weights_that_overflows() -> None:
    a, matrix = spikes(9, 40, 0.1, torch.float32), torch.full((40, 40), 1e37)
    assert not matrix.sum().isfinite()
    assert_close(product(a, matrix), a @ matrix)


# whole scans

LI: dict[str, Any] = {"step": F.li_step, "kind": F.LIState}  # its outputs are no spikes
OF_FEW = ["['xs']", "['state'].neuron.v", "['state'].s", "['params']['recurrent_weight']"]


def scan(
    steps: int, *shape: int, dtype: torch.dtype = torch.float64, step: Any = F.lif_step, kind: Any = F.LIFState
) -> Scan:
    """Return a recurrent layer that spikes now and then, with a decay of each neuron."""
    size = shape[-1]
    weight = normal(size, size, seed=1) * 0.2 / size**0.5
    params = {"decay": torch.linspace(0.8, 0.95, size, dtype=torch.float64), "recurrent_weight": weight}
    state = F.RecurrentState(kind(normal(*shape, seed=2).sigmoid()), (normal(*shape, seed=3) > 1).double())
    return Scan(Recurrent(step), state, normal(steps, *shape, seed=0).sigmoid() * 0.5, params).converted(dtype)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passes that take the loop in C."""
    found: list[str] = []
    for name in ("forward", "backward"):
        calls_of(monkeypatch, c_loop, name, lambda *_, name=name: found.append(name))
    return found


@pytest.mark.parametrize("names", [(), ("v", "u")], ids=["plain", "with records"])
@pytest.mark.parametrize("only", [OF_FEW, None], ids=["few", "all"])
def test_a_scan(only: Any, names: tuple[str, ...], taken: list[str]) -> None:
    for steps, size in itertools.product((7, 8, 16, 17, 40), (33, 128)):
        spiking = scan(steps, 5, size)
        check(with_records(spiking, *names), only=only)
        assert steps < 16 or 0.02 < spiking.run("loop")[1].mean() < 0.3, "not as sparse as spikes are"
        check(scan(steps, 2, 3, 33, **LI), only=only)
    assert taken == ["forward", "forward", "forward", "backward"] * 16


def test_more_samples_than_a_thread_takes_at_once() -> None:
    check(with_records(scan(18, 3, 47, 33), "v", "u"))


def per_sample(given: Scan) -> list[Tensor]:
    """Return all results and gradients but those of what samples share."""
    watched, leaves = given.watched(OF_FEW[:3])
    state, outs = watched.run("fused")
    results = [outs, state.neuron.v, state.s]
    cotangent = normal(outs.shape[-1], seed=9).to(outs.dtype)
    return [*results, *torch.autograd.grad(results, list(leaves.values()), [cotangent.expand_as(r) for r in results])]


@dtypes
def test_samples_one_by_one_and_threads(dtype: torch.dtype) -> None:
    """They change no bit, and neither does a gradient to come."""
    whole = scan(40, 16, 128, dtype=dtype)
    found, (neuron, s) = per_sample(whole), whole.state
    state, outs = whole.run("fused")
    assert all(map(torch.equal, (outs, state.neuron.v, state.s), found))
    for k in range(16):
        state = F.RecurrentState(F.LIFState(neuron.v[k : k + 1]), s[k : k + 1])
        alone = per_sample(whole._replace(state=state, xs=whole.xs[:, k : k + 1]))
        assert all(torch.equal(a, b.narrow(b.ndim - 2, k, 1)) for a, b in zip(alone, found, strict=True))
    for threads in (1, 3):
        with on_threads(threads):
            assert all(map(torch.equal, found, per_sample(whole)))


def test_teams_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups hold all rows and no more than fit, and a forked child is serial."""
    assert c_loop.teams(16, 10**9) == (2, 8)
    for rows, threads in itertools.product((1, 2, 3, 63, 64, 65, 129, 1000), (1, 2, 3, 16)):
        torch.set_num_threads(threads)
        count, rows_per_group = c_loop.teams(rows, 10**9)
        assert 1 <= rows_per_group <= c_abi.ROWS
        assert 1 <= count <= -(-rows // rows_per_group), "a thread has nothing to do"
    monkeypatch.setattr(Process, "forked", True)
    assert c_loop.teams(16, 10**9) == (1, 16)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_weights_that_are_not_finite(value: float) -> None:
    """What is no number is so where it is in the loop: a silent neuron times infinity too."""
    given = scan(9, 3, 33)
    given.params["recurrent_weight"][4, 6] = value
    for get in (Scan.run, Scan.gradients):
        got, want = get(given, "fused"), get(given, "loop")
        torch.testing.assert_close(got, want, equal_nan=True)
        assert any(each.isnan().any() for each in pytree.tree_leaves(want))


@pytest.mark.parametrize(("steps", "states"), [(15, 1), (16, 1), (33, 3), (40, 3)])
def test_memory_of_the_trace(steps: int, states: int) -> None:
    """One state in 16 is kept."""
    kept = saved_by(lambda: scan(steps, 5, 33).watched()[0].run("fused"))
    # inputs, outputs and currents at all steps
    assert sorted(len(each) for each in kept if each.ndim == 3) == [states, steps, steps, steps]


def test_what_runs_in_c() -> None:
    def in_c(rows: int, size: int, dtype: torch.dtype = torch.float32, steps: int = 8) -> bool:
        s = torch.empty(rows, size, dtype=dtype)
        return c_loop.runs_in_c(s, s.expand(steps, -1, -1))

    assert not in_c(16, 128, steps=7)
    assert all(in_c(rows, size) for rows in (1, 2, 64) for size in (1, 512, 1024))
    assert in_c(16, 2048)
    assert not in_c(16, 2048, torch.float64)
    assert not in_c(16, 4096)
    torch.set_num_threads(16)
    assert in_c(1, 512)
    assert not in_c(1, 1024), "15 threads would be idle"
    assert in_c(16, 1024)


def test_a_compiler_that_fails(taken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str) -> Any:
        raise CompileError("no vectors")

    monkeypatch.setattr(c_abi, "library", fail)
    c_abi.functions.cache_clear()
    check(scan(8, 2, 5))
    assert not taken
    c_abi.functions.cache_clear()
