"""functional.with_traces: its gradients beside those of autograd through the whole sequence, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.traces import OnlineRule

N, T, INPUTS, OUTPUTS = 3, 12, 5, 4
EXACT = 1e-12
CONSTANT = F.detached(F.by_subtraction)
STEPS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "lif": (F.lif_step, F.LIFState, {"decay": 0.8}),
    "lif, detached subtraction": (F.lif_step, F.LIFState, {"decay": 0.8, "reset": CONSTANT}),
    "alif": (F.alif_step, F.ALIFState, {"decay": 0.8, "decay_adaptation": 0.9, "adaptation": 0.3}),
    "cuba": (F.cuba_lif_step, F.CubaLIFState, {"decay": 0.8, "decay_syn": 0.7, "reset": CONSTANT}),
    "li": (F.li_step, F.LIState, {"decay": 0.8}),
}


def drawn(name: str) -> tuple[Any, Any, dict[str, Any], Tensor, Tensor]:
    """Return a step, its state at rest, parameters with weights, inputs and random output gradients."""
    numbers = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=numbers)

    step, kind, params = STEPS[name]
    rest = kind(*[torch.zeros(N, OUTPUTS, dtype=torch.float64) for _ in kind._fields])
    weights = {"weight": draw(OUTPUTS, INPUTS) - 0.2, "bias": draw(OUTPUTS) * 0.1}
    return step, rest, params | weights, draw(T, N, INPUTS), draw(T, N, OUTPUTS) - 0.5


def true(step: Any, rest: Any, params: dict[str, Any], xs: Tensor, signals: Tensor) -> dict[str, Tensor]:
    """Return the gradients of back-propagation through time."""
    leaves = {name: each.clone().requires_grad_() for name, each in params.items() if isinstance(each, Tensor)}
    own = {name: each for name, each in (params | leaves).items() if name not in ("weight", "bias")}
    zs = torch.nn.functional.linear(xs, leaves["weight"], leaves["bias"])
    out = F.scan(step, rest, zs, params=own, backend="loop")[1]
    return dict(zip(leaves, torch.autograd.grad((out * signals).sum(), [*leaves.values()]), strict=True))


def summed(online: F.OnlineStep, rest: Any, params: dict[str, Any], xs: Tensor, signals: Tensor) -> dict[str, Tensor]:
    """Return the sum of the gradients of all steps."""
    state, total = online.start(rest, xs[0], **params), dict[str, Tensor]()
    for x, signal in zip(xs, signals, strict=True):
        state, _ = online(state, x, **params)
        total = {name: total.get(name, 0) + g for name, g in online.gradient(state, signal, **params).items()}
    return total


def worst(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    assert all(each.norm() > 1e-3 for each in expected.values())
    return max(float((found[name] - each).norm() / each.norm()) for name, each in expected.items())


@pytest.mark.parametrize("name", STEPS)
def test_diagonal_is_back_propagation_through_one_layer(name: str) -> None:
    step, rest, params, xs, signals = drawn(name)
    assert worst(summed(F.with_traces(step), rest, params, xs, signals), true(step, rest, params, xs, signals)) < EXACT


@pytest.mark.parametrize("shape", [(), (OUTPUTS,)])
def test_parameters_of_neurons_are_learned(shape: tuple[int, ...]) -> None:
    step, rest, params, xs, signals = drawn("alif")
    own = {name: torch.full(shape, params[name], dtype=torch.float64) for name in ("decay", "adaptation")}
    online = F.with_traces(step, learns=tuple(own))
    found = summed(online, rest, params | own, xs, signals)
    assert worst(found, true(step, rest, params | own, xs, signals)) < EXACT


def test_presynaptic_is_diagonal_where_the_leak_is_constant_and_refused_elsewhere() -> None:
    for name in ("lif, detached subtraction", "cuba", "li"):
        step, rest, params, xs, signals = drawn(name)
        found = summed(F.with_traces(step, "presynaptic"), rest, params, xs, signals)
        assert worst(found, true(step, rest, params, xs, signals)) < EXACT
    for name in ("lif", "alif"):
        step, rest, params, xs, _ = drawn(name)
        with pytest.raises(ValueError, match=r"one constant leak, and that of (a?lif)_step depends.*by_subtraction"):
            F.with_traces(step, "presynaptic").start(rest, xs[0], **params)


def test_last_step_is_back_propagation_through_each_step_alone() -> None:
    step, rest, params, xs, signals = drawn("lif")
    found, state = summed(F.with_traces(step, "last_step"), rest, params, xs, signals), rest
    expected: dict[str, Tensor] = {}
    own = {name: each for name, each in params.items() if name not in ("weight", "bias")}
    for t in range(T):
        one = true(step, state, params, xs[t : t + 1], signals[t : t + 1])
        expected = {name: expected.get(name, 0) + each for name, each in one.items()}
        state, _ = step(state, torch.nn.functional.linear(xs[t], params["weight"], params["bias"]), **own)
    assert worst(found, expected) < EXACT


def test_two_layers_pass_the_signal_of_a_step_on() -> None:
    """Equal to autograd where the state before the step is cut."""
    step, rest, params, xs, signals = drawn("lif")
    above = params | {"weight": params["weight"][:, :OUTPUTS] + 0.3}
    own = {name: each for name, each in params.items() if name not in ("weight", "bias")}
    low, high = (F.with_traces(step, "last_step") for _ in range(2))
    a, b = low.start(rest, xs[0], **params), high.start(rest, signals[0], **above)
    for x, signal in zip(xs, signals, strict=True):
        before = a.neuron, b.neuron
        a, s = low(a, x, **params)
        b, _ = high(b, s, **above)
        found = low.gradient(a, high.of_input(b, signal) @ above["weight"], **params)["weight"]
        weight = params["weight"].clone().requires_grad_()
        s = step(before[0], torch.nn.functional.linear(x, weight, params["bias"]), **own)[1]
        out = step(before[1], torch.nn.functional.linear(s, above["weight"], above["bias"]), **own)[1]
        (expected,) = torch.autograd.grad((out * signal).sum(), weight)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", ["diagonal", "presynaptic", "last_step"])
def test_it_runs_in_scan_and_under_vmap(rule: OnlineRule) -> None:
    step, rest, params, xs, signals = drawn("lif, detached subtraction")
    online: Any = F.with_traces(step, rule)
    start, params = online.start(rest, xs[0], **params), params | {"decay": torch.tensor(0.8, dtype=torch.float64)}
    state, out = F.scan(online, start, xs, params=params, backend="loop")
    by_hand, spikes = start, []
    for x in xs:
        by_hand, s = online(by_hand, x, **params)
        spikes.append(s)
    torch.testing.assert_close(out, torch.stack(spikes), rtol=0.0, atol=0.0)
    expected = online.gradient(by_hand, signals[-1], **params)
    torch.testing.assert_close(online.gradient(state, signals[-1], **params), expected, rtol=1e-12, atol=0.0)

    def of_sample(start: F.OnlineState, xs: Tensor, signal: Tensor) -> dict[str, Tensor]:
        return online.gradient(F.scan(online, start, xs, params=params, backend="loop")[0], signal, **params)

    each = torch.func.vmap(of_sample, in_dims=(0, 1, 0))(start, xs, signals[-1])
    torch.testing.assert_close({k: v.sum(0) for k, v in each.items()}, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", STEPS)
def test_one_kernel_has_the_derivatives_of_a_step(name: str) -> None:
    step, rest, params, xs, signals = drawn(name)
    own = {name: each for name, each in params.items() if name not in ("weight", "bias")}
    linearized: Any = F.Linearized(step)
    zs = torch.nn.functional.linear(xs, params["weight"], params["bias"])
    found = [F.scan(linearized, rest, zs, params=own, backend=each) for each in ("fused", "loop")]
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)
    # the derivatives of a step by autograd
    state = F.scan(linearized, rest, zs[:-1], params=own)[0]
    leaves = [each.clone().requires_grad_() for each in (*state, zs[-1])]
    after, out = step(type(rest)(*leaves[:-1]), leaves[-1], **own)
    _, of_out, of_state = tree_map(lambda each: each[-1], found[1][1])
    for result, of_result, at in ((out, of_out, 0), *[(each, of_state, at) for at, each in enumerate(after)]):
        grads = torch.autograd.grad(result, leaves, signals[-1], retain_graph=True, allow_unused=True)
        rows = [*of_result.of_state[at], of_result.of_input[at]]
        for grad, row in zip(grads, rows, strict=True):
            torch.testing.assert_close(row * signals[-1], torch.zeros_like(row) if grad is None else grad)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"rule='e-prop', expected one of 'diagonal', 'presynaptic', 'last_step'$"):
        F.with_traces(F.lif_step, "e-prop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"With .exact., learning.online differentiates a whole network"):
        F.with_traces(F.lif_step, "exact")  # type: ignore[arg-type]

    def mixing(state: Any, z: Tensor, **params: Any) -> Any:
        return F.lif_step(state, z.roll(1, -1), **params)

    _, rest, params, xs, _ = drawn("lif")
    with pytest.raises(ValueError, match="mixing mixes neurons"):
        F.with_traces(mixing).start(rest, xs[0], **params)
