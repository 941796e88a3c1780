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
    cell: str, numbers: Mapping[str, float], *, mean: float, name: str = "", subtract: bool = False, spikes: bool = True
) -> Pair:
    """Return a pair of equal names and parameters, all of which are trained."""
    parameters = cell.replace("Cell", "Parameters")

    def theirs() -> Theirs:
        made = {key: value(each, learns=True) for key, each in numbers.items()}
        fixed = {"reset_method": reset_subtract} if subtract else {}
        return Theirs(_over_time(getattr(norse, cell)(getattr(norse, parameters)(**made, **fixed))), made)

    def ours() -> Any:
        fixed = {"reset_method": like.norse.reset_subtract} if subtract else {}
        return getattr(like.norse, cell)(getattr(like.norse, parameters)(**_trained(numbers), **fixed))

    return Pair(f"norse {name or cell}", ours, theirs, mean, 1.0, spikes)


def _trained(numbers: Mapping[str, float]) -> dict[str, torch.nn.Parameter]:
    return {key: torch.nn.Parameter(value(each)) for key, each in numbers.items()}


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


def _refractory(kind: str, numbers: Mapping[str, float]) -> Pair:
    def theirs() -> Theirs:
        made = {key: value(each, learns=True) for key, each in {**numbers, "rho_reset": 3.0}.items()}
        return Theirs(_over_time(getattr(norse, kind)(_parameters(norse, kind, made))), made)

    def ours() -> Any:
        return getattr(like.norse, kind)(_parameters(like.norse, kind, _trained({**numbers, "rho_reset": 3.0})))

    return Pair(f"norse {kind}", ours, theirs, 0.5, 1.0)


def _izhikevich(name: str, a: float, b: float, c: float, d: float, start: float) -> Pair:
    def theirs() -> Theirs:
        p = norse.IzhikevichParameters(a=a, b=b, c=c, d=d)
        state = norse.IzhikevichState(v=value(start), u=value(start * b))
        return Theirs(_over_time(norse.IzhikevichCell(norse.IzhikevichSpikingBehavior(p, state))))

    def ours() -> Any:
        return like.norse.IzhikevichCell(
            like.norse.create_izhikevich_spiking_behavior(a=a, b=b, c=c, d=d, v_rest=start, u_rest=start)
        )

    return Pair(f"norse IzhikevichCell {name}", ours, theirs, 10.0, 5.0)


def _recurrent(kind: str, numbers: Mapping[str, float], *, mean: float, autapses: bool = False) -> Pair:
    """Return a pair of recurrent cells of six inputs and eight neurons, whose sums are in another order."""

    def theirs() -> Theirs:
        made = {key: value(each, learns=True) for key, each in numbers.items()}
        cell = getattr(norse, kind)(6, 8, _parameters(norse, kind, made), autapses=autapses)
        return Theirs(_over_time(cell), {**made, **dict(cell.named_parameters())})

    def ours() -> Any:
        p = _parameters(like.norse, kind, _trained(numbers))
        return getattr(like.norse, kind)(6, 8, p, autapses=autapses)

    name = f"norse {kind}{' autapses' if autapses else ''}"
    return Pair(name, ours, theirs, mean, 1.0, shape=(6,), exact=False)


def _recurrent_izhikevich() -> Pair:
    numbers = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 6.0}

    def theirs() -> Theirs:
        state = norse.IzhikevichState(v=value(-70.0), u=value(-14.0))
        behaviour = norse.IzhikevichSpikingBehavior(norse.IzhikevichParameters(**numbers), state)
        cell = norse.IzhikevichRecurrentCell(6, 8, behaviour)
        return Theirs(_over_time(cell), dict(cell.named_parameters()))

    def ours() -> Any:
        behaviour = like.norse.create_izhikevich_spiking_behavior(**numbers, v_rest=-70.0, u_rest=-70.0)
        return like.norse.IzhikevichRecurrentCell(6, 8, behaviour)

    return Pair("norse IzhikevichRecurrentCell", ours, theirs, 10.0, 20.0, shape=(6,), exact=False)


_DEFAULT = {"tau_syn_inv": 200.0, "tau_mem_inv": 100.0}
PAIRS = [
    _pair("LIFCell", _LIF, mean=0.3),
    _pair("LIFCell", _DEFAULT, mean=0.6, name="LIFCell as it is"),
    _refractory("LIFRefracCell", _LIF),
    _refractory("LIFAdExRefracCell", {**_LIF, **_ADEX}),
    _pair("LIFBoxCell", _BOX, mean=1.0),
    _pair("LIFBoxCell", _BOX, mean=1.0, name="LIFBoxCell reset_subtract", subtract=True),
    _pair("IAFCell", {"v_th": 0.9, "v_reset": -0.1}, mean=0.2),
    _pair("LICell", {key: _LIF[key] for key in ("tau_syn_inv", "tau_mem_inv", "v_leak")}, mean=0.3, spikes=False),
    _pair("LIBoxCell", {key: _BOX[key] for key in ("tau_mem_inv", "v_leak")}, mean=0.3, spikes=False),
    _pair("LSNNCell", {**_LIF, "tau_adapt_inv": 20.0, "beta": 0.4}, mean=0.8),
    _pair("LIFExCell", {**_LIF, "delta_T": 0.4}, mean=0.1),
    _pair("LIFAdExCell", {**_LIF, **_ADEX}, mean=0.3),
    _recurrent("LIFRecurrentCell", _FED, mean=0.5),
    _recurrent("LIFRecurrentCell", _FED, mean=0.5, autapses=True),
    _recurrent("LIFRefracRecurrentCell", {**_FED, "rho_reset": 3.0}, mean=0.5),
    _recurrent("LSNNRecurrentCell", {**_FED, "tau_adapt_inv": 20.0, "beta": 0.4}, mean=0.8),
    _recurrent("LIFExRecurrentCell", {**_FED, "delta_T": 0.4}, mean=0.1),
    _recurrent("LIFAdExRecurrentCell", {**_FED, **_ADEX}, mean=0.3),
    _recurrent("LIFAdExRefracRecurrentCell", {**_FED, **_ADEX, "rho_reset": 3.0}, mean=0.5),
    _recurrent_izhikevich(),
    _izhikevich("tonic spiking", 0.02, 0.2, -65.0, 6.0, -70.0),
    _izhikevich("tonic bursting", 0.02, 0.2, -50.0, 2.0, -70.0),
]
_ALPHAS = {"super": 100.0, "heaviside": 1.0, "triangle": 0.3, "tanh": 2.0, "circ": 0.7, "heavi_erfc": 1.5}


def _spike(method: str, alpha: float) -> Callable[[Tensor], Tensor]:
    return lambda u: threshold(u, method, alpha)


SURROGATES: dict[str, tuple[Any, Any]] = {
    method: (like.norse.threshold(method, alpha), _spike(method, alpha)) for method, alpha in _ALPHAS.items()
}
