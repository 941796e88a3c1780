"""The common checks and parameters of all cells of Norse."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.norse.parameters import threshold
from spikingtorch.like.options import Common, number, tensor

P = TypeVar("P")

# inverse time constants, and the parameter that each becomes when it is multiplied by the length of a step
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


class Cell(LikeLayer, Generic[P]):
    """A cell: its step with the parameters p, which are tensors if Norse computes in tensors, and a spike function."""

    kind: ClassVar[type[Any]]  # of its parameters
    makes: ClassVar[tuple[Callable[..., Any], type[Any]]]  # its step, and the type of its state
    extra: ClassVar[Mapping[str, Any]] = {}  # parameters of its step that are fixed in Norse
    given_as: ClassVar[str] = "p"  # name of the argument that holds its parameters
    starts: ClassVar[Mapping[str, str]] = {"v": "v_leak"}

    def __init__(self, p: P | None = None, dt: float = 0.001, **options: Unpack[Common]) -> None:
        owner = type(self).__name__
        given: Any = self.kind() if p is None else p
        if not isinstance(given, self.kind):
            raise TypeError(
                f"{owner}: {self.given_as} is a {type(p).__name__}, expected like.norse.{self.kind.__name__}(...)"
            )
        number(owner, "dt", dt, above=0.0)
        step, state_type = self.makes
        super().__init__(step, state_type, options, **self._params_of(given, float(dt)), **self.extra)

    def _params_of(self, p: P, dt: float) -> dict[str, Any]:
        """Return the stored values of a layer, from its parameters and the length of a step."""
        return cell_params(type(self).__name__, p) | {"dt": dt}

    param_map = staticmethod(rates)


def cell_params(owner: str, p: Any) -> dict[str, Any]:
    """Return the parameters of a cell without ``method`` and ``alpha``, which a spike function replaces."""
    params: dict[str, Any] = p._asdict()
    method, alpha = params.pop("method", None), params.pop("alpha", 100.0)
    converted: dict[str, Any] = {}
    for name, value in params.items():
        if hasattr(value, "_asdict"):  # the parameters of the cell inside a refractory one
            converted |= cell_params(owner, value)
            continue
        if not callable(value):
            number(owner, name, value)
        converted[name] = tensor(value) if name in RATES else value
    return converted if method is None else converted | {"surrogate": threshold(method, alpha)}
