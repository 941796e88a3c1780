"""Support: return, beside each spike, where its derivative is not zero.

A surrogate of compact support, such as ``Triangular``, has no slope away from the threshold. There, no gradient of a
spike is passed on. So the layer that computes this gradient can skip these places (N. Perez-Nieves, D. F. M. Goodman,
"Sparse spiking gradient descent", NeurIPS 2021, arXiv:2105.08810).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.firing import Strict, Watched
from spikingtorch.functional.recorded import watch
from spikingtorch.functional.recurrent import Recurrent, first_output
from spikingtorch.functional.state import inner_rest
from spikingtorch.functional.surrogate import Triangular


class Supported(NamedTuple):
    """A step that returns, beside each spike, where its derivative may be nonzero.

        state[t], (s[t], support(u[t] - threshold)) = ...

    It returns an empty tuple if the step's output is not the result of a single call of its surrogate. Of an output
    tuple, the first is examined.

    Args:
        step: a step of this library, ``(state, x, surrogate=..., **params) -> (state, s)``; see ``is_known``.

    >>> import torch
    >>> from spikingtorch.functional import IFState, Triangular, if_step, scan
    >>> rest, xs = IFState(v=torch.zeros(1)), torch.full((4, 1), 0.3)
    >>> _, (spikes, support) = scan(Supported(if_step), rest, xs, params={"surrogate": Triangular(beta=2.0)})
    >>> spikes.flatten(), support.flatten()
    (tensor([0., 0., 0., 1.]), tensor([False,  True,  True,  True]))
    """

    step: Callable[..., tuple[Any, Any]]

    def __call__(self, state: Any, x: Any, **params: Any) -> tuple[Any, tuple[Any, Tensor | tuple[()]]]:
        """Advance one step."""
        watched = watch(self.step, params)
        after, out = self.step(state, x, **params)
        return after, (out, () if watched is None else _of(watched, out))

    def at_rest(self, neuron: Any, like: Tensor) -> Any:
        """Return the state at rest of the step."""
        return inner_rest(self.step, neuron, like)


def supported(step: Any) -> Any:
    """Return a step with the support of its spikes; in a recurrent step, the neuron gets it."""
    if isinstance(step, Recurrent):
        neuron: Any = Supported(step.step)
        return Recurrent(neuron, step.synapse)
    return Supported(step)


def is_known(step: Any, params: Mapping[str, Any]) -> bool:
    """Return True if a step and the functions among its parameters belong to this library.

    Other steps may inspect their surrogate, which is replaced here, or write to its result.
    """
    return is_ours(step) and all(is_ours(value) for value in params.values() if callable(value))


def is_ours(function: Any) -> bool:
    """Return True if a function, and those that it wraps, belong to this library."""
    inside = [getattr(function, name, None) for name in ("step", "synapse", "rule", "surrogate")]
    ours = str(getattr(function, "__module__", "")).startswith("spikingtorch.")
    return ours and all(is_ours(each) for each in inside if callable(each))


def support_of(surrogate: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the function that tells where the derivative of a surrogate may be nonzero; None if everywhere."""
    inside = surrogate.surrogate if type(surrogate) is Strict else surrogate
    return inside.support if type(inside) is Triangular else None


def _of(watched: Watched, out: Any) -> Tensor | tuple[()]:
    """Return where the derivative of an output may be nonzero, if the output is the surrogate's result."""
    support = support_of(watched.inside)
    if support is None or len(watched.met) != 1 or watched.met[0].out is not first_output(out):
        return ()
    return support(watched.met[0].u - watched.met[0].threshold)
