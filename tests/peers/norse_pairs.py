"""Cells of Norse and ours."""

from collections.abc import Callable, Mapping
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional.lif_refrac import LIFRefracParameters
from norse.torch.functional.reset import reset_subtract
from norse.torch.functional.threshold import threshold
from torch import Tensor

from spikingtorch import like
from tests.peers.pair import Pair, Theirs, is_exact, value

_LIF = {"tau_syn_inv": 300.0, "tau_mem_inv": 250.0, "v_leak": 0.1, "v_th": 0.9, "v_reset": -0.1}
# one that float32 holds exactly, in which LIFRecurrentCell starts
_FED = {**_LIF, "v_leak": 0.125}
_BOX = {"tau_mem_inv": 250.0, "v_leak": 0.1, "v_th": 0.9, "v_reset": -0.1}
_ADEX = {"adaptation_current": 0.5, "adaptation_spike": 0.1, "delta_T": 0.4, "tau_ada_inv": 20.0}


def _pair(
    kind: str,
    numbers: Mapping[str, float],
    *,
    mean: float,
    name: str = "",
    subtract: bool = False,
    spikes: bool = True,
    **options: Any,
) -> Pair:
    """Return a pair of equal names and parameters, all of which are trained.

    Recurrent cells have six inputs and eight neurons, and their sums are in another order.
    """
    back = "Recurrent" in kind
    sizes = (6, 8) if back else ()

    def theirs() -> Theirs:
        made = {key: value(each, learns=True) for key, each in numbers.items()}
        fixed = {"reset_method": reset_subtract} if subtract else {}
        cell = getattr(norse, kind)(*sizes, _parameters(norse, kind, made | fixed), **options)
        return Theirs(_over_time(cell), made | (dict(cell.named_parameters()) if back else {}))

    def ours() -> Any:
        made = {key: torch.nn.Parameter(value(each)) for key, each in numbers.items()}
        fixed = {"reset_method": like.norse.reset_subtract} if subtract else {}
        return getattr(like.norse, kind)(*sizes, _parameters(like.norse, kind, made | fixed), **options)

    return Pair(f"norse {name or kind}", ours, theirs, mean, 1.0, spikes, sizes[:1] or (8,), exact=not back)


def _over_time(cell: Any) -> Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]:
    def run(xs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        state: Any = None
        if is_exact() and type(cell) is norse.LIFRecurrentCell:
            state = cell.initial_state(xs[0])
            state = state._replace(v=state.v.detach().to(xs.dtype))
        outs = []
        for x in xs:
            out, state = cell(x, state)
            outs.append(out)
        flat: dict[str, Tensor] = {}
        fields: dict[str, Any] = state._asdict()
        for key, each in fields.items():
            flat |= each._asdict() if hasattr(each, "_asdict") else {key: each}
        return torch.stack(outs), {"s" if key == "z" else key: each for key, each in flat.items()}

    return run


def _parameters(library: Any, kind: str, made: Mapping[str, Any]) -> Any:
    """Return the parameters of a cell, those that rest after a spike with a cell of another kind inside."""
    name = kind.replace("Recurrent", "").replace("Cell", "Parameters")
    if "Refrac" not in kind:
        return getattr(library, name)(**made)
    inside = {key: each for key, each in made.items() if key != "rho_reset"}
    outside = LIFRefracParameters if library is norse and kind.startswith("LIFRefrac") else getattr(library, name)
    return outside(getattr(library, name.replace("Refrac", ""))(**inside), made["rho_reset"])


def _izhikevich(name: str, a: float, b: float, c: float, d: float, kind: str = "IzhikevichCell") -> Pair:
    start, back = -70.0, "Recurrent" in kind
    sizes = (6, 8) if back else ()

    def theirs() -> Theirs:
        p = norse.IzhikevichParameters(a=a, b=b, c=c, d=d)
        state = norse.IzhikevichState(v=value(start), u=value(start * b))
        cell = getattr(norse, kind)(*sizes, norse.IzhikevichSpikingBehavior(p, state))
        return Theirs(_over_time(cell), dict(cell.named_parameters()) if back else {}, cell)

    def ours() -> Any:
        behaviour = like.norse.create_izhikevich_spiking_behavior(a=a, b=b, c=c, d=d, v_rest=start, u_rest=start)
        return getattr(like.norse, kind)(*sizes, behaviour)

    deviation = 20.0 if back else 5.0
    return Pair(f"norse {kind} {name}", ours, theirs, 10.0, deviation, shape=sizes[:1] or (8,), exact=not back)


_DEFAULT = {"tau_syn_inv": 200.0, "tau_mem_inv": 100.0}
PAIRS = [
    _pair("LIFCell", _LIF, mean=0.3),
    _pair("LIFCell", _DEFAULT, mean=0.6, name="LIFCell as it is"),
    _pair("LIFRefracCell", {**_LIF, "rho_reset": 3.0}, mean=0.5),
    _pair("LIFAdExRefracCell", {**_LIF, **_ADEX, "rho_reset": 3.0}, mean=0.5),
    _pair("LIFBoxCell", _BOX, mean=1.0),
    _pair("LIFBoxCell", _BOX, mean=1.0, name="LIFBoxCell reset_subtract", subtract=True),
    _pair("IAFCell", {"v_th": 0.9, "v_reset": -0.1}, mean=0.2),
    _pair("LICell", {key: _LIF[key] for key in ("tau_syn_inv", "tau_mem_inv", "v_leak")}, mean=0.3, spikes=False),
    _pair("LIBoxCell", {key: _BOX[key] for key in ("tau_mem_inv", "v_leak")}, mean=0.3, spikes=False),
    _pair("LSNNCell", {**_LIF, "tau_adapt_inv": 20.0, "beta": 0.4}, mean=0.8),
    _pair("LIFExCell", {**_LIF, "delta_T": 0.4}, mean=0.1),
    _pair("LIFAdExCell", {**_LIF, **_ADEX}, mean=0.3),
    _pair("LIFRecurrentCell", _FED, mean=0.5),
    _pair("LIFRecurrentCell", _FED, mean=0.5, name="LIFRecurrentCell autapses", autapses=True),
    _pair("LIFRefracRecurrentCell", {**_FED, "rho_reset": 3.0}, mean=0.5),
    _pair("LSNNRecurrentCell", {**_FED, "tau_adapt_inv": 20.0, "beta": 0.4}, mean=0.8),
    _pair("LIFExRecurrentCell", {**_FED, "delta_T": 0.4}, mean=0.1),
    _pair("LIFAdExRecurrentCell", {**_FED, **_ADEX}, mean=0.3),
    _pair("LIFAdExRefracRecurrentCell", {**_FED, **_ADEX, "rho_reset": 3.0}, mean=0.5),
    _izhikevich("regular spiking", 0.02, 0.2, -65.0, 6.0, "IzhikevichRecurrentCell"),
    _izhikevich("tonic spiking", 0.02, 0.2, -65.0, 6.0),
    _izhikevich("tonic bursting", 0.02, 0.2, -50.0, 2.0),
]
_ALPHAS = {"super": 100.0, "heaviside": 1.0, "triangle": 0.3, "tanh": 2.0, "circ": 0.7, "heavi_erfc": 1.5}


def _spike(method: str, alpha: float) -> Callable[[Tensor], Tensor]:
    return lambda u: threshold(u, method, alpha)


SURROGATES: dict[str, tuple[Any, Any]] = {
    method: (like.norse.threshold(method, alpha), _spike(method, alpha)) for method, alpha in _ALPHAS.items()
}
