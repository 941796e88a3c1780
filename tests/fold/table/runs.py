"""Runs of a network of the table in mode "auto" and in mode "step", and what they differ in."""

import random
import warnings
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold.report import Report
from tests.fold.table import TABLE, Between, Case

T = 3
BATCHES = (4, 4, 2)
# of the largest entry of an output, a gradient or a state
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


class Call(NamedTuple):
    """What came of a call.

    Attributes:
        output: (N, T, ...).
        gradients: of the input and all parameters, by name, for random output gradients.
        state: what the network holds afterwards, by name.
    """

    output: Tensor
    gradients: dict[str, Tensor]
    state: dict[str, Tensor]


class Run(NamedTuple):
    """Some calls of a network.

    Attributes:
        calls: what came of each, or the error.
        report: how the network was to run before the first.
    """

    calls: list[Call | Exception]
    report: Report

    @property
    def outputs(self) -> list[Tensor]:
        """Those of the calls that came to an end."""
        return [call.output for call in self.calls if isinstance(call, Call)]


class Both(NamedTuple):
    step: Run
    auto: Run


@cache
def both(name: str) -> Both:
    """Run a network of the table in both modes."""
    return Both(run(TABLE[name], "step"), run(TABLE[name], "auto"))


def run(case: Case, mode: Literal["auto", "step"]) -> Run:
    """Make a network and call it several times, always with the same numbers."""
    inputs = [_noise(case, call, N) for call, N in enumerate(BATCHES)]
    found: list[Call | Exception] = []
    with warnings.catch_warnings(), torch.set_grad_enabled(case.gradients):
        warnings.simplefilter("ignore")
        model = st.SpikingNet(case.make(), _output_shape(case, inputs[0]), mode=mode)
        report = model.explain(inputs[0].clone().requires_grad_(case.gradients))
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        for x in inputs:
            try:
                found.append(_call(model, x))
            except Exception as error:
                found.append(error)
    return Run(found, report)


def _noise(case: Case, seed: int, N: int) -> Tensor:
    return torch.rand(N, T, *case.shape, generator=torch.Generator().manual_seed(seed), dtype=case.dtype)


def _output_shape(case: Case, x: Tensor) -> tuple[int, ...]:
    """Return the shape of a sample of the output, or that of the input if the network does not run."""
    try:
        with torch.no_grad():
            return tuple(case.make()(x[:, 0], True).shape[1:])
    except Exception:
        return case.shape


def _call(model: st.SpikingNet, x: Tensor) -> Call:
    leaves = {"x": x.clone().requires_grad_(torch.is_grad_enabled())}
    leaves |= {name: weight for name, weight in model.net.named_parameters() if weight.requires_grad}
    out = model(leaves["x"])
    if out.requires_grad:
        model.zero_grad()
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(out))
    gradients = {name: leaf.grad.to_dense().clone() for name, leaf in leaves.items() if leaf.grad is not None}
    return Call(out.detach().clone(), gradients, _state(model.net))


def _state(net: Any) -> dict[str, Tensor]:
    """Return weights, buffers, other numbers of a network, and the membranes of its layers."""
    assert isinstance(net, Between)
    own = {name: value for name, value in vars(net).items() if not name.startswith("_")}
    found: dict[str, Any] = dict(net.named_parameters()) | dict(net.named_buffers())
    found |= {"spiking.v": net.spiking.v, "readout.v": net.readout.v}
    found |= {name: value for name, value in own.items() if isinstance(value, (Tensor, int, float))}
    for name, value in own.items():
        if isinstance(value, (list, dict)):
            found[name] = len(value)
        if isinstance(value, list):
            hidden = nn.ModuleList([each for each in value if isinstance(each, nn.Module)])
            found |= dict(hidden.named_buffers(prefix=name))
    return {name: torch.as_tensor(value).detach().clone() for name, value in found.items()}


def differences(got: Run, want: Run, dtype: torch.dtype) -> list[str]:
    """Return what two runs do not agree in; errors agree with errors."""
    found = []
    for number, (one, other) in enumerate(zip(got.calls, want.calls, strict=True)):
        if isinstance(one, Exception) or isinstance(other, Exception):
            if not (isinstance(one, Exception) and isinstance(other, Exception)):
                found.append(f"call {number} came to {type(one).__name__}, expected {type(other).__name__}")
        else:
            found += [
                f"{what} of call {number}" for what, error in _errors(one, other) if not error <= TOLERANCE[dtype]
            ]
    return found


def _errors(got: Call, want: Call) -> list[tuple[str, float]]:
    # a gradient that is zero but for rounding is as large as the rounding of others
    least = 1e-3 * max([float(each.abs().max()) for each in want.gradients.values() if each.numel()], default=0.0)
    found = [("output", _error(got.output, want.output))]
    found += [(f"gradient of {name}", _error(a, b, least)) for name, a, b in _pairs(got.gradients, want.gradients)]
    return found + [(name, _error(a, b)) for name, a, b in _pairs(got.state, want.state)]


def _pairs(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[tuple[str, Tensor | None, Tensor | None]]:
    return [(name, one.get(name), other.get(name)) for name in {**one, **other}]


def _error(a: Tensor | None, b: Tensor | None, least: float = 0.0) -> float:
    """Return how far apart two tensors are, in units of the largest entry."""
    if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
        return float("inf")
    if not b.numel() or torch.equal(a, b):
        return 0.0
    got, want = a.to(torch.float64), b.to(torch.float64)
    return float((got - want).abs().max()) / max(float(want.abs().max()), least, 1e-300)
