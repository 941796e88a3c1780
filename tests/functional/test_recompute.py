"""Scans whose chunks run again in the backward pass, beside scans that keep everything."""

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.testing import assert_close

pytestmark = pytest.mark.sampled

T, N = 17, 3
DENSE = F.Recurrent(F.lif_step, F.dense)


class Row(NamedTuple):
    """A step with its state and its parameters."""

    step: Any
    state: Any
    params: dict[str, Any]
    backends: tuple[str, ...] = ("auto", "loop", "fused")


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(seed: int, *shape: int) -> Tensor:
    return numbers(seed, *shape).requires_grad_()


def noisy(state: F.LIFState, x: Tensor, *, decay: Tensor) -> tuple[F.LIFState, Tensor]:
    return F.lif_step(state, x + torch.rand_like(x), decay=decay)


def tuple_out(state: F.LIFState, x: Any, *, decay: Tensor) -> tuple[F.LIFState, dict[str, Tensor]]:
    after, spikes = F.lif_step(state, x["current"] * x["gain"], decay=decay)
    return after, {"spikes": spikes, "v": after.v}


ROWS = {
    "LIF": Row(F.lif_step, F.LIFState(trained(1, N)), {"decay": trained(2, N), "threshold": 0.8}),
    "recurrent": Row(
        DENSE,
        F.RecurrentState(F.LIFState(trained(1, 2, N)), torch.zeros(2, N, dtype=torch.float64)),
        {"decay": trained(2, N), "recurrent_weight": trained(4, N, N)},
        ("auto", "loop"),
    ),
    "LI": Row(F.li_step, F.LIState(trained(1, N)), {"decay": trained(2, N)}, ("auto", "loop", "fused", "parallel")),
    "random numbers": Row(noisy, F.LIFState(trained(1, N)), {"decay": trained(2, N)}, ("loop",)),
}


def results(row: Row, backend: Any, **options: Any) -> tuple[Any, list[Tensor]]:
    """Return the results of a scan, and the gradients of all that it is given."""
    leaves = [leaf for leaf in leaves_of((row.state, row.params)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    x = numbers(0, T, *leaves_of(row.state)[0].shape).requires_grad_()
    torch.manual_seed(5)
    found = F.scan(row.step, row.state, x, params=row.params, backend=backend, **options)
    outs = [leaf for leaf in leaves_of(found) if leaf.requires_grad]
    total = sum([(numbers(6 + place, *out.shape) * out).sum() for place, out in enumerate(outs)])
    slopes = [*torch.autograd.grad(torch.as_tensor(total), [x, *leaves])]
    assert all(bool(each.any()) for each in slopes), "a gradient is zero"
    return found, slopes


@pytest.mark.parametrize("recompute", [1, 5, 16, T, 100, "auto"])
@pytest.mark.parametrize(("name", "backend"), [(name, each) for name, row in ROWS.items() for each in row.backends])
def test_the_gradient_is_that_of_the_scan_that_keeps_everything(name: str, backend: str, recompute: Any) -> None:
    got, want = results(ROWS[name], backend, recompute=recompute), results(ROWS[name], backend)
    assert_close(got, want)


@pytest.mark.long
def test_backend_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikingtorch.functional.compiled.CHUNK", 4)  # several of these in a chunk that runs again
    row = ROWS["recurrent"]
    assert_close(results(row, "compile", recompute=16), results(row, "loop"))


def test_a_note_of_the_compiler_is_no_change() -> None:
    decay = trained(2, N)
    _, spikes = F.scan(F.lif_step, F.LIFState(numbers(1, N)), numbers(0, T, N), params={"decay": decay}, recompute=5)
    torch._dynamo.mark_dynamic(decay, 0)  # as torch.compile does by itself, when a size has changed
    spikes.sum().backward()
    assert decay.grad is not None


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_trees_and_axes(dim: int) -> None:
    def run(recompute: Any) -> Any:
        x, gain, decay = trained(0, 6, 6, N), trained(1, 6, 6, N), trained(2, N)
        state = F.LIFState(numbers(3, 6, N))
        after, outs = F.scan(
            tuple_out, state, {"current": x, "gain": gain}, params={"decay": decay}, dim=dim, recompute=recompute
        )
        total = (after.v.sin() + (outs["spikes"] * numbers(4, 6, 6, N)).sum() + outs["v"].square().sum()).sum()
        return after, outs, torch.autograd.grad(total, [x, gain, decay])

    assert_close(run(4), run(None))


def test_half_precision_is_rounded_once() -> None:
    x = numbers(0, T, N).bfloat16().requires_grad_()
    found = [
        F.scan(F.lif_step, F.LIFState(torch.zeros(N)), x, params={"decay": 0.9}, recompute=each) for each in (None, 4)
    ]
    assert all(map(torch.equal, leaves_of(found[0]), leaves_of(found[1])))


@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_what_is_kept_is_one_chunk(backend: Any) -> None:
    def kept(**options: Any) -> int:
        sizes: dict[int, int] = {}

        def pack(leaf: Tensor) -> Tensor:
            sizes[leaf.untyped_storage().data_ptr()] = leaf.untyped_storage().nbytes()
            return leaf

        x, state = trained(0, 64, N), F.LIFState(numbers(1, N))
        with saved_tensors_hooks(pack, lambda leaf: leaf):
            F.scan(F.lif_step, state, x.sin(), params={"decay": 0.9}, backend=backend, **options)
        return sum(sizes.values())

    inputs = 2 * 64 * N * 8  # x, of which the sine is computed, and the sine, of which chunks are views
    assert kept(recompute=8) - inputs <= (kept() - inputs) / 8 + 2 * 8 * N * 8


def test_a_tensor_that_the_step_has_captured_gets_its_gradient() -> None:
    gain = trained(1, N)

    def run(recompute: Any) -> Tensor:
        def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
            return F.lif_step(state, gain * x, decay=0.9)

        _, out = F.scan(step, F.LIFState(numbers(2, N)), numbers(0, T, N), backend="loop", recompute=recompute)
        return torch.autograd.grad((out * numbers(3, T, N)).sum(), gain)[0]

    assert_close(run(4), run(None))


def test_a_step_that_has_changed_before_the_backward_pass_is_an_error() -> None:
    gain, held = trained(1, N), {"count": 1.0}

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        return F.lif_step(state, gain * x * held["count"], decay=0.9)

    def out() -> Tensor:
        return F.scan(step, F.LIFState(numbers(2, N)), numbers(0, T, N), backend="loop", recompute=4)[1].sum()

    total = out()
    with torch.no_grad():
        gain.mul_(2.0)
    with pytest.raises(RuntimeError, match=r"scan: a tensor that step reads has changed .*Call backward\(\) before"):
        total.backward()
    total = out()
    held["count"] = 2.0
    with pytest.raises(RuntimeError, match=r"scan: .*a dict that step reads has changed"):
        total.backward()
    out().backward()


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_generators_that_a_second_run_would_not_repeat_are_refused(kind: str) -> None:
    of_torch, of_numpy, of_python = torch.Generator(), np.random.default_rng(3), random.Random(3)

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        if kind == "torch":
            x = x + torch.rand(x.shape, generator=of_torch, dtype=x.dtype)
        return F.lif_step(state, x * (of_python.random() + of_numpy.random()), decay=0.9)

    with pytest.raises(ValueError, match=r"scan: recompute= runs step.* and it draws random numbers from a .*with xs"):
        F.scan(step, F.LIFState(numbers(2, N)), trained(0, T, N), recompute=4)


@pytest.mark.filterwarnings("ignore:scan. step ran on the Python loop")
def test_the_random_numbers_of_numpy_repeat() -> None:
    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        return F.lif_step(state, x * np.random.rand(), decay=0.9)

    found = []
    for recompute in (None, 4):
        np.random.seed(3)
        x = trained(0, T, N)
        out = F.scan(step, F.LIFState(numbers(2, N)), x, recompute=recompute)[1]
        cotangent = numbers(5, *out.shape)
        drawn = np.random.rand()
        found.append((out.detach(), *torch.autograd.grad(out, x, cotangent), torch.tensor(drawn)))
    for one, other in zip(*found, strict=True):
        assert_close(one, other)


def test_a_backward_pass_in_inference_mode() -> None:
    x = trained(0, T, N)
    total = F.scan(F.lif_step, F.LIFState(numbers(2, N)), x, params={"decay": 0.9}, recompute=4)[1].sum()
    kept = F.scan(F.lif_step, F.LIFState(numbers(2, N)), x, params={"decay": 0.9})[1].sum()
    with torch.inference_mode():
        (found,) = torch.autograd.grad(total, x)
    assert_close(found.clone(), torch.autograd.grad(kept, x)[0])


def test_without_gradients_nothing_is_cut() -> None:
    x = numbers(0, T, N)
    with torch.no_grad():
        got, want = [
            torch.func.vmap(
                lambda x, each=each: F.scan(F.li_step, F.LIState(x[0]), x, params={"decay": 0.5}, recompute=each)[1]
            )(x[:, None].expand(T, 2, N).movedim(1, 0))
            for each in (4, None)
        ]
    assert torch.equal(got, want)


def grad_of_scan(x: Tensor) -> Tensor:
    return F.scan(F.lif_step, F.LIFState(x[0]), x, params={"decay": 0.9}, recompute=4)[1].sum()


# calls of a function of x in which no second run replaces a tensor, and how a message names them
INSIDE: list[tuple[Any, str]] = [
    (lambda function, x: torch.func.grad(function)(x), "a transform of torch.func"),
    (lambda function, x: torch.func.jvp(function, (x,), (x,)), "a transform of torch.func"),
    (lambda function, x: torch.compile(function, backend="eager", fullgraph=True)(x), "torch.compile"),
    (lambda function, x: torch.compile(function, backend="eager")(x), "torch.compile"),
]


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
@pytest.mark.parametrize(("call", "what"), INSIDE)
def test_where_nothing_runs_again(call: Any, what: str) -> None:
    with pytest.raises(Exception, match=f"recompute= does not work inside {what}.*Leave out recompute there"):
        call(grad_of_scan, trained(0, T, N))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "sqrt"])
def test_wrong_numbers(wrong: Any) -> None:
    for function in (F.scan, F.explain_scan):
        with pytest.raises(ValueError, match=f"^scan: recompute={wrong!r}, expected the number of steps of a chunk"):
            function(F.li_step, F.LIState(numbers(0, N)), numbers(1, T, N), params={"decay": 0.5}, recompute=wrong)


def test_explain() -> None:
    found = F.explain_scan(
        F.li_step, F.LIState(numbers(0, N)), numbers(1, T, N), params={"decay": 0.5}, recompute="auto"
    )
    assert str(found).endswith("bit-identical to the loop; 5 steps at a time, run again in the backward pass")
