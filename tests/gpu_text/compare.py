"""A scan of Triton's kernels beside the loop: values by their bits, gradients within one table of tolerances."""

from typing import Protocol

import torch
from torch.utils import _pytree as pytree

from spikingtorch.testing import relative_error
from tests.fused import Scan, assert_same_bits

# largest max|a - b| / max|b| over a gradient: the surrogates' exp and the order of sums differ from the loop's; a
# gradient of half precision is rounded to it on either side
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-13, torch.float16: 2e-3, torch.bfloat16: 2e-2}
# of states and outputs in class T, in units of rounding
UNITS = 4


class Agrees(Protocol):
    """Asserts that the kernels of a target give what the loop gives; the options are those of ``agree``."""

    def __call__(self, scan: Scan, *, exact: bool = True, well_posed: bool = True) -> None: ...


def agree(scan: Scan, *, exact: bool = True, well_posed: bool = True) -> None:
    """Assert that a scan gives what the loop gives: the results, and all gradients.

    Args:
        scan: the scan.
        exact: whether the results have the bits of the loop; otherwise they are within some units of rounding.
        well_posed: whether the gradients of the loop have the digits to be compared with; otherwise both are compared
            with those of float64, or of float64 with more room.
    """
    assert (scan.exactness == "E") == exact
    results, got = scan.found("fused")
    expected, wanted = scan.found("loop")
    if exact:
        assert_same_bits(results, expected)
    else:
        true = scan.converted(torch.float64).found("loop")[0]
        trees = (pytree.tree_leaves(tree) for tree in (results, expected, true))
        for found, want, exactly in zip(*trees, strict=True):
            # functions of torch round as the processor does: where they differ more, float64 says who is right
            near = relative_error(found, want) <= UNITS * torch.finfo(want.dtype).eps
            as_near = [relative_error(each.double(), exactly.double()) for each in (found, want)]
            assert near or as_near[0] <= 2.0 * as_near[1], f"error {as_near[0]:.3g}, the loop's own {as_near[1]:.3g}"
    exact_gradients = wanted if well_posed else scan.converted(torch.float64).gradients("loop")
    for name, want in wanted.items():
        assert want.isfinite().all(), f"{name}: the loop's gradient is not finite, so nothing is compared"
        error = relative_error(got[name].double(), exact_gradients[name].double())
        allowed = TOLERANCE[want.dtype]
        if not well_posed:
            allowed = max(100 * allowed, 2 * relative_error(want.double(), exact_gradients[name]))
        assert error <= allowed, f"{name}: relative error {error:.3g}\n{got[name]}\n{want}"
