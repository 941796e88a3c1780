"""Recurrent scans in every synapse and shape, and what they are judged by: a numpy loop, and an unrolled network."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.fused.recurrent import c_loop
from spikingtorch.testing import assert_close
from tests.fused import Scan, check_gradients
from tests.fused_steps import value
from tests.noted import calls_of

LENGTHS = (1, 2, 17)
BACKENDS: tuple[Any, ...] = ("loop", "fused", "auto")
Run = Callable[[Scan], Any]
Recurrent: Any = F.Recurrent


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
# the tensors of a drawn scan, in the order of of_tensors
V, S, XS, DECAY, THRESHOLD, WEIGHT = range(6)


def each_of(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def draw(
    case: Case,
    steps: int,
    *,
    dtype: torch.dtype = torch.float64,
    decay: Any = (),
    threshold: Any = (),
    step: Any = F.lif_step,
    reset: Any = F.to_zero,
    seed: int = 0,
) -> Scan:
    """Draw a scan; decay and threshold are floats, or shapes to draw tensors in."""
    torch.manual_seed(seed)
    xs = torch.rand(steps, *case.shape, dtype=torch.float64) * 1.1
    v, s = torch.rand(case.shape, dtype=torch.float64) * 0.8, torch.rand(case.shape, dtype=torch.float64)
    fan_in = case.weight[-1] if case.synapse is F.dense else int(np.prod(case.weight[1:] or 1))
    weight = torch.randn(case.weight, dtype=torch.float64) / max(fan_in, 1) ** 0.5

    def parameter(given: Any, low: float, high: float) -> Any:
        return given if isinstance(given, float) else low + (high - low) * torch.rand(given, dtype=torch.float64)

    params = {"decay": parameter(decay, 0.5, 0.95)} if step is F.lif_step else {}
    params |= {"threshold": parameter(threshold, 0.7, 1.1), "recurrent_weight": weight, "reset": reset}
    neuron = F.LIFState(v) if step is F.lif_step else F.IFState(v)
    return Scan(Recurrent(step, case.synapse), F.RecurrentState(neuron, s), xs, params).converted(dtype)


def on(backend: Any) -> Run:
    return lambda scan: scan.run(backend)


def of_tensors(scan: Scan, run: Run) -> tuple[Callable[..., Any], list[Tensor]]:
    """Return how a scan runs as a function of its tensors, and these."""
    leaves, form = pytree.tree_flatten((scan.state, scan.xs, dict(scan.params)))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def function(*tensors: Tensor) -> Any:
        given = dict(enumerate(leaves)) | dict(zip(places, tensors, strict=True))
        state, xs, params = pytree.tree_unflatten(list(given.values()), form)
        return run(scan._replace(state=state, xs=xs, params=params))

    return function, [leaves[place] for place in places]


def outcome(scan: Scan, run: Run) -> tuple[Any, list[Tensor]]:
    """Return the results of a scan, and the gradients of a weighted sum over them in all its tensors."""
    function, tensors = of_tensors(scan, run)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    results = function(*leaves)
    found = torch.autograd.grad(value(results), leaves, materialize_grads=True)
    return pytree.tree_map(Tensor.detach, results), list(found)


def slopes(scan: Scan, run: Run) -> list[Tensor]:
    return outcome(scan, run)[1]


def check(scan: Scan, only: Collection[str] | None = None) -> None:
    """Assert that the fused backend has the values and gradients of the loop, and leaves its inputs alone."""
    tensors = of_tensors(scan, on("loop"))[1]
    before = [tensor.clone() for tensor in tensors]
    for each in (scan, scan.watched()[0]):
        assert_close(each.run("fused"), scan.run("loop"), "values")
    check_gradients(scan, only=only)
    assert all(map(torch.equal, tensors, before)), "writes on its inputs"


# the oracle: the equation, one index at a time


def currents(synapse: Any, s: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the recurrent currents, as sums over one index after the other."""
    if synapse is F.per_channel:
        return np.asarray(weight * s)
    found = np.zeros_like(s)
    if synapse is F.dense:
        for index in np.ndindex(*s.shape):
            found[index] = sum(weight[index[-1], k] * s[(*index[:-1], k)] for k in range(s.shape[-1]))
        return found
    axes = weight.ndim - 2
    size, channels, per_group = s.shape[-axes:], weight.shape[0], weight.shape[1]
    groups = channels // per_group
    margin = [(0, 0)] * (s.ndim - axes) + [(length // 2, length // 2) for length in weight.shape[2:]]
    around = np.pad(s, margin)
    for c, d, *q in np.ndindex(*weight.shape):
        other = c // (channels // groups) * per_group + d
        window = tuple(slice(at, at + length) for at, length in zip(q, size, strict=True))
        found[(..., c, *(slice(None),) * axes)] += weight[(c, d, *q)] * around[(..., other, *window)]
    return found


def oracle(scan: Scan) -> tuple[Any, Tensor]:
    """Return final state and spikes of IF and LIF in float64."""
    xs, v, s = (np.array(each.numpy()) for each in (scan.xs, scan.state.neuron.v, scan.state.s))
    synapse: Any = scan.step.synapse  # type: ignore[attr-defined]
    params = {name: np.asarray(each) for name, each in scan.params.items() if name != "reset"}
    outs = np.zeros_like(xs)
    for t in range(len(xs)):
        u = params.get("decay", 1.0) * v + xs[t] + currents(synapse, s, params["recurrent_weight"])
        s = (u >= params["threshold"]).astype(np.float64)
        v = u - params["threshold"] * s if scan.params["reset"] is F.by_subtraction else u * (1.0 - s)
        outs[t] = s
    neuron = scan.state.neuron._replace(v=torch.from_numpy(v))
    return F.RecurrentState(neuron, torch.from_numpy(s)), torch.from_numpy(outs)


def unrolled(scan: Scan) -> tuple[Any, Tensor]:
    """Return the results of the same equation written with torch's own products, for its autograd."""
    (neuron, s), spikes = scan.state, []
    synapse: Any = scan.step.synapse  # type: ignore[attr-defined]
    v, weight, threshold = neuron.v, scan.params["recurrent_weight"], scan.params["threshold"]
    for x in scan.xs:
        if synapse is F.dense:
            current = torch.einsum("jk,...k->...j", weight, s)
        elif synapse is F.per_channel:
            current = weight * s
        else:
            convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[weight.ndim - 3]
            padding = [k // 2 for k in weight.shape[2:]]
            current = convolve(s, weight, None, 1, padding, 1, weight.shape[0] // weight.shape[1])
        u = scan.params.get("decay", 1.0) * v + x + current
        smooth = torch.sigmoid(5.0 * (u - threshold))
        s = (u >= threshold).to(u.dtype) + smooth - smooth.detach()
        v = u - threshold * s if scan.params["reset"] is F.by_subtraction else (1.0 - s) * u
        spikes.append(s)
    return F.RecurrentState(neuron._replace(v=v), s), torch.stack(spikes)


def written_on(scan: Scan) -> Any:
    """Return results of the fused backend after writing on each of them, and putting it back."""
    return pytree.tree_map(lambda result: 0.5 * result.mul_(2), scan.run("fused"))


def with_records(scan: Scan, *names: str) -> Scan:
    """Return a scan that gives out (spikes, records), or spikes alone where nothing is recorded."""
    step: Any = F.recorded(scan.step, *names) if names else scan.step
    return scan._replace(step=step)


def loops_in_c(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each pass that takes the loop in C."""
    taken: list[str] = []
    for name in ("forward", "backward"):
        calls_of(monkeypatch, c_loop, name, lambda *_, name=name: taken.append(name))
    return taken
