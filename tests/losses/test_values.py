"""Losses: against their twins, finite differences, one sample at a time, and inside torch.func and torch.compile."""

from collections.abc import Callable
from typing import Any

import jax
import pytest
import torch
from torch import Generator, Tensor

from spikingtorch.interop import to_jax, to_torch
from spikingtorch.losses import count_mse, first_spike_time, van_rossum_distance
from spikingtorch.metrics import first_spike_accuracy, rate_accuracy
from spikingtorch.testing import assert_close
from tests.drawn import trains
from tests.losses.cases import BY_NAME, Case
from tests.losses.twins import integral_of_van_rossum

F32, F64 = torch.float32, torch.float64
each_case = pytest.mark.parametrize("case", BY_NAME.values(), ids=BY_NAME.keys())
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.clone(),
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every other": lambda x: x.repeat_interleave(2, 2)[:, :, ::2],
    "classes first": lambda x: x.movedim(2, 0).contiguous().movedim(0, 2),
}


def padded(x: Tensor, lengths: list[int], value: float = torch.nan) -> Tensor:
    """Return a copy with a value after the steps that count."""
    x = x.clone()
    for row, length in zip(x, lengths, strict=True):
        row[length:] = value
    return x


def of_twin(case: Case, x: Tensor, target: Tensor | None, lengths: list[int], cotangent: Tensor) -> list[Tensor]:
    """Return value and gradients (zero in the padding) of the twin, one sample at a time."""
    floats = [x] if case.target != "sequence" or target is None else [x, target]
    gradients = [torch.zeros_like(each) for each in floats]
    values = []
    with jax.enable_x64(True):
        for n, T in enumerate(lengths):
            labels = () if target is None or target.is_floating_point() else (target[n],)
            label = [each[:T].numpy() if each.ndim else int(each) for each in labels]
            run = lambda *given, label=label: case.twin(*given, *label, **case.keywords)  # noqa: E731
            value, pull_back = jax.vjp(run, *(to_jax(each[n, :T].double()) for each in floats))
            values.append(to_torch(value).to(x.dtype))
            for gradient, found in zip(gradients, pull_back(to_jax(cotangent[n].double())), strict=True):
                gradient[n, :T] = to_torch(found).to(x.dtype)
    return [torch.stack(values), *gradients]


def ours(
    case: Case, x: Tensor, target: Tensor | None, lengths: list[int] | None, cotangent: Tensor | None = None
) -> list[Tensor]:
    """Return value and gradients of a loss, whose input has the strides of x."""
    sequence = case.target == "sequence" and target is not None
    floats = [each.detach().requires_grad_() for each in ([x, target] if sequence and target is not None else [x])]
    value = case.call(floats[0], floats[1] if sequence else target, lengths)
    given = torch.ones_like(value) if cotangent is None else cotangent
    return [value.detach(), *torch.autograd.grad(value, floats, given)]


@pytest.mark.sampled
@each_case
@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("T", [1, 2, 17])
def test_as_the_twin(case: Case, dtype: torch.dtype, T: int) -> None:
    x, target = case.draw(4, T, dtype, seed=T)
    some = [T, 1, (T + 1) // 2, T]
    for index, lengths in enumerate((None, some)):
        cotangent = torch.randn(case.call(x, target).shape, generator=Generator().manual_seed(1), dtype=dtype)
        want = of_twin(case, x, target, lengths or [T] * 4, cotangent)
        sequence = target is not None and case.target == "sequence"
        for name, layout in LAYOUTS.items() if T == 17 else [*LAYOUTS.items()][index : index + 1]:
            dirty = layout(padded(x, some) if lengths else x)
            aim = layout(padded(target, some) if lengths else target) if sequence and target is not None else target
            if lengths and target is not None and case.target == "class of each step":
                aim = padded(target, some, -100)
            got = ours(case, dirty, aim, lengths, cotangent)
            assert_close(got, want, f"{name}, lengths {lengths}")
            for gradient in got[1:] if lengths else ():
                assert all((row[n:] == 0).all() for row, n in zip(gradient, some, strict=True))


@each_case
def test_each_sample_by_itself(case: Case) -> None:
    lengths = [9, 1, 5, 8]
    x, target = case.draw(4, 9, F64)
    for value in (torch.nan, torch.inf, -1e300):
        sequence = case.target == "sequence" and target is not None
        aim = padded(target, lengths, value) if sequence and target is not None else target
        got = ours(case, padded(x, lengths, value), aim, lengths)
        for n, T in enumerate(lengths):
            own = None if target is None else target[n : n + 1]
            label = own if own is None or own.ndim == 1 else own[:, :T]
            alone = ours(case, x[n : n + 1, :T], label, None)
            assert_close(got[0][n : n + 1], alone[0])
            assert_close(got[1][n : n + 1, :T], alone[1])


@pytest.mark.sampled
@each_case
@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
def test_finite_differences(case: Case, lengths: list[int] | None) -> None:
    x, target = case.draw(3, 4, F64, C=3)
    floats = (x,) if case.target != "sequence" or target is None else (x, target)
    if case.binary:
        floats = (torch.rand(3, 4, 3, generator=Generator().manual_seed(0), dtype=F64),)
    steps = torch.tensor(lengths or [4] * 3)

    def run(x: Tensor, *more: Tensor) -> Tensor:
        if case.binary:  # the polynomial behind the times; it takes values between 0 and 1 where they cannot be read
            alone = lambda x, steps: first_spike_time(x[None], steps[None])[0]  # noqa: E731
            return torch.func.vmap(alone)(x, steps)
        return case.call(x, more[0] if more else target, lengths)

    given = tuple(each.clone().requires_grad_() for each in floats)
    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)


@each_case
def test_reductions(case: Case) -> None:
    if case.name == "first_spike_time":
        return
    x, target = case.draw(3, 6, F64)
    values = case.call(x, target, [6, 2, 3])
    assert_close(case.call(x, target, [6, 2, 3], reduction="mean"), values.mean())
    assert_close(case.call(x, target, [6, 2, 3], reduction="sum"), values.sum())
    default = case.loss(*(x,) if target is None else (x, target), **case.keywords)
    assert_close(default, case.call(x, target).mean())


@each_case
def test_no_samples(case: Case) -> None:
    x, target = case.draw(0, 4, F32)
    for lengths in (None, torch.zeros(0, dtype=torch.int64)):
        leaf = x.clone().requires_grad_()
        values = case.call(leaf, target, lengths)
        assert values.shape[0] == 0
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        assert gradient.shape == x.shape
        if case.name != "first_spike_time":
            assert case.call(x, target, lengths, reduction="sum") == 0
            assert case.call(x, target, lengths, reduction="mean").isnan()


@each_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    x, target = case.draw(3, 300, dtype)
    leaf = x.clone().requires_grad_()
    value = case.call(leaf, target)
    assert_close(value.detach(), case.call(x.float(), target))
    assert torch.autograd.grad(value.sum(), leaf)[0].dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(case.call(x, target), value.detach())


@pytest.mark.sampled
@each_case
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_silent_and_all_firing(case: Case, value: float) -> None:
    drawn, target = case.draw(2, 6, F64)
    x = torch.full_like(drawn, value)
    cotangent = torch.rand(case.call(x, target).shape, dtype=F64)
    assert_close(ours(case, x, target, [6, 3], cotangent), of_twin(case, x, target, [6, 3], cotangent))


@pytest.mark.parametrize("name", ["rate", "count", "max_over_time", "last_step"])
def test_large_logits(name: str) -> None:
    case: Any = BY_NAME[f"{name}_cross_entropy"]
    target = torch.tensor([0, 1])
    for size in (1e4, 1e30):
        x = torch.tensor([[[size, -size, 0.0]]]).expand(2, 1, 3).clone().requires_grad_()
        value = case.call(x, target)
        assert value.tolist() == pytest.approx([0.0, 2 * size])
        assert torch.autograd.grad(value.sum(), x)[0][1, 0].tolist() == [1.0, -1.0, 0.0]


def test_a_target_for_each_class() -> None:
    steps = [[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    spikes = torch.tensor([steps], dtype=F64)
    wanted: Any = {"correct": torch.tensor([3.0, 2.0, 1.0]), "incorrect": torch.tensor([0.0, 1.0, 2.0])}
    for target, lengths, values in ((1, None, [16.0, 1.0, 1.0]), (0, [3], [0.0, 1.0, 1.0])):
        assert count_mse(spikes, torch.tensor([target]), lengths, **wanted, reduction="none").tolist() == [values]


def test_first_spikes_by_hand() -> None:
    rows = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    spikes = torch.tensor(rows, dtype=F64).T.expand(2, 4, 6)
    assert first_spike_time(spikes).tolist() == [[4, 0, 2, 1, 0, 3]] * 2
    times = first_spike_time(spikes, [4, 2])
    assert times.tolist() == [[4, 0, 2, 1, 0, 3], [2, 0, 2, 1, 0, 2]]
    assert torch.equal(first_spike_time(spikes.unflatten(2, (2, 3)), [4, 2]).flatten(1), times)
    assert torch.equal(first_spike_time(spikes[..., 1], [4, 2]), times[:, 1])


def test_a_long_sequence_is_exact() -> None:
    spikes = torch.zeros(1, 100_000, 2)
    spikes[0, 99_999, 0] = 1.0
    assert first_spike_time(spikes).tolist() == [[99_999, 100_000]]


def distance(a: Tensor, b: Tensor, tau: float) -> Tensor:
    return van_rossum_distance(a, b, tau=tau, reduction="none")


@pytest.mark.parametrize("tau", [0.7, 2.0])
def test_van_rossum_is_the_integral(tau: float) -> None:
    a, b = (trains(1, 8, 1, seed=seed, rate=0.2).double() for seed in (2, 3))
    want = integral_of_van_rossum(a.flatten().tolist(), b.flatten().tolist(), tau)
    assert want > 0.1
    assert distance(a, b, tau).item() == pytest.approx(want, rel=1e-4)


def test_limits_of_the_tau_of_van_rossum() -> None:
    a, b = trains(1, 50, 6, seed=0, rate=0.2).double(), trains(1, 50, 6, seed=1, rate=0.2).double()
    assert_close(distance(a, b, 1e-3), (a != b).sum(1).double() / 2)
    assert_close(distance(a, b, 1e13), (a.sum(1) - b.sum(1)).square() / 2)


@pytest.mark.parametrize("tau", [1.0, 50.0, 1e4])
def test_van_rossum_of_long_sequences_in_float32(tau: float) -> None:
    a, b = trains(1, 20_000, 2, seed=0, rate=0.2), trains(1, 20_000, 2, seed=1, rate=0.2)
    leaf = a.clone().requires_grad_()
    got = distance(leaf, b, tau)
    wide = a.double().requires_grad_()
    want = distance(wide, b.double(), tau)
    slopes = [torch.autograd.grad(value.sum(), x)[0] for value, x in ((got, leaf), (want, wide))]
    assert_close((got.detach(), slopes[0]), (want.detach().float(), slopes[1].float()))


func: Any = torch.func


def alone(case: Case) -> Any:
    """Return the loss of one sample, of its input, its length and its target if there is one."""

    return lambda x, length, *aim: case.call(x[None], aim[0][None] if aim else None, length[None]).sum()


@each_case
def test_gradients_of_each_sample(case: Case) -> None:
    x, target = case.draw(4, 6, torch.float64)
    lengths, aim = torch.tensor([6, 1, 4, 3]), () if target is None else (target,)
    gradients, values = func.vmap(func.grad_and_value(alone(case)))(x, lengths, *aim)
    leaf = x.clone().requires_grad_()
    want = case.call(leaf, target, lengths)
    want = want if want.ndim == 1 else want.flatten(1).sum(1)
    assert_close((values, gradients), (want.detach(), torch.autograd.grad(want.sum(), leaf)[0]))


@each_case
def test_what_is_out_of_range_where_it_cannot_be_read(case: Case) -> None:
    """A length gives NaN, and a class an error."""
    x, target = case.draw(3, 6, torch.float64)
    aim = () if target is None else (target,)
    assert func.vmap(alone(case))(x, torch.tensor([0, 7, 6]), *aim).isnan().tolist() == [True, True, False]
    for wrong in (x.shape[2], -1) if case.target == "class" else ():
        with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
            func.vmap(alone(case))(x, torch.tensor([6, 6, 6]), torch.tensor([0, wrong, 0]))


@pytest.mark.long
def test_compiled_as_one_graph() -> None:
    names = ("max_over_time", "last_step", "first_spike", "count_mse", "tau=3", "penalty")
    cases = [case for name, case in BY_NAME.items() if any(each in name for each in names)]
    drawn = [case.draw(3, 5, torch.float32) for case in cases]
    lengths = torch.tensor([5, 1, 3])

    def run(*xs: Tensor) -> tuple[Tensor, ...]:
        return tuple(case.call(x, target, lengths) for case, x, (_, target) in zip(cases, xs, drawn, strict=True))

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    results = []
    for function in (run, compiled):
        leaves = [x.clone().requires_grad_() for x, _ in drawn]
        values = function(*leaves)
        results.append(([v.detach() for v in values], torch.autograd.grad([v.sum() for v in values], leaves)))
    assert_close(results[1], results[0])
    spikes, label = BY_NAME["first_spike_cross_entropy-temperature=2.5"].draw(3, 5, torch.float32)

    def accuracies(spikes: Tensor) -> tuple[Tensor, Tensor]:
        assert label is not None
        return rate_accuracy(spikes, label, lengths), first_spike_accuracy(spikes, label, lengths)

    assert_close(torch.compile(accuracies, backend="aot_eager", fullgraph=True)(spikes), accuracies(spikes))
