"""Layers of Sinabs and ours."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sinabs.activation as activation
import sinabs.layers as layers
import torch
from torch import Tensor, nn

from spikingtorch import like
from tests.peers.pair import Pair, Theirs, is_exact

# recurrent weights, and the shape of a sample
_BACK: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda: nn.Linear(8, 8), (8,)),
    "without bias": (lambda: nn.Linear(8, 8, bias=False), (8,)),
    "images": (lambda: nn.Conv2d(2, 2, 3, padding=1), (2, 4, 4)),
}
_TIMES = ("tau_mem", "tau_syn", "tau_adapt", "alpha_mem", "alpha_syn", "alpha_adapt")


def in_dtype(spike_fn: Any) -> Any:
    """Return a spike function without its rounding of spikes and gradients to float32."""

    class Rounded(activation.spike_generation.BackwardClass, torch.autograd.Function):  # type: ignore[misc]
        required_states = spike_fn.required_states

        @staticmethod
        def forward(ctx: Any, v_mem: Tensor, spike_threshold: Any, surrogate_grad_fn: Any) -> Tensor:
            return spike_fn.forward(ctx, v_mem, spike_threshold, surrogate_grad_fn).to(v_mem.dtype)

    return Rounded


def _pair(name: str, kind: str, *, mean: float, spikes: bool = True, recurrent: str = "", **options: Any) -> Pair:
    """Return a pair of equal names and options; classes of ours stand for theirs of the same name."""
    weights, shape = _BACK.get(recurrent, (None, (8,)))

    def connected() -> dict[str, Any]:
        return {} if weights is None else {"rec_connect": weights()}

    def theirs() -> Theirs:
        given = {key: _theirs_of(each) for key, each in options.items()} | connected()
        if is_exact() and spikes:
            given["spike_fn"] = in_dtype(given["spike_fn"])
        layer = getattr(layers, kind)(**given).to(torch.get_default_dtype())
        states = {"v": "v_mem"} | ({"b": "b"} if kind.startswith("ALIF") else {})
        if "tau_syn" in options and not kind.startswith("ALIF"):
            states["i"] = "i_syn"

        def run(xs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
            layer.reset_states()
            outs = layer(xs.movedim(0, 1)).movedim(1, 0)
            return outs.to(xs.dtype), {ours: getattr(layer, theirs) for ours, theirs in states.items()}

        learned: dict[str, Tensor] = {
            each: getattr(layer, each) for each in _TIMES if isinstance(getattr(layer, each, None), Tensor)
        }
        learned |= {each: parameter for each, parameter in layer.named_parameters() if each.startswith("rec_connect")}
        return Theirs(run, learned, layer)

    def ours() -> Any:
        return getattr(like.sinabs, kind)(**options, **connected())

    return Pair(f"sinabs {name}", ours, theirs, mean, spikes=spikes, shape=shape, exact=weights is None)


def _theirs_of(each: Any) -> Any:
    if type(each).__module__.startswith("spikingtorch"):
        return getattr(activation, type(each).__name__)(*each)
    return getattr(activation, each.__name__) if callable(each) else each


_SINGLE, _MULTI = like.sinabs.SingleSpike, like.sinabs.MultiSpike
_SUBTRACT, _RESET = like.sinabs.MembraneSubtract(), like.sinabs.MembraneReset()


def _spiking() -> Iterator[Pair]:
    for spike_fn in (_SINGLE, _MULTI):
        for reset_fn in (_SUBTRACT, _RESET, like.sinabs.MembraneSubtract(0.6), like.sinabs.MembraneReset(0.1)):
            end = f"{spike_fn.__name__} {type(reset_fn).__name__}{reset_fn[0] or ''}"
            fire: Any = {"spike_fn": spike_fn, "reset_fn": reset_fn}
            yield _pair(f"IAF {end}", "IAF", mean=0.3, **fire)
            yield _pair(f"LIF {end}", "LIF", mean=0.4, tau_mem=6.0, norm_input=False, **fire)
            yield _pair(f"LIF current {end}", "LIF", mean=0.5, tau_mem=3.0, tau_syn=4.0, **fire)
            yield _pair(f"ALIF {end}", "ALIF", mean=1.0, tau_mem=2.0, tau_adapt=9.0, adapt_scale=0.7, **fire)
    fire = {"spike_fn": _MULTI, "reset_fn": _SUBTRACT}
    yield _pair("LIF normalised", "LIF", mean=1.5, tau_mem=2.0, spike_threshold=0.7, **fire)
    yield _pair("LIF bounded", "LIF", mean=0.1, tau_mem=6.0, min_v_mem=-0.5, norm_input=False, **fire)
    yield _pair("LIF alphas", "LIF", mean=0.5, tau_mem=3.0, tau_syn=4.0, train_alphas=True, **fire)
    yield _pair("IAF current", "IAF", mean=0.1, tau_syn=4.0, **fire)
    single: Any = {"spike_fn": _SINGLE, "reset_fn": _SUBTRACT, "tau_mem": 2.0, "tau_adapt": 9.0, "adapt_scale": 0.7}
    yield _pair("ALIF current", "ALIF", mean=2.5, tau_syn=4.0, **single)
    yield _pair("ALIF whole input", "ALIF", mean=0.4, norm_input=False, min_v_mem=-1.0, **single)
    yield _pair("ALIF alphas", "ALIF", mean=1.0, train_alphas=True, **single)


def _recurrent() -> Iterator[Pair]:
    fire: Any = {"spike_fn": _MULTI, "reset_fn": _SUBTRACT}
    single: Any = {"spike_fn": _SINGLE, "reset_fn": _RESET, "norm_input": False}
    for back in _BACK:
        end = f"Recurrent {back}"
        lif = {"recurrent": back, "tau_mem": 5.0, **fire}
        yield _pair(f"LIF{end}", "LIFRecurrent", mean=0.3, norm_input=False, **lif)
        yield _pair(f"LIF{end} current", "LIFRecurrent", mean=0.8, tau_syn=4.0, min_v_mem=-1.0, **lif)
        yield _pair(f"IAF{end}", "IAFRecurrent", mean=0.1, recurrent=back, **fire)
        alif = {"recurrent": back, "tau_mem": 4.0, "tau_adapt": 9.0, "adapt_scale": 0.7, **single}
        yield _pair(f"ALIF{end}", "ALIFRecurrent", mean=0.4, **alif)
        yield _pair(f"ALIF{end} current", "ALIFRecurrent", mean=0.3, tau_syn=3.0, train_alphas=True, **alif)


PAIRS = [
    *_spiking(),
    *_recurrent(),
    _pair("ExpLeak", "ExpLeak", mean=0.2, spikes=False, tau_mem=6.0),
    _pair("ExpLeak normalised", "ExpLeak", mean=0.2, spikes=False, tau_mem=6.0, norm_input=True, min_v_mem=-0.1),
]
SURROGATES: dict[str, tuple[Any, Any]] = {
    name: (getattr(like.sinabs, name)(*given), getattr(activation, name)(*given))
    for name, given in {
        "SingleExponential": (0.4, 1.5),
        "Gaussian": (0.1, 0.4, 1.2),
        "MultiGaussian": (0.0, 0.4, 0.2, 5.0, 1.5),
        "Heaviside": (0.6,),
        "PeriodicExponential": (0.4, 1.5),
    }.items()
}
