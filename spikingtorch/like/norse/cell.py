"""What all cells of Norse check and store in the same way."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from spikingtorch.layers.rest import RestingLayer
from spikingtorch.layers.returns import Returns
from spikingtorch.like.norse.parameters import threshold
from spikingtorch.like.options import number, tensor

# inverse time constants, and the parameter of a step that each becomes with the length of a step
RATES = {
    "tau_mem_inv": ("leak", 1.0),
    "tau_syn_inv": ("syn", -1.0),
    "tau_adapt_inv": ("adapt", 1.0),
    "tau_ada_inv": ("ada", 1.0),
}


def rates(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with each inverse time constant multiplied by the length of a step."""
    params = dict(stored)
    dt = params.pop("dt")
    found = {name: (sign * dt) * params.pop(given) for given, (name, sign) in RATES.items() if given in params}
    return params | found


class Cell(RestingLayer):
    """A cell: its step with the parameters p, as tensors where Norse computes in tensors, and a spike function."""

    starts: ClassVar[Mapping[str, str]] = {"v": "v_leak"}

    def __init__(
        self,
        step: Callable[..., Any],
        state_type: type[Any],
        kind: type[Any],
        p: Any,
        dt: float,
        returns: Returns,
    ) -> None:
        owner = type(self).__name__
        if not isinstance(p, kind):
            raise TypeError(f"{owner}: p is a {type(p).__name__}, expected like.norse.{kind.__name__}(...)")
        number(owner, "dt", dt, above=0.0)
        super().__init__(step, state_type, **cell_params(owner, p), dt=float(dt), returns=returns)

    param_map = staticmethod(rates)


def cell_params(owner: str, p: Any) -> dict[str, Any]:
    """Return the parameters of a cell without ``method`` and ``alpha``, in whose place there is a spike function."""
    params: dict[str, Any] = p._asdict()
    method, alpha = params.pop("method", None), params.pop("alpha", 100.0)
    for name, value in params.items():
        if not callable(value):
            number(owner, name, value)
    converted = {name: tensor(value) if name in RATES else value for name, value in params.items()}
    return converted if method is None else converted | {"surrogate": threshold(method, alpha)}
