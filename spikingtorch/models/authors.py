"""Networks of papers, from the state dicts that their authors have published. Nothing is unpickled here.

S. Higuchi, S. Kairat, S. M. Bohté, S. Otte, "Balanced resonate-and-fire neurons", ICML 2024, arXiv:2402.14603: one
recurrent layer of neurons, and leaky integrators that read it out. Their code (https://github.com/AdaptiveAILab/brf-neurons,
MIT) takes parameters by their absolute value, fires above the threshold and not at it, and has one matrix for the input
and the last spikes side by side.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers import ALIF, LI, BalancedResonateAndFire, ResonateAndFire
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.spikingnet import SpikingNet

_SURROGATE = F.Strict(F.DoubleGaussian())


class _Neuron(NamedTuple):
    """A layer, and the names of its parameters in the authors' code: those here are as many times those there."""

    make: Callable[..., StepLayer]
    names: Mapping[str, tuple[str, float]]


def _learning(make: Callable[..., StepLayer], names: Mapping[str, tuple[str, float]], **options: Any) -> _Neuron:
    fixed = {"surrogate": _SURROGATE, "learnable": tuple(names), "constrain": "mirror"}
    return _Neuron(partial(make, **fixed, **options), names)


_NEURONS = {
    "brf": _learning(BalancedResonateAndFire, {"omega": ("omega", 1.0), "offset": ("b_offset", 1.0)}),
    "rf": _learning(ResonateAndFire, {"omega": ("omega", 1.0), "damping": ("b_offset", -1.0)}),
    "alif": _learning(
        ALIF, {"tau": ("tau_mem", 1.0), "tau_adaptation": ("tau_adp", 1.0)}, threshold=0.01, norm_input=True
    ),
}
# inputs, hidden neurons, classes
_TASKS = {"ecg": (4, 36, 6), "smnist": (1, 256, 10), "psmnist": (1, 256, 10), "shd": (700, 128, 20)}
AUTHORS = MappingProxyType(
    {f"higuchi2024-{task}-{kind}": (sizes, kind) for task, sizes in _TASKS.items() for kind in _NEURONS}
)


def load_authors(name: str, state_dict: Mapping[str, Any]) -> SpikingNet:
    """Return the network of a paper with the weights of its authors: (N, T, inputs) to membranes (N, T, classes).

    Args:
        name: one of ``AUTHORS``: "higuchi2024-", the task (ecg, smnist, psmnist, shd), and the neuron (brf, rf, alif).
        state_dict: the state dict of the authors' network, tensors or arrays by name: hidden.omega and hidden.b_offset
            (M,), or hidden.tau_mem and hidden.tau_adp of alif; hidden.linear.weight (M, inputs + M), out.tau_mem
            (classes,), out.linear.weight (classes, M). hidden.linear.mask is optional. Those of brf and rf have
            the same names and shapes.

    Returns:
        The network, in evaluation mode, in the dtype of the weights. The class is the largest membrane of each step
        (ecg), of the last step (smnist), or of the mean over steps (psmnist, shd). ``net.input`` and
        ``net.hidden.recurrent`` have the two parts of the matrix.

    Raises:
        ValueError: there is no network of that name, or the weights are those of another one.
    """
    if name not in AUTHORS:
        raise ValueError(f"load_authors: there is no network {name!r}; choose from {', '.join(AUTHORS)}")
    (inputs, _, classes), kind = AUTHORS[name]
    make, names = _NEURONS[kind]
    given = _checked(name, state_dict, _shapes(name))
    weight = given["hidden.linear.weight"] * given.get("hidden.linear.mask", 1.0)
    neuron = {ours: factor * given[f"hidden.{theirs}"] for ours, (theirs, factor) in names.items()}
    net = OrderedDict[str, nn.Module](
        input=_linear(weight[:, :inputs]),
        hidden=make(**neuron, recurrent=_linear(weight[:, inputs:])),
        output=_linear(given["out.linear.weight"]),
        readout=LI(given["out.tau_mem"], learnable="tau", constrain="mirror", norm_input=True),
    )
    return SpikingNet(nn.Sequential(net), classes).eval()


def untrained(name: str) -> SpikingNet:
    """Return one of ``AUTHORS`` without its weights, for a state dict of its own."""
    return load_authors(name, {key: torch.ones(shape) for key, shape in _shapes(name).items()})


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the names of the authors' weights, and their shapes."""
    (inputs, hidden, classes), kind = AUTHORS[name]
    shapes: dict[str, tuple[int, ...]] = {f"hidden.{theirs}": (hidden,) for theirs, _ in _NEURONS[kind].names.values()}
    shapes |= {"hidden.linear.weight": (hidden, inputs + hidden)}
    return shapes | {"out.tau_mem": (classes,), "out.linear.weight": (classes, hidden)}


def _linear(weight: Tensor) -> nn.Linear:
    """Return a linear layer without bias, of a copy of the weight."""
    out, inputs = weight.shape
    layer = nn.Linear(inputs, out, bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    return layer


def _checked(name: str, state_dict: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the weights as tensors; raise ValueError if names or shapes differ."""
    # the authors' layers may have a mask of their weights
    known = {*shapes, "hidden.linear.mask"}
    missing, others = [key for key in shapes if key not in state_dict], [key for key in state_dict if key not in known]
    if missing or others:
        raise ValueError(
            f"load_authors: {name} has the weights {', '.join(shapes)}; missing are {', '.join(missing) or 'none'}, "
            f"unknown are {', '.join(others) or 'none'}. Pass the state dict itself, for instance "
            "torch.load(file, map_location='cpu', weights_only=True)['model_state_dict']"
        )
    given = {key: torch.as_tensor(value) for key, value in state_dict.items()}
    wrong = [key for key, shape in shapes.items() if given[key].shape != shape]
    if wrong:
        raise ValueError(
            f"load_authors: {name} has {wrong[0]} of shape {shapes[wrong[0]]}, and the weights have "
            f"{tuple(given[wrong[0]].shape)}; {_of_others(given)}"
        )
    return given


def _of_others(given: Mapping[str, Tensor]) -> str:
    """Return which networks take a matrix and a readout of these shapes, as the end of an error."""
    both, out = given["hidden.linear.weight"].shape, given["out.tau_mem"].shape
    kind = "alif" if "hidden.tau_adp" in given else "rf"
    fitting = [
        name
        for name, ((inputs, hidden, classes), of) in AUTHORS.items()
        if (both, out) == ((hidden, inputs + hidden), (classes,)) and (of == "alif") == (kind == "alif")
    ]
    return f"these fit {' and '.join(fitting)}" if fitting else "no network of AUTHORS has these"
