"""Spikes and states of class E have the bits that torch's kernel gives."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch import jax as snn
from spikingtorch.interop import to_jax
from spikingtorch.verification.cases import WITH_RESETS, Case, by_name
from tests.jax.neurons import Draw, draw
from tests.jax.oracle import named, relative_error

# twins that write an equation in another order, so that a rounding differs: of torch, and of the twin
OTHER_ORDER = {
    "delay": ("max(0, 1 - |delay - k|)", "1 - (delay - floor(delay)), and delay - floor(delay)"),
    "izhikevich": ("square * v * v, dt * (a * (...))", "square * v**2, dt * a * (...)"),
}
SPIKING = [(case, reset) for case, reset in WITH_RESETS if not isinstance(reset, type(F.detached(F.none)))]


def in_torch(found: Draw, options: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    """Return outputs and final state of torch's kernel, and what explains it."""

    def cast(leaf: Any) -> Any:
        return leaf.to(dtype) if isinstance(leaf, torch.Tensor) else leaf

    state, xs, params = jax.tree.map(cast, found.torch_arguments())
    given = (found.case.step, state, xs)
    more: Any = {"params": params | jax.tree.map(cast, options), "dim": found.dim}
    return F.scan(*given, **more), F.explain_scan(*given, **more)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("case", "reset"), SPIKING, ids=by_name)
def test_bits_are_those_of_torch(case: Case, reset: Any, dtype: str) -> None:
    with jax.enable_x64(True):
        found, options = draw(case, 17, "(B, T, many)", "full"), case.options(reset=reset)
        want, told = in_torch(found, options, getattr(torch, dtype))
        if told.exactness != "E":
            pytest.skip(f"no class E: {told.reason}")
        state, xs, params = found.arguments(dtype)
        theirs = jax.tree.map(lambda x: x.astype(dtype) if isinstance(x, jax.Array) else x, to_jax(options))
        step = getattr(snn, case.step.__name__, case.twin)
        got = snn.scan(step, state, xs, params=params | theirs, dim=found.dim, backend="fused")
        if case.name in OTHER_ORDER:
            # a difference of rounding, which is all that there may be
            pairs = zip(named(got).values(), named(to_jax(want)).values(), strict=True)
            assert all(relative_error(a, b) < 2e-5 for a, b in pairs)
            return
        for name, value in named(to_jax(want)).items():
            ours, theirs_ = np.asarray(named(got)[name]), np.asarray(value)
            assert ours.dtype == theirs_.dtype
            apart = int((ours.view(f"u{ours.itemsize}") != theirs_.view(f"u{ours.itemsize}")).sum())
            assert not apart, f"{name}: {apart} of {ours.size} numbers have other bits"


@pytest.mark.night
def test_most_neurons_are_of_class_e() -> None:
    """The comparison above compares something."""
    exact = {
        case.name
        for case, reset in SPIKING
        if in_torch(draw(case, 2, "(T, N)", "full"), case.options(reset=reset), torch.float64)[1].exactness == "E"
    }
    assert {"if", "lif", "li", "alif", "coarse_lif", "cuba_lif", "euler_lif", "quadratic_if"} <= exact
