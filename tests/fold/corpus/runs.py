"""Runs of a network of the corpus in one mode, and what two of them differ in."""

import contextlib
import io
import random
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold.corpus import outside
from tests.fold.corpus.entry import Entry

T = 5
# of the largest entry of an output, a gradient or a state
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


class Call(NamedTuple):
    """What came of a call.

    Attributes:
        output: (N, T, ...).
        gradients: of the input and all parameters, by name, for random output gradients.
        state: what the network, and each place that it writes on, holds afterwards.
    """

    output: Tensor
    gradients: dict[str, Tensor]
    state: dict[str, Tensor]


class Run(NamedTuple):
    """Some calls of a network.

    Attributes:
        calls: what came of each, or the error.
        report: how the network was to run before the first, and how it ran in the last.
        warned: what the network warned of.
        printed: what it printed.
    """

    calls: list[Call | Exception]
    report: tuple[Any, Any]
    warned: list[str]
    printed: str

    @property
    def outputs(self) -> list[Tensor]:
        """Those of the calls that came to an end."""
        return [call.output for call in self.calls if isinstance(call, Call)]


def run(entry: Entry, mode: Any, seed: int = 0) -> Run:
    """Make a network and call it several times, always with the same numbers."""
    inputs = [_noise(entry, call, N) for call, N in enumerate(entry.batches)]
    if entry.input is not None:
        inputs = [entry.input] * len(inputs)
    found: list[Call | Exception] = []
    outside.reset()
    with (
        warnings.catch_warnings(record=True) as caught,
        torch.set_grad_enabled(entry.gradients),
        contextlib.redirect_stdout(io.StringIO()) as printed,
    ):
        warnings.simplefilter("always")
        model = st.SpikingNet(entry.network(), mode=mode, warn_silent=False)
        asked = inputs[0].to(entry.dtype, copy=True).requires_grad_(entry.gradients)
        held = outside.content()
        before = None if mode == "step" else model.explain(asked)
        assert outside.content() == held, "a proof leaves something behind"
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        for number, x in enumerate(inputs):
            if number == 1 and entry.change is not None:
                entry.change(model.net)
            try:
                found.append(_call(model, x.to(entry.dtype, copy=True)))
            except Exception as error:
                found.append(error)
        report = before, None if mode == "step" else model.explain()
    texts = [str(warning.message) for warning in caught]
    return Run(found, report, [text for text in texts if text.startswith("SpikingNet")], printed.getvalue())


def _noise(entry: Entry, seed: int, N: int) -> Tensor:
    """Return an input whose steps differ in mean and deviation."""
    noise = torch.rand(N, T, *entry.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise * torch.linspace(0.6, 1.4, T, dtype=torch.float64).view(T, *[1] * len(entry.shape))


def _call(model: st.SpikingNet, x: Tensor) -> Call:
    leaves = {"x": x.requires_grad_(torch.is_grad_enabled())}
    leaves |= {name: weight for name, weight in model.net.named_parameters() if weight.requires_grad}
    out = model(x)
    if out.requires_grad:
        model.zero_grad()
        generator = torch.Generator().manual_seed(9)
        out.backward(torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out), retain_graph=True)
    gradients = {name: leaf.grad.to_dense().clone() for name, leaf in leaves.items() if leaf.grad is not None}
    return Call(out.detach().clone(), gradients, _numbers(_state(model.net) | outside.content()))


def _state(net: nn.Module) -> dict[str, Any]:
    """Return weights, buffers, attributes of a network, and the membranes and outputs of its layers."""
    found: dict[str, Any] = dict(net.named_parameters()) | dict(net.named_buffers())
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, st.StepLayer)}
    found |= {f"{name}.{what}": getattr(layer, what) for name, layer in layers.items() for what in ("v", "s")}
    return found | {name: value for name, value in vars(net).items() if not name.startswith("_")}


def _numbers(held: dict[str, Any]) -> dict[str, Tensor]:
    """Return all that is a number, how many there are of what comes in several, and the buffers of hidden modules."""
    found: dict[str, Any] = {}
    for name, value in held.items():
        if isinstance(value, (Tensor, int, float)):
            found[name] = value
        elif isinstance(value, (list, dict)):
            found[name] = [len(value), *[each for each in value if isinstance(each, int)]]
        if isinstance(value, list):
            hidden = nn.ModuleList([each for each in value if isinstance(each, nn.Module)])
            found |= dict(hidden.named_buffers(prefix=name))
    return {name: torch.as_tensor(value).detach().clone() for name, value in found.items()}


def differences(got: Run, want: Run, dtype: torch.dtype) -> list[str]:
    """Return what two runs do not agree in; errors agree with errors."""
    found = [] if got.printed == want.printed else [f"it printed {got.printed!r}"]
    for number, (one, other) in enumerate(zip(got.calls, want.calls, strict=True)):
        if isinstance(one, Call) and isinstance(other, Call):
            errors = _errors(one, other)
            found += [f"{what} of call {number}" for what, error in errors if not error <= TOLERANCE[dtype]]
        elif isinstance(one, Call) or isinstance(other, Call):
            found.append(f"call {number} came to {type(one).__name__}, expected {type(other).__name__}: {one}")
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
    """Return how far apart two tensors are, in units of the largest entry; NaN agrees with NaN."""
    if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
        return float("inf")
    got, want = a.to(torch.float64), b.to(torch.float64)
    same = (got == want) | (got.isnan() & want.isnan())
    if same.all():
        return 0.0
    finite = want[want.isfinite()].abs()
    return float((got - want)[~same].abs().max()) / max(float(finite.max()) if finite.numel() else 0.0, least, 1e-300)
