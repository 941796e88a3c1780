"""Run torch and JAX in one process, in the order of the command line, on subnormal membranes."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from spikingtorch import functional as F
from tests.jax.calls import Kernels

T, B, N = 20, 4, 1024  # so much that threads share it
DECAY, TINY = 0.5, 1e-39


def drawn() -> tuple[Any, Any]:
    """Return states and inputs that are subnormal numbers."""
    draw = np.random.default_rng(0)
    v, xs = ((draw.random(shape) * TINY).astype(np.float32) for shape in ((B, N), (T, B, N)))
    return v, xs


def exact(v: Any, xs: Any) -> Any:
    """Return the state after the last step, as numpy finds it on a thread that keeps subnormal numbers."""
    for x in xs:
        v = np.float32(DECAY) * v + x
    assert v.all()
    return v


def of_torch(v: Any, xs: Any) -> Any:
    """Run the kernel from torch."""
    with torch.no_grad():
        state = F.LIFState(torch.from_numpy(v))
        found, _ = F.scan(F.lif_step, state, torch.from_numpy(xs), params={"decay": DECAY}, backend="fused")
    return found.v.numpy()


def of_jax(v: Any, xs: Any) -> Any:
    """Run the kernel from JAX."""
    kernels = Kernels.of(F.lif_step, F.LIFState(torch.zeros(())), decay=DECAY)
    return np.asarray(jax.jit(lambda *given: kernels.forward([given[0]], [given[1]])["finals"][0])(v, xs))


def of_torch_in_jax(v: Any, xs: Any) -> Any:
    """Run the kernel from torch on a thread of XLA, which takes subnormal numbers for zero, as it then has to."""
    found: list[Any] = []

    def call(x: Any) -> Any:
        found.append(of_torch(v, xs))
        return np.asarray(x)

    one = np.ones((), np.float32)
    np.asarray(jax.jit(lambda x: jax.pure_callback(call, one, x))(one))
    return found[0]


def of_xla(v: Any, xs: Any) -> Any:
    """Let XLA's threads work on something of their own."""
    np.asarray(jax.jit(lambda a: (a @ a).sum())(np.ones((1500, 1500), np.float32)))
    return exact(v, xs)


if __name__ == "__main__":
    torch.set_num_threads(2)
    works: dict[str, Callable[..., Any]] = {work.__name__: work for work in (of_torch, of_jax, of_torch_in_jax, of_xla)}
    given = drawn()
    want = exact(*given)
    for name in sys.argv[1:]:
        result = works[name](*given)
        # a thread that takes subnormal numbers for zero takes all of these for zero
        print(name, "exact" if np.array_equal(result, want) else f"{np.count_nonzero(result)} of {want.size} not zero")
