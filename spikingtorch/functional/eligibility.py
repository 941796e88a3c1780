"""Eligibility traces of any elementwise step, derived by differentiation of the step.

A neuron with the state h and the input z = w x has the step h[t] = f(h[t-1], z[t]). The derivative of its state by the
weight, e[t] = dh[t]/dw, runs forward in time:

    e[t] = D[t] e[t-1] + b[t] x[t]          D = df/dh,  b = df/dz

If the loss is L = sum of L[t], and L[t] depends on h[t-1] and w through step t alone, then

    dL[t]/dw = (dL[t]/dw with h[t-1] fixed) + (dL[t]/dh[t-1]) e[t-1]

Both terms are known at time t, and nothing older than e[t-1] is kept. ``partials`` returns D and b for any elementwise
step, a user's own as well.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import flatten, leaves_of, unflatten

StepFunction = Callable[..., tuple[Any, Any]]


class Partials(NamedTuple):
    """The derivatives of the next state of an elementwise step, neuron by neuron.

    Attributes:
        of_state: dh[t]/dh[t-1], a row for each floating tensor of the new state and a column for each of the old one.
        of_input: dh[t]/dx[t], an entry for each floating tensor of the new state.
        of_params: the derivatives by parameters, a row for each floating tensor of the new state.
    """

    of_state: tuple[tuple[Tensor, ...], ...]
    of_input: tuple[Tensor, ...]
    of_params: tuple[tuple[Tensor, ...], ...] = ()


class Linearized(NamedTuple):
    """An elementwise step that returns its derivatives beside its output, neuron by neuron.

        state[t], (out[t], ds[t]/d(h, x), dh[t]/d(h, x)) = ...        h = h[t-1], s = out[t], x = x[t]

    Both derivatives are ``Partials``, with a row for each floating tensor of the output, and of the state after the
    step. Because no neuron depends on another one, the gradient of the sum over the neurons of a result holds the
    derivatives of all neurons: one vector-Jacobian product for each row. A scan has all of it in one kernel.

    Args:
        step: a pure function ``(state, x, **params) -> (state, out)`` that computes each neuron from itself alone.
        of_states: whether dh[t]/d(h, x) is needed; else it has no rows.
        names: of tensor parameters, by whose entry for each neuron the results are differentiated as well.

    >>> from spikingtorch.functional import LIFState, lif_step, none
    >>> step = Linearized(lif_step)
    >>> _, (s, _, of_states) = step(LIFState(v=torch.zeros(2)), torch.ones(2), decay=0.5, reset=none)
    >>> s, of_states.of_state[0][0], of_states.of_input[0]
    (tensor([1., 1.]), tensor([0.5000, 0.5000]), tensor([1., 1.]))
    """

    step: StepFunction
    of_states: bool = True
    names: tuple[str, ...] = ()

    def __call__(self, state: Any, x: Tensor, **params: Any) -> tuple[Any, tuple[Any, Partials, Partials]]:
        """Advance one step."""
        leaves, rebuild = floating(state)
        size = len(leaves)

        def results(*given: Tensor) -> tuple[list[Tensor], tuple[Any, Any]]:
            moved = params | dict(zip(self.names, given[size + 1 :], strict=True))
            after, out = self.step(rebuild(given[:size]), given[size], **moved)
            return [*floating(out)[0], *(floating(after)[0] if self.of_states else [])], (after, out)

        vjp: Any = torch.func.vjp  # with has_aux, it returns three results
        entries = [params[name].expand_as(x) for name in self.names]
        found, pull, (after, out) = vjp(results, *leaves, x, *entries, has_aux=True)
        rows = [
            pull([torch.ones_like(other) if at == place else torch.zeros_like(other) for at, other in enumerate(found)])
            for place in range(len(found))
        ]
        number = len(floating(out)[0])
        first, second = [
            Partials(
                tuple([tuple(row[:size]) for row in part]),
                tuple([row[size] for row in part]),
                tuple([tuple(row[size + 1 :]) for row in part]),
            )
            for part in (rows[:number], rows[number:])
        ]
        return after, (out, first, second)


def partials(step: StepFunction, state: Any, x: Tensor, *, params: Mapping[str, Any] | None = None) -> Partials:
    """Return the derivatives of the next state of an elementwise step.

    Args:
        step: a pure function ``(state, x, **params) -> (state, out)`` that computes each neuron from itself alone.
        state: state before the step, a tree of tensors.
        x: input of the step, shape (*N,).
        params: keyword arguments of the step.

    >>> from spikingtorch.functional import LIFState, lif_step, none
    >>> found = partials(lif_step, LIFState(v=torch.zeros(2)), torch.zeros(2), params={"decay": 0.5, "reset": none})
    >>> found.of_state[0][0], found.of_input[0]
    (tensor([0.5000, 0.5000]), tensor([1., 1.]))
    """
    _, (_, _, found) = Linearized(step)(state, x, **(params or {}))
    return found


def leak_at_rest(step: StepFunction, state: Any, x: Tensor, params: Mapping[str, Any]) -> Partials:
    """Return the derivatives of the next state of neurons at rest, without an input; see ``partials``."""
    leaves, rebuild = floating(state)
    return partials(step, rebuild([torch.zeros_like(each) for each in leaves]), torch.zeros_like(x), params=params)


def of_one(found: Partials) -> Partials:
    """Return the derivatives of the first neuron, (*N, 1), which stand for those of all."""
    rows = tuple([tuple([each[..., :1] for each in row]) for row in found.of_state])
    return Partials(rows, tuple([each[..., :1] for each in found.of_input]))


def leak_is_constant(step: StepFunction, state: Any, x: Tensor, params: Mapping[str, Any]) -> bool:
    """Return True if the derivatives of all neurons are one constant, as far as random states show."""
    leaves, rebuild = floating(state)
    numbers = torch.Generator(x.device).manual_seed(0)
    moved = 4.0 * torch.randn(len(leaves) + 1, *x.shape, generator=numbers, device=x.device).to(x.dtype)
    found = leaves_of(partials(step, rebuild(list(moved[1:])), moved[0], params=params))
    at_rest = leaves_of(leak_at_rest(step, state, x, params))
    same = [one.flatten()[:1].expand_as(one) for one in at_rest]
    return all(map(torch.allclose, at_rest, same)) and all(map(torch.allclose, found, same))


def _rows(step: StepFunction, state: Any, x: Tensor, params: dict[str, Any], of_neurons: Tensor) -> list[list[Tensor]]:
    """Return, for each tensor of the new state, the gradient of its weighted sum by the old state and the input."""
    leaves, rebuild = floating(state)
    with torch.enable_grad():
        asked = [each.detach().requires_grad_() for each in (*leaves, x)]
        after = floating(step(rebuild(asked[:-1]), asked[-1], **params)[0])[0]
    rows = []
    for new in after:
        weights = of_neurons.to(new.dtype).expand_as(new)
        found: Any = [None] * len(asked)
        if new.requires_grad:
            found = torch.autograd.grad(new, asked, weights, retain_graph=True, allow_unused=True)
        rows.append([torch.zeros_like(one) if grad is None else grad for one, grad in zip(asked, found, strict=True)])
    return rows


def floating(state: Any) -> tuple[list[Tensor], Callable[[Any], Any]]:
    """Return the floating tensors of a state, and a function that puts others in their place."""
    traced = torch.compiler.is_dynamo_compiling()
    leaves, form = pytree.tree_flatten(state) if traced else flatten(state)
    places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

    def rebuild(values: Any) -> Any:
        given = dict(zip(places, values, strict=True))
        found = [given.get(at, leaf) for at, leaf in enumerate(leaves)]
        return pytree.tree_unflatten(found, form) if traced else unflatten(found, form)  # type: ignore[arg-type]

    return [leaves[at] for at in places], rebuild


def eligibility(
    trace: tuple[Tensor, ...], inputs: tuple[tuple[tuple[Tensor, ...], ...], tuple[Tensor, ...], Tensor]
) -> tuple[tuple[Tensor, ...], tuple[()]]:
    """Advance eligibility traces by one step: ``e[t] = D[t] e[t-1] + b[t] x[t]``.

    Args:
        trace: e[t-1], a tensor for each floating tensor of the state.
        inputs: D[t] and b[t] as ``Partials`` has them, and x[t]; they broadcast to the traces.
    """
    of_state, of_input, x = inputs
    after = []
    for row, gain in zip(of_state, of_input, strict=True):
        total = gain * x
        for factor, old in zip(row, trace, strict=True):
            total = total + factor * old
        after.append(total)
    return tuple(after), ()


def is_elementwise(step: StepFunction, state: Any, x: Tensor, *, params: Mapping[str, Any] | None = None) -> bool:
    """Return True if the next state of each neuron depends on this neuron alone.

    Two random halves show this, at the given state and at a random one, because rest may hide a product of two states.
    The arguments are those of ``partials``.
    """
    leaves, rebuild = floating(state)
    numbers = torch.Generator(x.device).manual_seed(0)
    twice = bool(leaves) and x.shape[:1] == (1,) and all(each.shape == x.shape for each in leaves)

    def moved(leaf: Tensor) -> Tensor:
        leaf = torch.cat([leaf, leaf]) if twice else leaf  # one sample alone mixes with no other
        return leaf + torch.rand(leaf.shape, generator=numbers, device=leaf.device).to(leaf.dtype)

    for there, given in ((state, x), (rebuild([moved(each) for each in leaves]), moved(x))):
        half = torch.rand(given.shape, generator=numbers, device=x.device) < 0.5
        for part in (half, ~half):
            rows = _rows(step, there, given, dict(params or {}), part.to(x.dtype))
            if any(each.shape != given.shape or each[~part].any() for row in rows for each in row):
                return False
    return True
