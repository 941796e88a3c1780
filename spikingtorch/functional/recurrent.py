"""Recurrence: the spikes of neurons feed back one step later, through weights."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import autocast_dtype
from spikingtorch.functional.core.tree import flatten, unflatten


class RecurrentState(NamedTuple):
    """State of ``Recurrent``: the state of the neuron, and s, its output in the step before."""

    neuron: Any
    s: Tensor


def dense(s: Tensor, weight: Tensor) -> Tensor:
    """Return the currents through a matrix: every neuron to every neuron.

        i[j] = sum_k weight[j, k] s[k]

    Args:
        s: spikes, shape (..., M).
        weight: shape (M, M), as in ``nn.Linear``.

    >>> dense(torch.tensor([1.0, 0.0]), torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    tensor([0.1000, 0.3000])
    """
    return _in_full(torch.nn.functional.linear, s, weight)


def per_channel(s: Tensor, weight: Tensor) -> Tensor:
    """Return the currents through one weight for each neuron, or for each channel: every neuron to itself.

        i[j] = weight[j] s[j]

    Args:
        s: spikes, any shape.
        weight: broadcastable to s; (C, 1, 1) is one weight a channel of (N, C, H, W).
    """
    return weight * s


def convolution(s: Tensor, weight: Tensor) -> Tensor:
    """Return the currents through a kernel, with zeros around the image: every neuron to its neighbours.

        i[c, p] = sum_{d, q} weight[c, d, q] s[d, p + q - centre]

    Args:
        s: spikes, shape (N, C, *size) or (C, *size), one to three axes of size.
        weight: shape (C, C / groups, *odd sizes), as in ``nn.Conv2d``.
    """
    run = {3: torch.nn.functional.conv1d, 4: torch.nn.functional.conv2d, 5: torch.nn.functional.conv3d}[weight.ndim]
    return _in_full(run, s, weight, padding="same", groups=weight.shape[0] // weight.shape[1])


# synapses that take a matrix product, which stays outside of a neuron's kernel; the others are elementwise
PRODUCTS: dict[Callable[..., Any], str] = {dense: "dense", convolution: "convolution"}


class Recurrent(NamedTuple):
    """The step of a neuron whose spikes feed back one step later.

        state[t], s[t] = step(state[t-1], x[t] + synapse(s[t-1], recurrent_weight))

    With several inputs, the spikes feed back to the first input. If the output is a tuple, its first entry feeds back;
    if that is a tuple, its first entry does.

    Args:
        step: the step of the neuron, ``(state, x, **params) -> (state, s)``, whose output s is a tensor, or a tuple
            that begins with one.
        synapse: ``dense``, ``per_channel``, ``convolution``, or another function of s and ``recurrent_weight``.

    >>> from spikingtorch.functional import IFState, if_step, scan
    >>> rest = RecurrentState(IFState(v=torch.zeros(2)), s=torch.zeros(2))
    >>> xs = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    >>> crosswise = {"recurrent_weight": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}
    >>> scan(Recurrent(if_step), rest, xs, params=crosswise)[1]
    tensor([[1., 0.],
            [0., 1.],
            [1., 0.]])
    """

    step: Callable[..., tuple[Any, Any]]
    synapse: Callable[[Tensor, Tensor], Tensor] = dense

    def __call__(self, state: RecurrentState, x: Any, *, recurrent_weight: Tensor, **params: Any) -> Any:
        """Advance one step.

        Args:
            state: the state of the neuron and s[t-1], each of shape (*N,).
            x: input of the neuron, shape (*N,), or a tree of inputs.
            recurrent_weight: the weights, in the shape for the synapse.
            **params: parameters of the neuron.
        """
        (first, *rest), form = flatten(x)
        _check(self.synapse, state, first, recurrent_weight)
        driven = unflatten([first + self.synapse(state.s, recurrent_weight), *rest], form)
        neuron, out = self.step(state.neuron, driven, **params)
        return RecurrentState(neuron, first_output(out)), out


class DelayedRecurrentState(NamedTuple):
    """State of ``DelayedRecurrent``: that of the neuron, and the spikes that arrive later, in the next step first."""

    neuron: Any
    coming: tuple[Tensor, ...]


def delayed_dense(coming: tuple[Tensor, ...], weight: Tensor) -> Tensor:
    """Return the currents through a matrix of the spikes that arrive now, the first of ``coming``."""
    return dense(coming[0], weight)


class DelayedRecurrent(NamedTuple):
    """The step of a neuron whose spikes feed back through a matrix, each neuron's after delays of its own.

        state[t], s[t] = step(state[t-1], x[t] + recurrent_weight coming[t-1][0])
        coming[t][k] = coming[t-1][k+1] + recurrent_spread[k] s[t]

    A share of a spike, recurrent_spread[k] of shape (K, M), arrives k + 1 steps later. The loop runs this step.
    """

    step: Callable[..., tuple[Any, Any]]

    @property
    def multiplies(self) -> bool:
        """Return True: no kernel of a step runs it."""
        return True

    def __call__(
        self, state: DelayedRecurrentState, x: Any, *, recurrent_weight: Tensor, recurrent_spread: Tensor, **params: Any
    ) -> tuple[DelayedRecurrentState, Any]:
        """Advance one step; inputs and spikes have the shape (..., M)."""
        (first, *rest), form = flatten(x)
        driven = unflatten([first + delayed_dense(state.coming, recurrent_weight), *rest], form)
        neuron, out = self.step(state.neuron, driven, **params)
        s = first_output(out)
        shares = recurrent_spread.reshape(len(state.coming), *(1,) * (s.ndim - 1), -1)
        coming = torch.stack([*state.coming[1:], torch.zeros_like(s)]) + shares * s
        return DelayedRecurrentState(neuron, coming.unbind(0)), out


def first_output(out: Any) -> Any:
    """Return the output that feeds back to a recurrent neuron: of a tuple, the first."""
    while isinstance(out, tuple):
        out = out[0]
    return out


def misfit(synapse: Any, shape: Sequence[int], weight: Sequence[int]) -> str | None:
    """Return the error in the shape of recurrent weights for the shape of spikes, or None."""
    last = tuple(shape[-1:])
    if synapse is dense and (len(shape) == 0 or tuple(weight) != last * 2):
        return f"expected (M, M) = {last * 2}, for M neurons on the last axis"
    if synapse is per_channel and not _broadcasts(weight, shape):
        return f"expected a shape that broadcasts to the neurons, {tuple(shape)}"
    if synapse is convolution:
        axes = len(weight) - 2
        right = 1 <= axes <= 3 and len(shape) in (axes + 1, axes + 2) and weight[0] == shape[-axes - 1]
        if not (right and weight[1] > 0 and weight[0] % weight[1] == 0 and all(size % 2 for size in weight[2:])):
            return "expected (C, C / groups, *odd sizes), for images (N, C, *size)"
    return None


def _check(synapse: Any, state: Any, x: Tensor, weight: Any) -> None:
    """Raise an error if the state or the weights of a recurrent step do not fit."""
    if not isinstance(state, RecurrentState):
        raise TypeError(
            f"scan: the state of a recurrent step is a RecurrentState(neuron, s), and it got a {type(state).__name__}. "
            "Put the state of the neuron into one, with s=torch.zeros_like of one step of input"
        )
    if synapse not in (dense, per_channel, convolution):
        return
    if not isinstance(weight, Tensor):
        raise TypeError(f"scan: params['recurrent_weight'] is a {type(weight).__name__}, expected a tensor: {weight!r}")
    if weight.dtype != state.s.dtype:
        raise TypeError(
            f"scan: recurrent_weight is {weight.dtype}, and the spikes are {state.s.dtype}; convert one of them"
        )
    if not _broadcasts(x.shape, state.s.shape):
        raise ValueError(
            f"scan: state.s has shape {tuple(state.s.shape)}, and one step of input {tuple(x.shape)}; "
            "they must be the same"
        )
    if wrong := misfit(synapse, state.s.shape, weight.shape):
        raise ValueError(
            f"scan: recurrent_weight has shape {tuple(weight.shape)} for spikes of shape {tuple(state.s.shape)}; "
            f"{wrong}"
        )


def _broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Return True if a shape broadcasts to another one without enlarging it."""
    fits = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all([n in (1, size) for n, size in fits])


def _in_full(run: Callable[..., Tensor], s: Tensor, *arguments: Any, **options: Any) -> Tensor:
    """Run a product in the precision of the state: autocast has no effect inside a step."""
    if autocast_dtype(s.device) is None:
        return run(s, *arguments, **options)
    with torch.autocast(s.device.type, enabled=False):
        return run(s, *arguments, **options)
