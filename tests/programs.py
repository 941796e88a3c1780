"""Programs of scans, for tests that print or compile them."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch.functional.fused.ir import Program
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.tracer import trace
from spikingtorch.verification.cases import Case
from tests.fused import Scan


def program_of(scan: Scan, half: torch.dtype | None = None) -> Program:
    """Return the program of a scan; its inputs and outputs are of a half precision where one is given."""

    def spec(leaf: Any, *, over_time: bool = False) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        sizes = [size for axis, size in enumerate(leaf.shape) if not (over_time and axis == scan.dim)]
        return Spec.of(half if half is not None and over_time else leaf.dtype, sizes)

    xs = pytree.tree_map(lambda leaf: spec(leaf, over_time=True), scan.xs)
    state, params = pytree.tree_map(spec, scan.state), pytree.tree_map(spec, dict(scan.params))
    return trace(scan.step, state, xs, params, half, lift_floats=True).program


def of_neuron(case: Case, dtype: torch.dtype = torch.float32, half: torch.dtype | None = None) -> Program:
    """Return the program of a neuron whose parameters are all learnable."""
    xs, params = case.draw(2, dtype=dtype)
    return program_of(Scan(case.step, case.initial(xs), xs, params), half)
