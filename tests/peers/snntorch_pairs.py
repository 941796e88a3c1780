"""Neurons of snnTorch and ours."""

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor

from spikingtorch import like
from tests.peers.pair import Pair, Theirs, atan_in_dtype, is_exact, value


def _spike_grad(given: Any = None) -> Any:
    """Return a spike function; in float64, the default one without its rounding to float32."""
    return given if given is not None or not is_exact() else atan_in_dtype


def _over_time(neuron: Any, states: Mapping[str, str]) -> Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]:
    def run(xs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        neuron.reset_mem()
        outs = [neuron(x)[0] for x in xs]
        return torch.stack(outs).to(xs.dtype), {ours: getattr(neuron, theirs) for ours, theirs in states.items()}

    return run


def _pair(
    name: str, kind: str, states: Mapping[str, str], learned: Mapping[str, str], *, mean: float, **options: Any
) -> Pair:
    """Return a pair of equal names and options; ``learned`` gives attributes of ours and theirs."""
    shape = (2, 4, 6) if "conv2d_channels" in options else (8,)

    def theirs() -> Theirs:
        made = {key: value(each) if isinstance(each, float) else each for key, each in options.items()}
        neuron = getattr(snntorch, kind)(**{**made, "spike_grad": _spike_grad(made.get("spike_grad"))})
        trained = {key: attrgetter(name)(neuron) for key, name in learned.items()}
        return Theirs(_over_time(neuron, states), trained, neuron)

    def ours() -> Any:
        named = {key: each for key, each in options.items() if key != "spike_grad"}
        return getattr(like.snntorch, kind)(**named)

    return Pair(f"snntorch {name}", ours, theirs, mean, shape=shape, exact="recurrent.weight" not in learned)


_V = {"v": "mem"}
_LEARN = {"learn_beta": True, "learn_threshold": True}
_LEAKY = {"beta": "beta", "threshold": "threshold"}


def _leaky() -> Iterator[Pair]:
    for reset_mechanism in ("subtract", "zero", "none"):
        for reset_delay in (True, False):
            name = f"Leaky {reset_mechanism}{'' if reset_delay else ' at once'}"
            options = {"beta": 0.9, "threshold": 0.8, "reset_mechanism": reset_mechanism, "reset_delay": reset_delay}
            mean = 0.2 if reset_mechanism != "none" else 0.05
            yield _pair(name, "Leaky", _V, _LEAKY, mean=mean, **options, **_LEARN)
    graded = {"graded_spikes_factor": 0.7, "learn_graded_spikes_factor": True}
    learned = {**_LEAKY, "graded_spikes_factor": "graded_spikes_factor"}
    yield _pair("Leaky graded", "Leaky", _V, learned, mean=0.2, beta=0.85, threshold=1.0, **graded, **_LEARN)


def _others() -> Iterator[Pair]:
    current = {"v": "mem", "i": "syn"}
    learned = {"alpha": "alpha", **_LEAKY}
    for reset_mechanism in ("subtract", "zero"):
        reset: dict[str, Any] = {"threshold": 0.9, "reset_mechanism": reset_mechanism}
        only, learns = {"threshold": "threshold"}, {"learn_threshold": True, **reset}
        yield _pair(f"Lapicque R C {reset_mechanism}", "Lapicque", _V, only, mean=0.2, R=2.0, C=1.5, **learns)
        yield _pair(f"Lapicque beta {reset_mechanism}", "Lapicque", _V, only, mean=0.4, beta=0.7, **learns)
        synaptic = {"alpha": 0.6, "beta": 0.8, "learn_alpha": True, **_LEARN, **reset}
        yield _pair(f"Synaptic {reset_mechanism}", "Synaptic", current, learned, mean=0.1, **synaptic)
        at_once = {**synaptic, "reset_delay": False}
        yield _pair(f"Synaptic {reset_mechanism} at once", "Synaptic", current, learned, mean=0.1, **at_once)
        alpha = {"alpha": 0.9, "beta": 0.6, **_LEARN, **reset}
        currents = {"v": "mem", "e": "syn_exc", "n": "syn_inh"}
        yield _pair(f"Alpha {reset_mechanism}", "Alpha", currents, _LEAKY, mean=0.5, **alpha)
        fed = {"V": -0.4, "all_to_all": False, **_LEARN, **reset}
        weights = {**_LEAKY, "V": "V"}
        spikes = {"v": "mem", "s": "spk"}
        yield _pair(f"RLeaky {reset_mechanism}", "RLeaky", spikes, weights, mean=0.3, beta=0.8, **fed)
        once = {**fed, "reset_delay": False}
        yield _pair(f"RLeaky {reset_mechanism} at once", "RLeaky", spikes, weights, mean=0.3, beta=0.8, **once)
        both = {"alpha": "alpha", **weights}
        rsynaptic = {"alpha": 0.5, "beta": 0.7, "learn_alpha": True, **fed}
        states = {**current, "s": "spk"}
        yield _pair(f"RSynaptic {reset_mechanism}", "RSynaptic", states, both, mean=0.2, **rsynaptic)


def _recurrent() -> Iterator[Pair]:
    """Return pairs of neurons with weights between all of them, whose sums are in another order."""
    learned = {**_LEAKY, **{name: name for name in ("recurrent.weight", "recurrent.bias")}}
    sizes: dict[str, dict[str, Any]] = {
        "dense": {"linear_features": 8},
        "images": {"conv2d_channels": 2, "kernel_size": (3, 5)},
    }
    for which, size in sizes.items():
        for reset_mechanism in ("subtract", "zero", "none"):
            reset = {"threshold": 0.9, "reset_mechanism": reset_mechanism, **_LEARN, **size}
            mean = 0.3 if reset_mechanism != "none" else 0.05
            states = {**_V, "s": "spk"}
            for reset_delay in (True, False):
                name = f"RLeaky {which} {reset_mechanism}{'' if reset_delay else ' at once'}"
                options = {"beta": 0.8, "reset_delay": reset_delay, **reset}
                yield _pair(name, "RLeaky", states, learned, mean=mean, **options)
            options = {"alpha": 0.5, "beta": 0.7, "learn_alpha": True, **reset}
            both = {"alpha": "alpha", **learned}
            name, states = f"RSynaptic {which} {reset_mechanism}", {**states, "i": "syn"}
            yield _pair(name, "RSynaptic", states, both, mean=mean / 2, **options)


PAIRS = [*_leaky(), *_others(), *_recurrent()]
# spike functions: ours by their names, and theirs
SURROGATES: dict[str, tuple[Any, Any]] = {
    "atan": (like.snntorch.atan(3.0), surrogate.atan(3.0)),
    "fast_sigmoid": (like.snntorch.fast_sigmoid(7.0), surrogate.fast_sigmoid(7.0)),
    "sigmoid": (like.snntorch.sigmoid(5.0), surrogate.sigmoid(5.0)),
    "straight_through_estimator": (like.snntorch.straight_through_estimator(), surrogate.straight_through_estimator()),
    "triangular": (like.snntorch.triangular(0.7), surrogate.triangular(0.7)),
    "spike_rate_escape": (like.snntorch.spike_rate_escape(2.0, 3.0), surrogate.spike_rate_escape(2.0, 3.0)),
}
