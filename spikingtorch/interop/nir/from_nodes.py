"""Convert a node of NIR to a module: one function for each kind."""

from collections.abc import Callable
from typing import Any, NamedTuple

import nir
import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.interop.nir import discretise, neurons
from spikingtorch.interop.nir.discretise import Discretisation
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.modules import Scale, SumPool2d
from spikingtorch.interop.nir.plan import Pass
from spikingtorch.interop.nir.values import at_most, parameter
from spikingtorch.layers import Delay, McPitts
from spikingtorch.layers.steplayer import StepLayer

# allowed relative distance of a delay from a whole number of steps
_WHOLE = 1e-6
# the largest total length of a node's delay lines, in steps
_LONGEST = 10**8


class Reading(NamedTuple):
    """The options for reading nodes."""

    dt: float  # length of a step, in seconds
    discretisation: Discretisation  # of the neurons' equations
    dtype: torch.dtype  # of weights and parameters
    surrogate: F.Surrogate  # spike function for the training of neurons
    at_threshold: bool = False  # whether neurons also fire at the threshold, as those of the reader it was written for

    @property
    def fires(self) -> F.Surrogate:
        """The spike function with the comparison of NIR: above the threshold, but not at it."""
        return self.surrogate if self.at_threshold else F.Strict(self.surrogate)

    def parameters(self, coefficients: NamedTuple) -> dict[str, Any]:
        """Return coefficients as parameters of a step."""
        return {name: parameter(value, self.dtype) for name, value in coefficients._asdict().items()}

    def threshold(self, v_threshold: Any) -> Tensor | float:
        """Return a threshold, rounded so that a membrane of this dtype exceeds both values or neither."""
        rounded = v_threshold if self.at_threshold else at_most(v_threshold, self.dtype)
        return parameter(rounded, self.dtype)

    def reset(self, v_reset: Any) -> F.Reset:
        """Return the rule that sets a membrane to a value."""
        value = parameter(0.0 if v_reset is None else v_reset, self.dtype)
        return F.to_zero if isinstance(value, float) and value == 0.0 else F.to_value(value)


# nodes whose numbers are weights, and fields of nodes that hold no numbers
WEIGHTED = (nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d, nir.Scale)
NO_NUMBERS = ("input_type", "output_type", "metadata")


def weights_of(node: Any) -> Any:
    """Return the weights of a node, without its bias."""
    return np.asarray(node.scale if isinstance(node, nir.Scale) else node.weight)


def module_of(name: str, node: Any, reading: Reading, **options: Any) -> nn.Module | None:
    """Return the module of a node, None for a node that passes its input on; raise NIRError if there is none."""
    make = _MODULES.get(type(node))
    if make is None:
        listed = ", ".join(sorted(each.__name__ for each in _MODULES if each is not Pass))
        raise NIRError(f"node {name!r} is a {type(node).__name__}, which is not among the primitives: {listed}")
    check_numbers(name, node)
    try:
        return make(node, reading, **options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise NIRError(f"node {name!r} ({type(node).__name__}): {error}") from error


def check_numbers(name: str, node: Any) -> None:
    """Raise NIRError unless the arrays of a node hold finite numbers, and its time constants are above zero."""
    for field, value in vars(node).items():
        if field in NO_NUMBERS or not isinstance(value, np.ndarray):
            continue
        wrong, kind = "", value.dtype.kind
        if kind not in "fiub" or not np.isfinite(value.astype(np.float64)).all():
            came = "NaN or infinities" if kind == "f" else f"values of type {value.dtype}"
            wrong = f"{field} holds {came}, expected finite numbers"
        elif field.startswith("tau") and not (value > 0).all():
            wrong = f"{field} has the value {value.min():g}, expected time constants above zero, in seconds"
        elif field == "delay" and not (value >= 0).all():
            wrong = f"delay has the value {value.min():g}, expected at least zero, in seconds"
        if wrong:
            raise NIRError(f"node {name!r} ({type(node).__name__}): {wrong}")


def _passed(node: Any, reading: Reading) -> None:  # noqa: ARG001
    return None


def _weight(array: Any, reading: Reading) -> nn.Parameter:
    native = np.array(array, dtype=np.asarray(array).dtype.newbyteorder("="))
    return nn.Parameter(torch.from_numpy(native).to(reading.dtype))


def _with_weights(made: nn.Module, node: Any, reading: Reading) -> nn.Module:
    """Return a module with the weight and the bias of a node."""
    bias, wanted = getattr(node, "bias", None), np.shape(node.weight)[:1]
    made.weight = _weight(node.weight, reading)
    if bias is not None:
        if np.shape(bias) != wanted:
            raise NIRError(f"bias has shape {np.shape(bias)}, expected {wanted}")
        made.bias = _weight(bias, reading)
    return made


def _linear(node: Any, reading: Reading) -> nn.Module:
    if node.weight.ndim != 2:
        raise NIRError(f"weight has shape {node.weight.shape}, expected two axes: (outputs, inputs)")
    outputs, inputs = node.weight.shape
    bias = getattr(node, "bias", None)
    return _with_weights(nn.Linear(inputs, outputs, bias=bias is not None, device="meta"), node, reading)


def _convolution(kind: type[nn.Conv1d] | type[nn.Conv2d], axes: int) -> Callable[[Any, Reading], nn.Module]:
    def make(node: Any, reading: Reading) -> nn.Module:
        weight, groups = np.asarray(node.weight), int(node.groups)
        if weight.ndim != axes + 2:
            raise NIRError(f"weight has shape {weight.shape}, expected (outputs, inputs / groups, *kernel)")
        made = kind(
            weight.shape[1] * groups,
            weight.shape[0],
            weight.shape[2:],
            stride=_sizes(node.stride, axes),
            padding=node.padding if isinstance(node.padding, str) else _sizes(node.padding, axes),
            dilation=_sizes(node.dilation, axes),
            groups=groups,
            bias=node.bias is not None,
            device="meta",
        )
        return _with_weights(made, node, reading)

    return make


def _sizes(value: Any, axes: int) -> Any:
    sizes = np.broadcast_to(np.asarray(value), (axes,))
    if (sizes != sizes.astype(np.int64)).any():
        raise NIRError(f"{value!r} holds a value that is not a whole number of steps in an image")
    return tuple(int(size) for size in sizes)


def _pool(kind: type[nn.AvgPool2d]) -> Callable[[Any, Reading], nn.Module]:
    def make(node: Any, reading: Reading) -> nn.Module:  # noqa: ARG001
        return kind(*[_sizes(each, 2) for each in (node.kernel_size, node.stride, node.padding)])

    return make


def _flatten(node: Any, reading: Reading) -> nn.Module:  # noqa: ARG001
    start, end = int(node.start_dim), int(node.end_dim)
    # NIR counts the axes of a sample, torch the batch as well
    return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)


def _scale(node: Any, reading: Reading) -> nn.Module:
    return Scale(torch.from_numpy(np.array(node.scale)).to(reading.dtype))


def _delay(node: Any, reading: Reading) -> nn.Module:
    steps = np.asarray(node.delay, dtype=np.float64) / reading.dt
    whole = np.round(steps)
    if (abs(steps - whole) > _WHOLE * np.maximum(1.0, whole)).any():
        wrong = steps[abs(steps - whole) > _WHOLE * np.maximum(1.0, whole)].flat[0]
        raise NIRError(
            f"a delay of {wrong * reading.dt:g} s is {wrong:g} steps of dt={reading.dt:g} s; choose a dt of which all "
            "delays are multiples"
        )
    if whole.size and whole.max() * whole.size > _LONGEST:
        raise NIRError(f"a delay of {whole.max():g} steps of dt={reading.dt:g} s is too long; is dt right?")
    if (torch.from_numpy(np.array(whole)).to(reading.dtype).double().numpy() != whole).any():
        raise NIRError(f"a delay of {whole.max():g} steps is no number of {reading.dtype}; take dtype=torch.float32")
    return Delay(parameter(whole, reading.dtype))


def _threshold(node: Any, reading: Reading, **options: Any) -> nn.Module:
    return McPitts(threshold=reading.threshold(node.threshold), surrogate=reading.fires, **options)


def _neuron(step: Any, state: Any, coefficients: Any) -> Callable[..., nn.Module]:
    """Return a function that creates the layer of a neuron, or of one whose output is its membrane."""

    def make(node: Any, reading: Reading, **options: Any) -> nn.Module:
        params = reading.parameters(coefficients(node, reading)) | _firing(node, reading)
        return StepLayer(step, state, **params, **options)

    return make


def _firing(node: Any, reading: Reading) -> dict[str, Any]:
    if not hasattr(node, "v_threshold"):
        return {}
    return {
        "threshold": reading.threshold(node.v_threshold),
        "surrogate": reading.fires,
        "reset": reading.reset(getattr(node, "v_reset", None)),
    }


def _leaky(node: Any, reading: Reading) -> discretise.Leaky:
    if not hasattr(node, "tau"):
        return discretise.integrator(node.r, reading.dt)
    _check_step("tau", node.tau, reading)
    return discretise.leaky(node.tau, node.r, node.v_leak, reading.dt, reading.discretisation)


def _cuba(node: Any, reading: Reading) -> discretise.Cuba:
    _check_step("tau_syn", node.tau_syn, reading)
    _check_step("tau_mem", node.tau_mem, reading)
    taus = node.tau_syn, node.tau_mem
    return discretise.cuba(*taus, node.r, node.v_leak, node.w_in, reading.dt, reading.discretisation)


def _check_step(name: str, tau: Any, reading: Reading) -> None:
    """Raise if a step of Euler's method jumps over the value that the membrane approaches."""
    if reading.discretisation == "euler" and np.min(tau) < reading.dt:
        raise NIRError(
            f"{name} has the value {np.min(tau):g} s, shorter than dt={reading.dt:g} s, for which a step of Euler's "
            'method makes no sense; take discretisation="exact", or a smaller dt'
        )


_MODULES: dict[type, Callable[..., nn.Module | None]] = {
    **dict.fromkeys((nir.Input, nir.Output, Pass), _passed),
    **dict.fromkeys((nir.Affine, nir.Linear), _linear),
    nir.Scale: _scale,
    nir.Conv1d: _convolution(nn.Conv1d, 1),
    nir.Conv2d: _convolution(nn.Conv2d, 2),
    nir.SumPool2d: _pool(SumPool2d),
    nir.AvgPool2d: _pool(nn.AvgPool2d),
    nir.Flatten: _flatten,
    nir.Delay: _delay,
    nir.Threshold: _threshold,
    **dict.fromkeys((nir.I, nir.LI), _neuron(neurons.leaky_readout_step, neurons.LeakyState, _leaky)),
    **dict.fromkeys((nir.IF, nir.LIF), _neuron(neurons.leaky_step, neurons.LeakyState, _leaky)),
    nir.CubaLI: _neuron(neurons.cuba_readout_step, neurons.CubaState, _cuba),
    nir.CubaLIF: _neuron(neurons.cuba_step, neurons.CubaState, _cuba),
}
