"""Every neuron, by itself and with every wrapper and reset rule, in onnxruntime beside ``scan``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.interop import onnx
from spikingtorch.interop.onnx.steps import _named
from spikingtorch.verification.case import Seen
from spikingtorch.verification.cases import CASES, RECURRENT, WRAPPED, Case
from tests.interop.onnx.running import equal, opened, ran

TABLE = [
    pytest.param(case, rule, id=f"{case.name}-{getattr(rule, '__name__', type(rule).__name__)}")
    for case in (*CASES, *RECURRENT, *WRAPPED)
    for rule in (case.resets[:4] or (None,))
]


def drawn(case: Case, N: int, T: int, dtype: torch.dtype) -> tuple[Any, Any, dict[str, Any]]:
    """Return a state, inputs (T, N, 8) and parameters that all samples share."""
    found = [case.draw(T, seed)[0] for seed in range(N)]
    xs = pytree.tree_map(lambda *each: torch.stack(each, 1).to(dtype), *found)
    state = pytree.tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, case.initial(xs))
    return state, xs, {name: each.to(dtype) for name, each in case.draw(7)[1].items()}


def in_precision(case: Case, N: int, T: int, options: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    """Return each neuron's distances from its threshold, (T, N, 8), and the last state by name."""
    state, xs, params = drawn(case, N, T, dtype)
    seen = Seen()
    after, _ = F.scan(case.step, state, xs, params=params | options | case.options(seen), backend="loop")
    return np.stack([u.numpy() for u in seen.membranes]) if seen.membranes else None, _named("state", after)


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "rule"), TABLE)
def test_a_neuron_gives_the_same_in_a_file(case: Case, rule: Any, tmp_path: Path) -> None:
    options = case.options(F.Sigmoid(5.0), rule)
    state, xs, params = drawn(case, 5, 7, torch.float32)
    onnx.export_scan(case.step, state, xs, tmp_path / "neuron.onnx", params=params | options)
    session = opened(tmp_path / "neuron.onnx")
    exact = F.explain_scan(case.step, state, xs, params=params | options).exactness == "E"
    for N in (1, 5):
        for T in (1, 7, 100):
            state, xs, params = drawn(case, N, T, torch.float32)
            after, out = F.scan(case.step, state, xs, params=params | options)
            out = out[0] if isinstance(out, tuple) else out
            begin = {name.removeprefix("state."): leaf for name, leaf in _named("state", state).items()}
            found, left = ran(session, begin, **_named("x", xs))
            spikes = next(iter(found.values()))
            want = {name.removeprefix("state."): leaf.numpy() for name, leaf in _named("state", after).items()}
            if exact and case.weights is None:
                assert equal(spikes, out.numpy()).all()
                assert all(equal(left[name], each).all() for name, each in want.items())
                continue
            wide, last = in_precision(case, N, T, options, torch.float64)
            same = np.isclose(spikes, out.numpy(), rtol=1e-4, atol=1e-4).all(0)
            if not same.all():  # rounding decides where a membrane is as near to the threshold as rounding moves it
                moved = np.abs(in_precision(case, N, T, options, torch.float32)[0] - wide).max(0)
                assert (np.abs(wide).min(0) <= 8.0 * moved)[~same].all()
            for name, each in want.items():
                exactly = equal(left[name], each)
                here, there, best = (
                    np.where(exactly, 0.0, value) for value in (each, left[name], last[f"state.{name}"])
                )
                noise = 1e-5 * (1.0 + np.abs(here)) + 32.0 * np.abs(here - best).max()
                assert (np.abs(there - here) <= noise)[same].all()
