"""A step, as ``functional.scan`` runs it, as a file of ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.interop.onnx import files, network
from spikingtorch.interop.onnx.certificate import session
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.stepping import in_one_scan

# outputs may differ by rounding where a runtime computes a function such as exp in its own way
_WITHIN = 1e-4


class _Scan(nn.Module):
    """A call of a step over time, or of one step."""

    def __init__(self, step: Callable[..., Any], params: Mapping[str, Any], over_time: bool) -> None:
        super().__init__()
        self.step, self.params, self.over_time = step, params, over_time

    def forward(self, state: Any, xs: Any) -> Any:
        """Return the outputs and the state."""
        found = F.scan(self.step, state, xs, params=self.params) if self.over_time else None
        after, out = found or self.step(state, xs, **self.params)
        return pytree.tree_leaves(out), pytree.tree_leaves(after)


def export_scan(
    step: Callable[..., Any],
    state: Any,
    xs: Any,
    path: str | Path,
    *,
    params: Mapping[str, Any] | None = None,
    nan: bool = True,
    certify: bool = True,
) -> None:
    """Write a scan of a step as a file of ONNX that runs any number of steps of any number of neurons.

    The file has the inputs ``state.<name>`` and ``x``, or ``x.<name>`` for several, and the outputs ``out``, or
    ``out.0`` and so on, and ``next.<name>``. Its axes are those of ``scan``: T comes first in inputs and outputs, and N
    is the first axis of the neurons.

    Args:
        step: as ``functional.scan`` takes it, like the arguments that follow.
        state: state before the first step, a tree of tensors (N, ...).
        xs: inputs, a tree of tensors (T, N, ...).
        path: of the file.
        params: keyword arguments of the step, which become part of the file.
        nan: as in ``export``.
        certify: whether to run the file beside ``scan``, on xs, on one step, and in two calls.

    Raises:
        ONNXError: the step computes something that has no operator; or the file computes something else.
    """
    with network.LOCK:
        kept = {name: each.detach() if isinstance(each, Tensor) else each for name, each in (params or {}).items()}
        over_time = F.explain_scan(step, state, xs, params=kept).backend == "fused"
        with torch.no_grad():
            outs = pytree.tree_leaves(F.scan(step, state, xs, params=kept)[1])
        states, streams = network.named("state", state), network.named("x", xs)
        produced = ["out"] if len(outs) == 1 else [f"out.{place}" for place in range(len(outs))]
        example = pytree.tree_map(lambda x: network.sized(network.sized(x, 0, 3), 1, 2), xs)
        rest = pytree.tree_map(lambda each: network.sized(each, 0, 2), state)
        axes = {0: "T", 1: "N"} if over_time else {0: "N"}
        given = rest, example if over_time else pytree.tree_map(lambda x: x[0], example)
        free = pytree.tree_map(lambda _: {0: "N"}, state), pytree.tree_map(lambda _: axes, xs)
        names = [*produced, *[f"next.{name.removeprefix('state.')}" for name in states]]
        model = network.exported(_Scan(step, kept, over_time), given, free, [*states, *streams], names)
        network.with_scans(model.graph, nan)
        sizes = files.names_of(model.graph, next(iter(streams)), axes)
        if not over_time:
            model.graph = in_one_scan(model.graph, len(outs), 0, len(streams))
        files.finish(model, sizes)
        if certify:
            _check(model, step, kept, (state, xs), (states, streams, produced))
        files.save(files.content_of(model, {"axes": "T, N"}), Path(path))


def _check(model: ir.Model, step: Any, params: Any, given: tuple[Any, Any], names: tuple[Any, Any, list[str]]) -> None:
    """Raise ONNXError if a file computes something else than ``scan``: on all steps, on one, and in two calls."""
    (state, xs), (states, streams, outs) = given, names
    title, run = session(ir.to_proto(model).SerializeToString())
    T = len(next(iter(streams.values())))
    for begin, end, cut in ((0, T, T), (0, 1, 1), (0, T, max(1, T // 3))):
        with torch.no_grad():
            after, out = F.scan(step, state, pytree.tree_map(lambda x, a=begin, b=end: x[a:b], xs), params=params)
        feeds = {name: each.numpy() for name, each in states.items()}
        parts: list[dict[str, Any]] = []
        for a, b in ((begin, cut), (cut, end)):
            if a < b:
                parts.append(run(feeds | {name: x[a:b].numpy() for name, x in streams.items()}))
                feeds = {name: parts[-1][f"next.{name.removeprefix('state.')}"] for name in states}
        want = dict(zip(outs, pytree.tree_leaves(out), strict=True))
        found = {name: np.concatenate([part[name] for part in parts]) for name in outs} | feeds
        for name, each in (want | dict(zip(states, pytree.tree_leaves(after), strict=True))).items():
            there, here = np.asarray(found[name], np.float64), each.double().numpy()
            if not np.allclose(there, here, _WITHIN, _WITHIN, equal_nan=True):
                off = f"{np.nanmax(np.abs(there - here)):.1e} in {title}, in a call of {end - begin} steps"
                raise ONNXError(f"{name} of the file differs from that of scan by {off}")
