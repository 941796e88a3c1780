"""The device of these tests.

SPIKINGTORCH_GPU_TESTS=cpu runs what can run on the CPU, in C, to try the tests themselves. With =interpreter the
kernels are those of a GPU, in Triton's interpreter.
"""

import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tests.fused import Scan
from tests.guards import fill

CHOSEN = os.environ.get("SPIKINGTORCH_GPU_TESTS", "cuda")
INTERPRETED = CHOSEN == "interpreter"
DEVICE = torch.device("cpu" if INTERPRETED else CHOSEN)
IS_CARD = DEVICE.type != "cpu"
only_on_a_card = pytest.mark.skipif(not IS_CARD, reason="streams, graphs and the memory of a card are a card's alone")


def objection() -> str | None:
    """Return why these tests cannot run here, if so."""
    if not IS_CARD:
        return None
    if not torch.cuda.is_available():
        return (
            "make test-gpu needs a GPU, and torch finds none: torch.cuda.is_available() is False "
            f"(torch {torch.__version__}). It takes an NVIDIA card with a build of torch for CUDA, or an AMD card with "
            "one for ROCm, and Triton. Without a card, make test-gpu-text interprets and compiles the same kernels"
        )
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"make test-gpu needs Triton, which cannot be imported ({error}): pip install triton"
    return None


def name() -> str:
    """Return what the tests run on."""
    if not IS_CARD:
        return "the CPU, which shows no more than that the tests are right"
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


def placed(tree: Any) -> Any:
    """Return a tree with its tensors on the device, with the strides that they have; those that are there stay."""
    return pytree.tree_map(_placed, tree)


def _placed(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor) or leaf.device.type == DEVICE.type:
        return leaf
    there = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=DEVICE)
    fill(there, leaf.detach())
    return there


def on_device(scan: Scan) -> Scan:
    """Return a scan with its tensors on the device."""
    state, xs, params = placed((scan.state, scan.xs, dict(scan.params)))
    return Scan(scan.step, state, xs, params, scan.dim)
