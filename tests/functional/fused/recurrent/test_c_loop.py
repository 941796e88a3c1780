"""Recurrence through a matrix with its loop in C: the product against numpy, whole scans against the loop backend."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import recurrent
from spikingtorch.functional.fused.build.compiler import CompileError
from spikingtorch.functional.fused.recurrent import c_abi, c_loop
from spikingtorch.functional.fused.runtime import kernels
from spikingtorch.testing import assert_close

SIZES = (1, 2, 7, 16, 31, 32, 33, 100, 128)
DTYPES = (torch.float32, torch.float64)


@pytest.fixture(autouse=True)
def _any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans of few steps run in C as well."""
    monkeypatch.setattr(c_loop, "FEWEST", 1)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Run on two threads, where there is enough to do for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# the product


def spikes(rows: int, size: int, share: float, dtype: torch.dtype) -> Tensor:
    """Return rows of numbers, of which about a share is not zero."""
    return draw(rows, size, seed=2, dtype=dtype) * (draw(rows, size, seed=3).sigmoid() < share)


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


@pytest.mark.parametrize("share", [0.0, 0.12, 0.3, 1.1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_the_product(size: int, dtype: torch.dtype, share: float) -> None:
    matrix = draw(size, size, seed=0, dtype=dtype)
    for rows in range(1, 21):
        a, base = spikes(rows, size, share, dtype), draw(rows, size, seed=1, dtype=dtype)
        want = a.double().numpy() @ matrix.double().numpy()
        assert_close(product(a, matrix).numpy(), want.astype(a.numpy().dtype))
        assert_close(product(a, matrix, base).numpy(), (base.double().numpy() + want).astype(a.numpy().dtype))


def test_rows_of_all_kinds_in_one_product() -> None:
    matrix, base = draw(70, 70, seed=0), draw(150, 70, seed=1)
    a = torch.stack(
        [spikes(150, 70, share, torch.float64)[k] for k, share in enumerate([0.1, 1.1, 0.0, 0.2, 0.9] * 30)]
    )
    assert_close(product(a, matrix, base).numpy(), base.numpy() + a.numpy() @ matrix.numpy())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_a_row_is_the_same_in_any_company(size: int, dtype: torch.dtype) -> None:
    a, matrix = spikes(20, size, 0.6, dtype), draw(size, size, seed=0, dtype=dtype)
    base = draw(20, size, seed=1, dtype=dtype)
    alone = torch.cat([product(a[k : k + 1], matrix, base[k : k + 1]) for k in range(20)])
    for rows in range(1, 21):
        assert torch.equal(product(a[:rows], matrix, base[:rows]), alone[:rows])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_zeros_add_nothing(size: int, dtype: torch.dtype) -> None:
    a, matrix, base = (draw(9, size, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    a, matrix = spikes(9, size, 0.2, dtype), draw(size, size, seed=0, dtype=dtype)
    base[0] = -0.0
    for given in (base, None):
        skipped, added = product(a, matrix, given), product(a, matrix, given, skip_zeros=False)
        assert torch.equal(skipped, added)
        assert torch.equal(skipped.signbit(), added.signbit())


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_zero_times_infinity_is_not_a_number(value: float) -> None:
    a, matrix = spikes(9, 40, 0.1, torch.float64), draw(40, 40, seed=0)
    matrix[3, 5] = value
    want = a @ matrix
    got = product(a, matrix)
    assert want.isnan().any()
    torch.testing.assert_close(got, want, equal_nan=True)


def test_a_sum_of_weights_that_overflows() -> None:
    a, matrix = spikes(9, 40, 0.1, torch.float32), torch.full((40, 40), 1e37)
    assert not matrix.sum().isfinite()
    assert_close(product(a, matrix), a @ matrix)


# whole scans

Results = list[Tensor]


class Scan:
    """A recurrent LIF layer that spikes now and then."""

    def __init__(self, steps: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> None:
        size = shape[-1]
        xs = draw(steps, *shape, seed=0).sigmoid() * 0.5
        weight = draw(size, size, seed=1) * 0.2 / size**0.5
        v, s = draw(*shape, seed=2).sigmoid(), (draw(*shape, seed=3) > 1).double()
        self.leaves = [each.to(dtype) for each in (xs, v, s, weight)]
        self.decay = torch.linspace(0.8, 0.95, size, dtype=dtype)

    def run(self, backend: Any, *leaves: Tensor, step: Any = F.lif_step, kind: Any = F.LIFState) -> Results:
        """Return outputs and final states; a fifth leaf is the decay of each neuron."""
        xs, v, s, weight, *rest = leaves or self.leaves
        params = {"decay": rest[0] if rest else self.decay, "recurrent_weight": weight}
        state = F.RecurrentState(kind(v), s)
        recurrent: Any = F.Recurrent(step)
        final: Any
        final, outs = F.scan(recurrent, state, xs, params=params, backend=backend)
        return [outs, final.neuron.v, final.s]

    def gradients(self, backend: Any, of_decay: bool = False, **options: Any) -> tuple[Results, Results]:
        """Return the results, and their gradients for random cotangents."""
        given = [*self.leaves, self.decay] if of_decay else self.leaves
        leaves = [leaf.clone().requires_grad_() for leaf in given]
        results = self.run(backend, *leaves, **options)
        cotangents = [draw(*result.shape, seed=9 + k, dtype=result.dtype) for k, result in enumerate(results)]
        return [r.detach() for r in results], list(torch.autograd.grad(results, leaves, cotangents))


def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which way each pass takes."""
    taken: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            taken.append(name)
            return real(*args)

        return call

    for name in ("forward", "backward"):
        monkeypatch.setattr(c_loop, name, noting(name, getattr(c_loop, name)))
    return taken


@pytest.mark.parametrize("of_decay", [False, True], ids=["few", "all"])
@pytest.mark.parametrize("steps", [1, 2, 16, 17, 40])
@pytest.mark.parametrize("size", [33, 128])
def test_a_scan(size: int, steps: int, of_decay: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, taken = Scan(steps, (5, size)), ways(monkeypatch)
    got, want = scan.gradients("fused", of_decay), scan.gradients("loop", of_decay)
    assert taken == ["forward", "backward"]
    assert steps < 16 or 0.02 < want[0][0].mean() < 0.3, "not as sparse as spikes are"
    assert_close(got, want)


@pytest.mark.parametrize("steps", [1, 16, 33])
def test_outputs_that_are_no_spikes(steps: int) -> None:
    scan, options = Scan(steps, (5, 33)), {"step": F.li_step, "kind": F.LIState}
    assert_close(scan.gradients("fused", True, **options), scan.gradients("loop", True, **options))


def test_more_samples_than_a_thread_takes_at_once() -> None:
    scan = Scan(18, (3, 47, 33))
    assert_close(scan.gradients("fused"), scan.gradients("loop"))


def test_without_gradients_as_with_them() -> None:
    scan = Scan(40, (5, 33))
    assert all(map(torch.equal, scan.run("fused"), scan.gradients("fused")[0]))


def per_sample(found: tuple[Results, Results]) -> Results:
    """Return all but the gradient of the weights, which is a sum over samples."""
    return [*found[0], *found[1][:3]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_samples_one_by_one(dtype: torch.dtype) -> None:
    scan = Scan(40, (16, 128), dtype)
    whole = per_sample(scan.gradients("fused"))
    cotangents = [draw(*result.shape, seed=9 + k, dtype=dtype) for k, result in enumerate(whole[:3])]
    xs, v, s, weight = scan.leaves
    for k in range(16):
        leaves = [leaf.clone().requires_grad_() for leaf in (xs[:, k : k + 1], v[k : k + 1], s[k : k + 1])]
        results = scan.run("fused", *leaves, weight)
        chosen = [c.narrow(c.ndim - 2, k, 1) for c in cotangents]
        alone = [*results, *torch.autograd.grad(results, leaves, chosen)]
        assert all(torch.equal(a, b.narrow(b.ndim - 2, k, 1)) for a, b in zip(alone, whole, strict=True))


def test_one_thread_or_many() -> None:
    scan = Scan(40, (16, 128), torch.float32)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(per_sample(scan.gradients("fused")))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_a_forked_child_is_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    assert c_loop.teams(16, 10**9) == (2, 8)
    monkeypatch.setattr(kernels._Process, "forked", True)
    assert c_loop.teams(16, 10**9) == (1, 16)


@pytest.mark.parametrize("rows", [1, 2, 3, 63, 64, 65, 129, 1000])
def test_groups_hold_all_rows_and_no_more_than_fit(rows: int) -> None:
    for threads in (1, 2, 3, 16):
        torch.set_num_threads(threads)
        count, rows_per_group = c_loop.teams(rows, 10**9)
        assert 1 <= rows_per_group <= c_abi.ROWS
        assert 1 <= count <= -(-rows // rows_per_group), "a thread has nothing to do"


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_weights_that_are_not_finite(value: float) -> None:
    """What is no number is so where it is in the loop: a silent neuron times infinity too."""
    scan = Scan(5, (3, 33))
    scan.leaves[3][4, 6] = value
    for got, want in zip(scan.gradients("fused"), scan.gradients("loop"), strict=True):
        assert any(w.isnan().any() for w in want)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize(("steps", "states"), [(15, 1), (16, 1), (33, 3), (40, 3)])
def test_memory_of_the_trace(steps: int, states: int) -> None:
    """One state in 16 is kept."""
    scan = Scan(steps, (5, 33))
    kept: list[torch.Size] = []
    leaves = [leaf.clone().requires_grad_() for leaf in scan.leaves]

    def note(saved: Tensor) -> Tensor:
        kept.append(saved.shape)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        scan.run("fused", *leaves)
    # inputs, outputs and currents at all steps
    assert sorted(shape[0] for shape in kept if len(shape) == 3) == [states, steps, steps, steps]


# where the steps run from Python


@pytest.mark.parametrize("of_decay", [False, True], ids=["few", "all"])
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_steps_from_python(steps: int, of_decay: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "runs_in_c", lambda *_: False)
    scan, taken = Scan(steps, (2, 3, 33)), ways(monkeypatch)
    for options in ({}, {"step": F.li_step, "kind": F.LIState}):
        assert_close(scan.gradients("fused", of_decay, **options), scan.gradients("loop", of_decay, **options))
    assert not taken


def test_what_runs_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_c(rows: int, size: int, dtype: torch.dtype = torch.float32, steps: int = 8) -> bool:
        s = torch.empty(rows, size, dtype=dtype)
        return c_loop.runs_in_c(s, s.expand(steps, -1, -1))

    monkeypatch.undo()
    assert not in_c(16, 128, steps=7)

    assert all(in_c(rows, size) for rows in (1, 2, 64) for size in (1, 512, 1024))
    assert in_c(16, 2048)
    assert not in_c(16, 2048, torch.float64)
    assert not in_c(16, 4096)
    torch.set_num_threads(16)
    assert in_c(1, 512)
    assert not in_c(1, 1024), "15 threads would be idle"
    assert in_c(16, 1024)


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str) -> Any:
        raise CompileError("no vectors")

    monkeypatch.setattr(c_abi, "library", fail)
    c_abi._library.cache_clear()
    scan, taken = Scan(3, (2, 5)), ways(monkeypatch)
    assert_close(scan.gradients("fused"), scan.gradients("loop"))
    assert not taken
    c_abi._library.cache_clear()
