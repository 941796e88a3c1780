"""Recurrent steps in scan: against a numpy loop, an unrolled network, and the fused backend against the loop."""

import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from spikingtorch import functional as F
from spikingtorch.functional.fused.recurrent import c_loop
from spikingtorch.testing import assert_close

LENGTHS = (1, 2, 17)
BACKENDS: tuple[Any, ...] = ("loop", "fused", "auto")
INPUTS = ("xs", "v", "s", "weight", "decay", "threshold")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix takes the loop in C for these few steps as well; test_dense_loop.py has the way of short scans."""
    monkeypatch.setattr(c_loop, "FEWEST", 1)


class Case(NamedTuple):
    """A synapse, the neurons of one step and the weights between them."""

    name: str
    synapse: Any
    shape: tuple[int, ...]
    weight: tuple[int, ...]


CASES = [
    Case("dense-0-batch-axes", F.dense, (5,), (5, 5)),
    Case("dense-1-batch-axis", F.dense, (3, 5), (5, 5)),
    Case("dense-2-batch-axes", F.dense, (2, 3, 5), (5, 5)),
    Case("dense-one-neuron", F.dense, (2, 1), (1, 1)),
    Case("per-neuron-0-batch-axes", F.per_channel, (5,), (5,)),
    Case("per-neuron", F.per_channel, (3, 5), (5,)),
    Case("per-neuron-2-batch-axes", F.per_channel, (2, 3, 5), (5,)),
    Case("per-channel", F.per_channel, (2, 4, 3, 3), (4, 1, 1)),
    Case("one-weight", F.per_channel, (3, 5), ()),
    Case("conv-1d", F.convolution, (2, 4, 6), (4, 4, 3)),
    Case("conv-1d-no-batch", F.convolution, (4, 6), (4, 4, 5)),
    Case("conv-1d-groups", F.convolution, (2, 4, 6), (4, 2, 3)),
    Case("conv-2d", F.convolution, (2, 4, 5, 4), (4, 4, 3, 3)),
    Case("conv-2d-no-batch", F.convolution, (4, 5, 4), (4, 4, 3, 3)),
    Case("conv-2d-groups", F.convolution, (2, 4, 5, 4), (4, 2, 3, 5)),
    Case("conv-2d-depthwise", F.convolution, (2, 3, 4, 4), (3, 1, 3, 1)),
    Case("conv-2d-kernel-above-image", F.convolution, (2, 2, 2, 3), (2, 2, 5, 5)),
    Case("conv-3d", F.convolution, (2, 2, 3, 2, 3), (2, 2, 3, 1, 3)),
]
FEW = [case for case in CASES if case.name in {"dense-1-batch-axis", "per-channel", "conv-2d-groups"}]


def by_name(case: Case) -> str:
    return case.name


class Run(NamedTuple):
    """All inputs of a recurrent scan, time first in xs."""

    case: Case
    xs: Tensor
    v: Tensor
    s: Tensor
    weight: Tensor
    decay: Tensor | float
    threshold: Tensor | float
    step: Any = F.lif_step
    reset: Any = F.to_zero

    def scan(self, backend: Any, dim: int = 0) -> tuple[Any, Tensor]:
        """Return the final state and the outputs, time first in both ways."""
        params: dict[str, Any] = {"threshold": self.threshold, "reset": self.reset, "recurrent_weight": self.weight}
        if self.step is F.lif_step:
            params["decay"] = self.decay
        state = F.RecurrentState(self.neuron(self.v), self.s)
        step: Any = F.Recurrent(self.step, self.case.synapse)
        final, outs = F.scan(step, state, self.xs.movedim(0, dim), params=params, dim=dim, backend=backend)
        return final, outs.movedim(dim, 0)

    def neuron(self, v: Tensor) -> Any:
        return F.LIFState(v) if self.step is F.lif_step else F.IFState(v)

    def results(self, backend: Any, dim: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Return all outputs: spikes, final membrane, final s."""
        final, outs = self.scan(backend, dim)
        assert isinstance(final, F.RecurrentState)
        return outs, final.neuron.v, final.s

    def watched(self, names: Sequence[str] = INPUTS) -> "Run":
        """Return the run with the named inputs as leaves, in the memory layout they have."""
        fresh: dict[str, Tensor] = {}
        for name in INPUTS:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                fresh[name] = value.detach().requires_grad_(name in names)
        return self._replace(**fresh)  # type: ignore[arg-type]

    def leaves(self) -> list[Tensor]:
        values = [getattr(self, name) for name in INPUTS]
        return [value for value in values if isinstance(value, Tensor) and value.requires_grad]


def draw(
    case: Case,
    steps: int,
    *,
    dtype: torch.dtype = torch.float64,
    decay: Any = 0.8,
    threshold: Any = 0.9,
    seed: int = 0,
    **options: Any,
) -> Run:
    """Draw a run; decay and threshold are floats, or shapes to draw tensors in."""
    torch.manual_seed(seed)
    xs = torch.rand(steps, *case.shape, dtype=torch.float64) * 1.1
    v, s = torch.rand(case.shape, dtype=torch.float64) * 0.8, torch.rand(case.shape, dtype=torch.float64)
    fan_in = case.weight[-1] if case.synapse is F.dense else int(np.prod(case.weight[1:] or 1))
    weight = torch.randn(case.weight, dtype=torch.float64) / max(fan_in, 1) ** 0.5

    def value(given: Any, low: float, high: float) -> Tensor | float:
        if isinstance(given, float):
            return given
        drawn = low + (high - low) * torch.rand(given, dtype=torch.float64)
        return drawn.to(dtype)

    a, b = value(decay, 0.5, 0.95), value(threshold, 0.7, 1.1)
    return Run(case, xs.to(dtype), v.to(dtype), s.to(dtype), weight.to(dtype), a, b, **options)


def cotangents(results: Sequence[Tensor], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(r.shape, dtype=torch.float64, generator=generator).to(r.dtype) for r in results]


def gradients(
    run: Run,
    backend: Any,
    *,
    names: Sequence[str] = INPUTS,
    of: Sequence[int] = (0, 1, 2),
    dim: int = 0,
) -> tuple[Tensor, ...]:
    """Return gradients of the named inputs, from random cotangents on the results numbered in of."""
    run = run.watched(names)
    results = run.results(backend, dim)
    weights = cotangents(results)
    kept = [(results[i], weights[i]) for i in of if results[i].requires_grad]
    assert kept, "no result requires a gradient"
    outputs, chosen = zip(*kept, strict=True)
    return torch.autograd.grad(outputs, run.leaves(), chosen, allow_unused=True, materialize_grads=True)


def check(run: Run, *, dim: int = 0, **options: Any) -> None:
    """Assert that values and gradients on the fused backend are those of the loop."""
    assert_close(run.results("fused", dim), run.results("loop", dim), "values")
    got = gradients(run, "fused", dim=dim, **options)
    want = gradients(run, "loop", dim=dim, **options)
    assert all(g.isfinite().all() for g in want)
    for name, a, b in zip([n for n in INPUTS if isinstance(getattr(run, n), Tensor)], got, want, strict=True):
        assert_close(a, b, f"gradient of {name}")


# the oracle: the equation, one index at a time


def currents(case: Case, s: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the recurrent currents, as sums over one index after the other."""
    if case.synapse is F.per_channel:
        return np.asarray(weight * s)
    found = np.zeros_like(s)
    if case.synapse is F.dense:
        for index in np.ndindex(*s.shape):
            found[index] = sum(weight[index[-1], k] * s[(*index[:-1], k)] for k in range(s.shape[-1]))
        return found
    axes = weight.ndim - 2
    size, channels, per_group = s.shape[-axes:], weight.shape[0], weight.shape[1]
    groups = channels // per_group
    batch = s.shape[: s.ndim - axes - 1]
    margin = [(0, 0)] * (len(batch) + 1) + [(length // 2, length // 2) for length in weight.shape[2:]]
    around = np.pad(s, margin)
    for c, d, *q in np.ndindex(*weight.shape):
        other = c // (channels // groups) * per_group + d
        window = tuple(slice(at, at + length) for at, length in zip(q, size, strict=True))
        found[(..., c, *(slice(None),) * axes)] += weight[(c, d, *q)] * around[(..., other, *window)]
    return found


def oracle(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spikes, final membrane and final s of IF and LIF in float64."""
    xs, v, s, weight = (np.array(t.detach().double().numpy()) for t in (run.xs, run.v, run.s, run.weight))
    decay = 1.0 if run.step is F.if_step else np.asarray(run.decay, dtype=np.float64)
    threshold = np.asarray(run.threshold, dtype=np.float64)
    outs = np.zeros_like(xs)
    for t in range(len(xs)):
        u = decay * v + xs[t] + currents(run.case, s, weight)
        s = (u >= threshold).astype(np.float64)
        v = u - threshold * s if run.reset is F.by_subtraction else u * (1.0 - s)
        outs[t] = s
    return outs, v, s


def unrolled(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Return the results of the same equation written with torch's own products, for its autograd."""
    v, s, spikes = run.v, run.s, []
    axes = len(run.case.weight) - 2
    for x in run.xs:
        if run.case.synapse is F.dense:
            current = torch.einsum("jk,...k->...j", run.weight, s)
        elif run.case.synapse is F.per_channel:
            current = run.weight * s
        else:
            convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
            padding = [k // 2 for k in run.case.weight[2:]]
            groups = run.case.weight[0] // run.case.weight[1]
            current = convolve(s, run.weight, None, 1, padding, 1, groups)
        u = (run.decay if run.step is F.lif_step else 1.0) * v + x + current
        smooth = torch.sigmoid(5.0 * (u - run.threshold))
        s = (u >= run.threshold).to(u.dtype) + smooth - smooth.detach()
        v = u - run.threshold * s if run.reset is F.by_subtraction else (1.0 - s) * u
        spikes.append(s)
    return torch.stack(spikes), v, s


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_the_numpy_loop(case: Case, backend: Any) -> None:
    for step, reset in itertools.product((F.if_step, F.lif_step), (F.to_zero, F.by_subtraction)):
        for steps in LENGTHS if np.prod(case.shape) < 20 else (3,):
            run = draw(case, steps, step=step, reset=reset)
            want = oracle(run)
            assert_close(run.results(backend), tuple(map(torch.from_numpy, want)))
            assert steps < 3 or 0.05 < want[0].mean() < 0.95, "no dynamics to compare"


def test_the_oracle_by_hand() -> None:
    """The first spike of neuron 0 arrives at neuron 1 one step later, with weight[1, 0]; zeros surround an image."""
    dense, image = Case("", F.dense, (2,), (2, 2)), Case("", F.convolution, (1, 3), (1, 1, 3))
    pair = np.array([[0.0, 10.0], [1.0, 0.0]])
    assert currents(dense, np.array([1.0, 0.0]), pair).tolist() == [0.0, 1.0]
    assert currents(image, np.array([[1.0, 0.0, 2.0]]), np.array([[[3.0, 5.0, 7.0]]])).tolist() == [[5.0, 17.0, 10.0]]


@pytest.mark.parametrize("backend", ["loop", "fused"])
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_gradients_of_an_unrolled_network(case: Case, backend: Any) -> None:
    run = draw(case, 7, decay=(), threshold=())
    for reset in (F.to_zero, F.by_subtraction):
        watched = run._replace(reset=reset).watched()
        want = unrolled(watched)
        expected = torch.autograd.grad(want, watched.leaves(), cotangents(want))
        assert all(bool(g.any()) for g in expected), "a gradient is zero, and so compares nothing"
        got = gradients(run._replace(reset=reset), backend)
        for name, a, b in zip(INPUTS, got, expected, strict=True):
            assert_close(a, b, f"gradient of {name}")


# the fused backend beside the loop


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_fused_gradients(case: Case, dtype: torch.dtype, steps: int) -> None:
    # in float32 no parameter is shared: rounding does not show in large sums that cancel
    shape = () if dtype == torch.float64 else case.shape
    check(draw(case, steps, dtype=dtype, decay=shape, threshold=shape))


@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("case", FEW, ids=by_name)
@pytest.mark.parametrize("steps", LENGTHS)
def test_fused_dims(case: Case, dim: int, steps: int) -> None:
    run = draw(case, steps, decay=(), threshold=())
    check(run, dim=dim)
    # time last or second in memory as well, not only in the view of it
    moved = run.xs.movedim(0, dim).contiguous().movedim(dim, 0)
    assert moved.is_contiguous() == (steps == 1)
    check(run._replace(xs=moved), dim=dim)
    assert_close(run.results("fused", dim), run.results("fused"))


SHAPES = {
    "dense-1-batch-axis": [0.8, (), (5,), (3, 5), (1, 5), (3, 1)],
    "per-channel": [0.8, (), (4, 1, 1), (4, 3, 3)],
    "conv-2d-groups": [0.8, (), (4, 1, 1), (4, 5, 4), (2, 1, 1, 1)],
}


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_fused_parameters(case: Case) -> None:
    shapes = SHAPES[case.name]
    pairs = [*zip(shapes, shapes[1:] + shapes[:1], strict=True), *((s, s) for s in shapes)]
    for decay, threshold in pairs:
        check(draw(case, 3, decay=decay, threshold=threshold))


def test_float_parameters_need_no_gradient() -> None:
    for case in FEW:
        check(draw(case, 6))


@pytest.mark.parametrize("case", FEW, ids=by_name)
@pytest.mark.parametrize("what", ["xs", "v", "s", "weight", "all"])
def test_memory_that_is_not_contiguous(case: Case, what: str) -> None:
    run = draw(case, 6, decay=case.weight[:1] + (1,) * (len(case.shape) - 2), threshold=())
    for name in ("xs", "v", "s", "weight") if what == "all" else (what,):
        tensor = getattr(run, name)
        if tensor.ndim > 1 and tensor.shape[-1] * tensor.shape[-2] > 1:
            scattered = tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
            assert not scattered.is_contiguous()
        else:
            scattered = torch.stack([tensor, tensor.new_full(tensor.shape, torch.nan)], -1)[..., 0]
        run = run._replace(**{name: scattered})
    check(run)


def test_memory_shared_by_all_samples() -> None:
    """Strides of zero: an expanded input, state and weight."""
    case = FEW[0]
    run = draw(case, 6, decay=(), threshold=())
    shared = {"xs": run.xs[:1].expand_as(run.xs), "v": run.v[:1].expand_as(run.v), "s": run.s[0, 0].expand_as(run.s)}
    check(run._replace(**shared, weight=run.weight[:1].expand(5, 5)))  # type: ignore[arg-type]


COMBINATIONS = [names for k in range(1, 7) for names in itertools.combinations(INPUTS, k)]


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_every_combination_of_inputs_with_gradients(case: Case) -> None:
    run = draw(case, 2, decay=(), threshold=())
    full: dict[str, Tensor] = dict(zip(INPUTS, gradients(run, "loop"), strict=True))
    for names in COMBINATIONS if case.synapse is not F.convolution else COMBINATIONS[::3]:
        got = gradients(run, "fused", names=names)
        for name, a in zip([n for n in INPUTS if n in names], got, strict=True):
            assert_close(a, full[name], f"gradient of {name} among {names}")
        both = [[r.requires_grad for r in run.watched(names).results(b)] for b in ("loop", "fused")]
        assert both[0] == both[1]


def test_no_gradient_is_asked_for() -> None:
    for case in FEW:
        run = draw(case, 3, decay=(), threshold=())
        assert not any(r.requires_grad for r in run.results("fused"))
        with torch.no_grad():
            assert not any(r.requires_grad for r in run.watched().results("fused"))
        with torch.inference_mode():
            assert_close(run.results("auto"), run.results("loop"))


@pytest.mark.parametrize("case", FEW, ids=by_name)
@pytest.mark.parametrize("of", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)], ids=str)
def test_results_that_are_not_used(case: Case, of: tuple[int, ...]) -> None:
    for steps in (1, 5):
        run = draw(case, steps, decay=(), threshold=())
        check(run, of=of)


@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_one_output_of_many(backend: Any) -> None:
    """A loss that sees one step only: what comes after has no part in it."""
    for case in FEW:
        run = draw(case, 6, decay=(), threshold=()).watched()
        gradient = torch.autograd.grad(run.results(backend)[0][2].sum(), run.leaves())
        short = draw(case, 6, decay=(), threshold=())
        short = short._replace(xs=short.xs[:3]).watched()
        expected = torch.autograd.grad(short.results("loop")[0][2].sum(), short.leaves())
        assert_close(gradient[0][:3], expected[0])
        assert not gradient[0][3:].any()
        assert_close(gradient[1:], expected[1:])


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_backward_twice(case: Case) -> None:
    run = draw(case, 5, decay=(), threshold=()).watched()
    results = run.results("fused")
    first = torch.autograd.grad(results, run.leaves(), cotangents(results), retain_graph=True)
    second = torch.autograd.grad(results, run.leaves(), cotangents(results, seed=5), retain_graph=True)
    third = torch.autograd.grad(results, run.leaves(), cotangents(results))
    assert_close(first, third)
    assert not torch.equal(first[0], second[0])
    assert_close(first, gradients(run, "loop"))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(results, run.leaves(), cotangents(results))


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_gradients_accumulate_in_leaves(case: Case) -> None:
    run = draw(case, 4, decay=(), threshold=()).watched()
    for _ in range(2):
        results = run.results("fused")
        torch.autograd.backward(results, cotangents(results))
    want = gradients(run, "loop")
    assert_close([leaf.grad for leaf in run.leaves()], [2 * g for g in want])


def test_the_weight_has_changed_before_backward() -> None:
    run = draw(FEW[0], 4).watched()
    loss = run.results("fused")[0].sum()
    with torch.no_grad():
        run.weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_second_derivatives(case: Case) -> None:
    run = draw(case, 3, decay=(), threshold=()).watched()

    def second(results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        firsts = torch.autograd.grad(results, run.leaves(), cotangents(results), create_graph=True)
        return torch.autograd.grad([(f**2).sum() for f in firsts], run.leaves())

    assert_close(second(run.results("loop")), second(unrolled(run)))
    assert_close(second(run.results("fused")), second(run.results("loop")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_half_precision(case: Case, dtype: torch.dtype) -> None:
    run = draw(case, 8, dtype=torch.float32, decay=case.shape, threshold=case.shape)
    half = run._replace(xs=run.xs.to(dtype))
    full = run._replace(xs=half.xs.float())
    for backend in BACKENDS:
        outs, v, s = half.results(backend)
        assert (outs.dtype, v.dtype, s.dtype) == (dtype, torch.float32, torch.float32)
        assert_close((outs.float(), v, s), full.results("loop"))
    got, want = gradients(half, "fused"), gradients(half, "loop")
    assert got[0].dtype == want[0].dtype == dtype
    # both round once, from values that agree to float32
    torch.testing.assert_close(got[0], want[0])
    assert_close(got[1:], want[1:])
    # the cotangent of outs was drawn in half precision
    exact = full.watched()
    results = exact.results("loop")
    rounded = [c.to(h) for c, h in zip(cotangents(half.results("loop")), (torch.float32,) * 3, strict=True)]
    assert_close(got[1:], torch.autograd.grad(results, exact.leaves(), rounded)[1:])


def test_outputs_that_are_rounded() -> None:
    """The outputs of LI are its membrane: they come back through the weight in float32, rounded only on the way out."""
    torch.manual_seed(0)
    xs, weight = torch.rand(9, 3, 5).bfloat16(), torch.randn(5, 5) / 5
    v, s = torch.rand(3, 5), torch.rand(3, 5)
    params = {"decay": 0.9, "recurrent_weight": weight}
    step: Any = F.Recurrent(F.li_step)
    outs, before, last = [], v, s
    for x in xs:
        before = 0.9 * before + x.float() + last @ weight.T
        last = before
        outs.append(last)
    for backend in BACKENDS:
        final, found = F.scan(step, F.RecurrentState(F.LIState(v), s), xs, params=params, backend=backend)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, torch.stack(outs).bfloat16())
        assert_close((final.neuron.v, final.s), (before, last))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_a_stream_goes_on(case: Case, backend: Any) -> None:
    whole = draw(case, 9, decay=(), threshold=()).watched()
    state, parts = (whole.v, whole.s), []
    for piece in (whole.xs[:1], whole.xs[1:4], whole.xs[4:4], whole.xs[4:]):
        outs, *rest = whole._replace(xs=piece, v=state[0], s=state[1]).results(backend)
        state = (rest[0], rest[1])
        parts.append(outs)
    got, want = (torch.cat(parts), *state), whole.results("loop")
    assert_close(got, want)
    assert_close(
        torch.autograd.grad(got, whole.leaves(), cotangents(got)),
        torch.autograd.grad(want, whole.leaves(), cotangents(want)),
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [case for case in CASES if "no-batch" not in case.name], ids=by_name)
def test_no_samples(case: Case, backend: Any) -> None:
    if case.shape == case.weight[-1:] and len(case.shape) == 1:
        return
    run = draw(case._replace(shape=(0, *case.shape[1:])), 4, decay=(), threshold=())
    if backend == "fused" and case.synapse is not F.per_channel:
        with pytest.raises(ValueError, match="no neurons"):
            run.results(backend)
        return
    results = run.results(backend)
    assert [r.shape for r in results] == [run.xs.shape, run.v.shape, run.s.shape]
    found = gradients(run, backend)
    assert [g.shape for g in found] == [getattr(run, name).shape for name in INPUTS]
    assert not any(g.any() for g in found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_no_steps(case: Case, backend: Any) -> None:
    run = draw(case, 0, decay=(), threshold=())
    outs, v, s = run.results(backend)
    assert outs.shape == (0, *case.shape)
    assert outs.dtype == torch.float64
    assert_close((v, s), (run.v, run.s))
    watched = run.watched()
    final = watched.scan(backend)[0]
    assert_close(torch.autograd.grad(final.s.sum(), watched.s)[0], torch.ones_like(run.s))


def test_inputs_are_left_alone() -> None:
    for case, backend in itertools.product(FEW, BACKENDS):
        run = draw(case, 4, decay=(), threshold=())
        before = [getattr(run, name).clone() for name in INPUTS]
        gradients(run, backend)
        assert all(torch.equal(a, getattr(run, name)) for a, name in zip(before, INPUTS, strict=True))


def test_final_s_and_outs_do_not_share_memory_that_is_written_on() -> None:
    for case, backend in itertools.product(FEW, BACKENDS):
        run = draw(case, 4)
        outs, _, s = run.results(backend)
        kept = s.clone()
        outs.zero_()
        assert torch.equal(s, kept) or backend == "loop", f"{case.name}: writing on outs writes on the state"


ALONE = [Case("dense-alone", F.dense, (1, 5), (5, 5)), Case("conv-alone", F.convolution, (1, 4, 6), (4, 2, 3))]


@pytest.mark.parametrize("fewest", [1, 1000])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("case", [*FEW, *ALONE], ids=by_name)
def test_writing_on_results_leaves_alone_what_is_saved_for_the_gradient(
    case: Case, dim: int, fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_loop, "FEWEST", fewest)
    for steps in LENGTHS:
        run = draw(case, steps, decay=(), threshold=()).watched()
        want, got = run.results("loop", dim), run.results("fused", dim)
        along = cotangents(want)
        expected = torch.autograd.grad([2 * r for r in want], run.leaves(), along)
        found = torch.autograd.grad([r.mul_(2) for r in got], run.leaves(), along)
        assert_close(got, tuple(2 * r for r in want), "values")
        assert_close(found, expected, "gradients")


COARSE = {"decay": 0.8, "gain": 0.9, "refractory_gain": 0.4}
OTHERS: dict[str, tuple[Any, Any, dict[str, Any], int]] = {
    "li": (F.li_step, F.LIState, {"decay": 0.9}, 1),
    "coarse_lif": (F.coarse_lif_step, F.CoarseLIFState, COARSE, 1),
    "spiking_decay": (F.spiking_decay_step, F.SpikingDecayState, {"tau": 2.0}, 1),
    "mcpitts": (F.mcpitts_step, F.McPittsState, {"threshold": 0.6}, 1),
    "biolif": (F.biolif_step, F.BioLIFState, {"nudt": 0.9, "threshold": 0.2}, 2),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_other_neurons(name: str, case: Case) -> None:
    step, state_type, params, inputs = OTHERS[name]
    torch.manual_seed(0)
    run = draw(case, 7)
    xs = tuple(torch.rand_like(run.xs) for _ in range(inputs))
    weight = run.weight.abs() / 2
    before = F.zeros_state(state_type, xs[0][0])

    def results(backend: Any, s: Tensor, weight: Tensor, *xs: Tensor) -> list[Tensor]:
        given: Any = xs if inputs > 1 else xs[0]
        whole: Any = F.Recurrent(step, case.synapse)
        found: Any = F.scan(
            whole,
            F.RecurrentState(before, s),
            given,
            params={**params, "recurrent_weight": weight},
            backend=backend,
        )
        assert isinstance(found[0], F.RecurrentState)
        return pytree.tree_leaves(found)

    def by_hand(s: Tensor, weight: Tensor, *xs: Tensor) -> list[Tensor]:
        state, outs = before, []
        for now in zip(*xs, strict=True):
            first = now[0] + case.synapse(s, weight)
            state, s = step(state, (first, *now[1:]) if inputs > 1 else first, **params)
            outs.append(s)
        return pytree.tree_leaves((state, s, torch.stack(outs)))

    def derived(function: Callable[..., list[Tensor]]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        leaves = [t.detach().clone().requires_grad_() for t in (run.s, weight, *xs)]
        found = function(*leaves)
        kept = [(f, c) for f, c in zip(found, cotangents(found), strict=True) if f.requires_grad]
        grads = torch.autograd.grad(
            [f for f, _ in kept], leaves, [c for _, c in kept], allow_unused=True, materialize_grads=True
        )
        return [f.detach() for f in found], grads

    want = derived(by_hand)
    for backend in BACKENDS:
        assert_close(derived(lambda *leaves, b=backend: results(b, *leaves)), want, str(backend))


def test_a_synapse_of_ones_own() -> None:
    def ring(s: Tensor, weight: Tensor) -> Tensor:
        return weight * s.roll(1, -1)

    run = draw(Case("ring", ring, (3, 5), ()), 6)
    matrix = torch.zeros(5, 5, dtype=torch.float64)
    for j in range(5):
        matrix[j, j - 1] = run.weight
    dense = run._replace(case=Case("", F.dense, (3, 5), (5, 5)), weight=matrix)
    assert_close(run.results("loop"), dense.results("loop"))
    assert_close(gradients(run, "loop", names=("xs", "s")), gradients(dense, "loop", names=("xs", "s")))
    with pytest.warns(RuntimeWarning, match="Python loop"):
        assert_close(run.results("auto"), dense.results("loop"))


# transforms


@pytest.mark.parametrize("case", FEW, ids=by_name)
@pytest.mark.parametrize("way", ["grad", "vmap", "vmap-grad", "vmap-weights", "jvp", "jacrev", "hessian", "forward-ad"])
def test_transforms(case: Case, way: str) -> None:
    run = draw(case, 4, decay=(), threshold=())
    draw_more = torch.Generator().manual_seed(3)
    tangent = torch.randn(run.weight.shape, dtype=torch.float64, generator=draw_more)
    many = torch.rand(3, *run.xs.shape, dtype=torch.float64, generator=draw_more)
    weights = torch.stack([run.weight, 2 * run.weight, -run.weight])
    chosen = cotangents(run.results("loop"))

    def loss(backend: Any, weight: Tensor, xs: Tensor, s: Tensor) -> Tensor:
        found = run._replace(weight=weight, xs=xs, s=s).results(backend)
        return torch.stack([(f * c).sum() for f, c in zip(found, chosen, strict=True)]).sum()

    def transformed(backend: Any) -> Any:
        def f(weight: Tensor, xs: Tensor, s: Tensor = run.s) -> Tensor:
            return loss(backend, weight, xs, s)

        gradient = torch.func.grad(f, argnums=(0, 1, 2))
        if way == "grad":
            return gradient(run.weight, run.xs, run.s)
        if way == "vmap":
            return torch.func.vmap(lambda xs: run._replace(xs=xs).results(backend))(many)
        if way == "vmap-grad":
            return torch.func.vmap(gradient, (None, 0, None))(run.weight, many, run.s)
        if way == "vmap-weights":
            return torch.func.vmap(gradient, (0, None, None))(weights, run.xs, run.s)
        if way == "jvp":
            return torch.func.jvp(lambda w: run._replace(weight=w).results(backend), (run.weight,), (tangent,))
        if way == "jacrev":
            return torch.func.jacrev(f)(run.weight, run.xs)
        if way == "hessian":
            return torch.func.grad(lambda w: (torch.func.grad(f)(w, run.xs) ** 2).sum())(run.weight)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(run.s, torch.ones_like(run.s))
            found = run._replace(s=dual).results(backend)
            return [torch.autograd.forward_ad.unpack_dual(f).tangent for f in found]

    got, want = transformed("auto"), transformed("loop")
    assert any(leaf.any() for leaf in pytree.tree_leaves(want))
    assert_close(got, want, way)


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_vmap_equals_one_scan_after_the_other(case: Case) -> None:
    run = draw(case, 4, decay=(), threshold=())
    many = torch.stack([run.xs, run.xs.flip(0), run.xs / 2])
    got = torch.func.vmap(lambda xs: run._replace(xs=xs).results("auto"))(many)
    each = [oracle(run._replace(xs=xs)) for xs in many]
    assert_close(got, tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*each, strict=True)))


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_checkpoint(case: Case) -> None:
    for backend, reentrant in itertools.product(("fused", "auto"), (False, True)):
        run = draw(case, 5, decay=(), threshold=()).watched()

        def results(xs: Tensor, weight: Tensor, run: Run = run, backend: Any = backend) -> Any:
            return run._replace(xs=xs, weight=weight).results(backend)

        found = checkpoint(results, run.xs, run.weight, use_reentrant=reentrant)
        torch.autograd.backward(found, cotangents(found))
        assert_close([run.xs.grad, run.weight.grad], [*gradients(run, "loop")[:1], gradients(run, "loop")[3]])


@pytest.mark.parametrize("case", FEW, ids=by_name)
def test_compile(case: Case) -> None:
    run = draw(case, 4, decay=(), threshold=())

    def results(*inputs: Tensor) -> Any:
        return run._replace(**dict(zip(INPUTS, inputs, strict=True))).results("auto")  # type: ignore[arg-type]

    torch._dynamo.reset()
    compiled: Any = torch.compile(results, backend="aot_eager", fullgraph=True)
    watched = run.watched()
    found = compiled(*watched.leaves())
    assert_close(found, run.results("loop"))
    assert_close(torch.autograd.grad(found, watched.leaves(), cotangents(found)), gradients(run, "loop"))


def test_autocast() -> None:
    for case, backend in itertools.product(FEW, BACKENDS):
        run = draw(case, 6, dtype=torch.float32, decay=case.shape, threshold=case.shape)
        want, watched = run.results("loop"), run.watched()
        with torch.autocast("cpu", torch.bfloat16):
            got = watched.results(backend)
        assert_close(got, want, f"{case.name} {backend}")
        found = torch.autograd.grad(got, watched.leaves(), cotangents(got))
        assert_close(found, gradients(run, "loop"), f"gradients of {case.name} {backend}")


def test_explanations() -> None:
    for case in CASES:
        run = draw(case, 4)
        state, params = F.RecurrentState(F.LIFState(run.v), run.s), {"decay": 0.9, "recurrent_weight": run.weight}
        step: Any = F.Recurrent(F.lif_step, case.synapse)
        assert F.explain_scan(step, state, run.xs, params=params).backend == "fused"
        assert F.explain_scan(step, state, run.xs, params=params, backend="loop").backend == "loop"
        name = {F.dense: "dense", F.convolution: "convolution"}.get(case.synapse, "")
        assert name in str(F.explain_scan(step, state, run.xs, params=params))


# what does not fit


def refused(kind: type[Exception], *words: str, **changes: Any) -> None:
    """Assert that every backend refuses a scan of three samples of five neurons, in these words."""
    given: dict[str, Any] = {
        "step": F.Recurrent(F.lif_step),
        "state": F.RecurrentState(F.LIFState(torch.zeros(3, 5)), torch.zeros(3, 5)),
        "xs": torch.rand(4, 3, 5),
        "params": {"decay": 0.9, "recurrent_weight": torch.zeros(5, 5)},
    }
    given |= changes
    for backend in BACKENDS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(kind) as caught:
                F.scan(given["step"], given["state"], given["xs"], params=given["params"], backend=backend)
        message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        for word in words:
            assert re.search(word, message), f"{backend}: {word!r} is not in {message!r}"


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (4, 4), (1, 5), (5,), (), (5, 5, 1)], ids=str)
def test_dense_weights_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    came = re.escape(str(shape))
    refused(ValueError, came, "5", params={"decay": 0.9, "recurrent_weight": torch.zeros(shape)})


@pytest.mark.parametrize("shape", [(4,), (5, 1), (2, 5), (7, 1, 3, 5)], ids=str)
def test_per_channel_weights_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    params = {"decay": 0.9, "recurrent_weight": torch.zeros(shape)}
    words = [re.escape(str(shape)), r"3, 5|\(5,\)"]
    refused(ValueError, *words, step=F.Recurrent(F.lif_step, F.per_channel), params=params)


@pytest.mark.parametrize("shape", [(4, 4, 2, 3), (3, 4, 3, 3), (4, 3, 3, 3), (8, 4, 3, 3), (4, 4, 3), (4, 4)], ids=str)
def test_kernels_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    v = torch.zeros(2, 4, 5, 5)
    refused(
        ValueError,
        re.escape(str(shape)),
        step=F.Recurrent(F.lif_step, F.convolution),
        state=F.RecurrentState(F.LIFState(v), v),
        xs=torch.zeros(4, 2, 4, 5, 5),
        params={"decay": 0.9, "recurrent_weight": torch.zeros(shape)},
    )


def test_no_weight() -> None:
    refused(TypeError, "recurrent_weight", params={"decay": 0.9})


@pytest.mark.parametrize(
    "weight",
    [0.5, "all to all", None, torch.zeros(5, 5, dtype=torch.int64)],
    ids=["number", "string", "none", "integers"],
)
def test_weights_that_are_no_floating_tensor(weight: Any) -> None:
    refused(TypeError, "recurrent_weight", params={"decay": 0.9, "recurrent_weight": weight})


def test_states_without_s() -> None:
    refused(TypeError, "RecurrentState", "LIFState", state=F.LIFState(torch.zeros(3, 5)))
    refused(TypeError, "RecurrentState", "tuple", state=(F.LIFState(torch.zeros(3, 5)), torch.zeros(3, 5)))


def test_states_of_another_shape() -> None:
    v = torch.zeros(3, 5)
    refused(ValueError, r"\bs\b", r"\(3, 4\)", r"\(3, 5\)", state=F.RecurrentState(F.LIFState(v), v[:, :4]))
    refused(ValueError, r"\bs\b", r"\(5,\)", r"\(3, 5\)", state=F.RecurrentState(F.LIFState(v), v[0]))


def test_mixed_dtypes() -> None:
    v, weight = torch.zeros(3, 5), torch.zeros(5, 5)
    words = ("float32", "float64")
    refused(TypeError, *words, params={"decay": 0.9, "recurrent_weight": weight.double()})
    refused(TypeError, *words, state=F.RecurrentState(F.LIFState(v), v.double()))
    refused(TypeError, *words, state=F.RecurrentState(F.LIFState(v.double()), v))
    refused(TypeError, *words, xs=torch.rand(4, 3, 5, dtype=torch.float64))


class Calls(TorchDispatchMode):
    """Writes down with which arguments the raw operators of the library are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, tuple[Any, ...]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "spikingtorch":
            self.found[func._opname] = args
        return func(*args, **(kwargs or {}))


def raw_calls(case: Case) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of both raw operators, by name."""
    with Calls() as calls:
        gradients(draw(case, 3, decay=(), threshold=()), "fused")
    assert set(calls.found) == {"recurrence_forward", "recurrence_backward"}
    return {name: pytree.tree_map_only(Tensor, Tensor.detach, args) for name, args in calls.found.items()}


PRODUCTS = [case for case in FEW if case.synapse is not F.per_channel]


@pytest.mark.parametrize("case", PRODUCTS, ids=by_name)
def test_raw_operators(case: Case) -> None:
    for name, arguments in raw_calls(case).items():
        torch.library.opcheck(getattr(torch.ops.spikingtorch, name).default, arguments)


@pytest.mark.parametrize("case", PRODUCTS, ids=by_name)
def test_raw_operators_refuse_what_requires_a_gradient(case: Case) -> None:
    """They have none of their own; a tensor that stands alone among their arguments is looked at like one in a list."""
    for name, arguments in raw_calls(case).items():
        call = getattr(torch.ops.spikingtorch, name)
        for leaf in pytree.tree_leaves(arguments[:5]):
            leaf.requires_grad_()
            with pytest.raises(RuntimeError, match=r"requires a gradient.*functional\.scan"):
                call(*arguments)
            with torch.no_grad():
                assert not any(result.requires_grad for result in call(*arguments))
            leaf.requires_grad_(False)
