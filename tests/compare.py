"""The one comparison helper of the tests, and the one table of tolerances."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

# max|a - b| / max|b| over a tensor
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def assert_close(got: Any, want: Any, what: str = "value") -> None:
    """Assert that two trees of tensors agree: same form, shapes and dtypes, and values within the dtype's tolerance."""
    got_leaves, got_form = pytree.tree_flatten(got)
    want_leaves, want_form = pytree.tree_flatten(want)
    assert got_form == want_form, f"{what}: the trees differ: {got_form} and {want_form}"
    assert got_leaves, f"{what}: nothing to compare"
    for index, (a, b) in enumerate(zip(got_leaves, want_leaves, strict=True)):
        name = f"{what}[{index}]" if len(got_leaves) > 1 else what
        _assert_close(torch.as_tensor(a), torch.as_tensor(b), name)


def _assert_close(a: Tensor, b: Tensor, name: str) -> None:
    assert a.shape == b.shape, f"{name}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
    assert a.dtype == b.dtype, f"{name}: {a.dtype}, expected {b.dtype}"
    if a.numel() == 0:
        return
    error, scale = (a - b).abs().max().item(), b.abs().max().item()
    assert error <= TOLERANCE[b.dtype] * scale, f"{name}: off by {error:.3g}, where the largest value is {scale:.3g}"
