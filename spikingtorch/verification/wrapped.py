"""Records of wrappers around a step, for the leaky neuron: rests, masks, and fields of the state as outputs."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.verification import oracles
from spikingtorch.verification.case import Case

__all__ = ["WRAPPED", "masked_leaky"]

_PARAMS = {"decay": (0.5, 0.98), "gain": (0.5, 1.2), "threshold": (0.5, 1.2)}
_CURRENT = (-0.6, 1.4)
# the share of steps at which a masked neuron does not run
_IDLE = 0.3


def _masked_step(state: Any, x: Any, **params: Any) -> Any:
    return F.Masked(F.lif_step)(state, (x[0], x[1] >= _IDLE), **params)


def _masked_twin(state: Any, x: Any, **params: Any) -> Any:
    return J.Masked(J.lif_step)(state, (x[0], x[1] >= _IDLE), **params)


def _at_rest(state_type: type[Any], x: Tensor) -> Any:
    """Return the state of a leaky neuron with one more tensor."""
    return state_type(F.LIFState(torch.zeros_like(x)), torch.zeros_like(x))


def masked_leaky(x: Any, **params: Any) -> oracles.Result:
    """Return the outputs of each neuron for only the inputs of its running steps."""
    current, chance = x
    out, last = np.zeros_like(current), np.zeros_like(current[0])
    for n in range(current.shape[1]):
        runs = chance[:, n] >= _IDLE
        if not runs.any():
            continue
        own: dict[str, Any] = {
            name: value[n : n + 1] if isinstance(value, np.ndarray) else value for name, value in params.items()
        }
        spikes, state = oracles.leaky(current[runs, n : n + 1], **own)
        out[runs, n], last[n] = spikes[:, 0], state["v"][0]
    return out, {"v": last}


def _returning_leaky(x: oracles.Array, **params: Any) -> Any:
    """Return spikes and membranes; the membrane after a step is the membrane after a sequence that ends there."""
    spikes, last = oracles.leaky(x, **params)
    v = np.stack([oracles.leaky(x[: t + 1], **params)[1]["v"] for t in range(len(x))])
    return (spikes, v), last


_RESTS: tuple[Any, Any] = (F.Refractory(F.lif_step, 2.0), J.Refractory(J.lif_step, 2.0))
_RISES: tuple[Any, Any] = (F.RelativeRefractory(F.lif_step, 0.6, 0.7), J.RelativeRefractory(J.lif_step, 0.6, 0.7))
_RETURNS: tuple[Any, Any] = (F.Returning(F.lif_step, ("v",)), J.Returning(J.lif_step, ("v",)))

WRAPPED = (
    Case(
        *("refractory_lif", *_RESTS, F.RefractoryState, partial(oracles.refractory_leaky, steps=2.0), _PARAMS),
        make_rest=partial(_at_rest, F.RefractoryState),
    ),
    Case(
        *("relative_refractory_lif", *_RISES, F.RelativeRefractoryState),
        partial(oracles.relative_refractory_leaky, jump=0.6, decay_threshold=0.7),
        _PARAMS,
        make_rest=partial(_at_rest, F.RelativeRefractoryState),
    ),
    Case("masked_lif", _masked_step, _masked_twin, F.LIFState, masked_leaky, _PARAMS, (_CURRENT, (0.0, 1.0))),
    Case("returning_lif", *_RETURNS, F.LIFState, _returning_leaky, _PARAMS, levels=False),
)
