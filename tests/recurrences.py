"""Recurrent scans in every synapse and shape, and the unrolled network that they are judged by."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused import Scan, check_gradients
from tests.fused_steps import value

# a matrix takes a loop in Python for few steps, and from eight on one in C
LENGTHS = (1, 2, 17)
BACKENDS: tuple[Any, ...] = ("loop", "fused", "auto")
NAMES = ("v", "s", "u", "threshold")  # all that can be recorded of IF and LIF
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
    Case("dense-batch-of-one", F.dense, (1, 5), (5, 5)),
    Case("dense-one-neuron", F.dense, (2, 1), (1, 1)),
    Case("per-neuron-0-batch-axes", F.per_channel, (5,), (5,)),
    Case("per-neuron", F.per_channel, (3, 5), (5,)),
    Case("per-neuron-2-batch-axes", F.per_channel, (2, 3, 5), (5,)),
    Case("per-channel", F.per_channel, (2, 4, 3, 3), (4, 1, 1)),
    Case("one-weight", F.per_channel, (3, 5), ()),
    Case("conv-1d", F.convolution, (2, 4, 6), (4, 4, 3)),
    Case("conv-1d-no-batch", F.convolution, (4, 6), (4, 4, 5)),
    Case("conv-1d-groups", F.convolution, (2, 4, 6), (4, 2, 3)),
    Case("conv-1d-batch-of-one", F.convolution, (1, 4, 6), (4, 2, 3)),
    Case("conv-2d", F.convolution, (2, 4, 5, 4), (4, 4, 3, 3)),
    Case("conv-2d-no-batch", F.convolution, (4, 5, 4), (4, 4, 3, 3)),
    Case("conv-2d-groups", F.convolution, (2, 4, 5, 4), (4, 2, 3, 5)),
    Case("conv-2d-depthwise", F.convolution, (2, 3, 4, 4), (3, 1, 3, 1)),
    Case("conv-2d-kernel-above-image", F.convolution, (2, 2, 2, 3), (2, 2, 5, 5)),
    Case("conv-3d", F.convolution, (2, 2, 3, 2, 3), (2, 2, 3, 1, 3)),
]
FEW = [case for case in CASES if case.name in {"dense-1-batch-axis", "per-channel", "conv-2d-groups"}]


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


def unshared(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    """Return options of ``draw`` for a dtype: in float32 no sum of gradients over neurons is large and cancels."""
    shape = () if dtype == torch.float64 else case.shape
    return {"dtype": dtype, "decay": shape, "threshold": shape}


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
        s = (u >= threshold).to(u.dtype) + (smooth - smooth.detach())
        v = u - threshold * s if scan.params["reset"] is F.by_subtraction else (1.0 - s) * u
        spikes.append(s)
    return F.RecurrentState(neuron._replace(v=v), s), torch.stack(spikes)


def with_records(scan: Scan, *names: str) -> Scan:
    """Return a scan that gives out (spikes, records), or spikes alone where nothing is recorded."""
    step: Any = F.recorded(scan.step, *names) if names else scan.step
    return scan._replace(step=step)


def unrecorded(results: Any) -> Any:
    """Return the results of a scan without its records."""
    state, out = results
    return (state, out[0]) if isinstance(out, tuple) else results
