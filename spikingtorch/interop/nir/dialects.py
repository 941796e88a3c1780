"""Dialects: the meaning of other libraries' files to their writers, if it differs from NIR.

Their exporters write numbers for their own equations, resets and comparisons. A dialect reads a node as the layer of
``spikingtorch.like`` that equals the writer's neuron, bit by bit. Properties that NIR cannot express are options of the
dialect, with the writer's defaults. The equation of each number comes from the code of each library and from
experiments, for the named releases.

``neuron`` returns the layer of a node, for a step of dt seconds and a network of a dtype. It returns None for a node
that the library does not write. ``in_cycle`` says whether the node gets feedback from the step before. NIRError is
raised if the library cannot have written the node.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import nir
import numpy as np

from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.values import parameter
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.like import norse, sinabs, snntorch, spikingjelly


class SnnTorch(NamedTuple):
    """snnTorch 1.0.0: its neurons decay by 1 - dt / tau, take the input with weight 1, and reset a step later.

    Args:
        reset: ``reset_mechanism`` of the layers, "subtract", "zero" or "none"; the file has v_reset = 0 in any case.
        reset_delay: of the layers.
    """

    reset: Literal["subtract", "zero", "none"] = "subtract"
    reset_delay: bool = True

    def neuron(self, node: Any, dt: float, dtype: Any, *, in_cycle: bool) -> StepLayer | None:
        """Return ``Leaky``, in a cycle ``RLeaky``, for LIF, and ``Synaptic`` for CubaLIF."""
        if not isinstance(node, nir.LIF | nir.CubaLIF):
            return None
        _check("v_leak", node.v_leak, 0.0)
        taus = {
            "w_in dt / tau_syn": ("w_in", "tau_syn"),
            "r dt / tau_mem": ("r", "tau_mem"),
            "r dt / tau": ("r", "tau"),
        }
        for what, (factor, tau) in taus.items():
            if hasattr(node, tau):
                _check(what, getattr(node, factor) * dt / np.asarray(getattr(node, tau)), 1.0)
        options: Any = {"reset_mechanism": self.reset, "reset_delay": self.reset_delay}
        options["threshold"] = parameter(node.v_threshold, dtype)
        if isinstance(node, nir.CubaLIF):
            alpha = parameter(1.0 - dt / np.asarray(node.tau_syn, np.float64), dtype)
            beta = parameter(1.0 - dt / np.asarray(node.tau_mem, np.float64), dtype)
            return snntorch.Synaptic(alpha, beta, **options)
        beta = parameter(1.0 - dt / np.asarray(node.tau, np.float64), dtype)
        if in_cycle:  # the feedback is part of the input here
            return snntorch.RLeaky(beta, 0.0, all_to_all=False, learn_recurrent=False, **options)
        return snntorch.Leaky(beta, **options)


class Norse(NamedTuple):
    """Norse 1.1.0: Euler's method with r = 1, starting at v_leak; the exporter writes tau times its own dt.

    Args:
        v_reset: of the layers, because the file does not hold it.
        reset: "value", or "subtract" for ``reset_subtract``.
        export_dt: dt of ``norse.torch.to_nir``, which multiplies time constants by it.
    """

    v_reset: float = 0.0
    reset: Literal["value", "subtract"] = "value"
    export_dt: float = 1e-3

    def neuron(self, node: Any, dt: float, dtype: Any, *, in_cycle: bool) -> StepLayer | None:  # noqa: ARG002
        """Return ``LIFBoxCell`` for LIF, ``LIFCell`` for CubaLIF, ``IAFCell`` for IF, and ``LIBoxCell`` for LI."""
        if self.reset not in ("value", "subtract") or not self.export_dt > 0.0:
            raise NIRError(
                f"{self} has a reset other than 'value' or 'subtract', or an export_dt that is not above zero"
            )
        if hasattr(node, "r"):
            _check("r", node.r, 1.0)
        inverse: dict[str, Any] = {
            f"{name}_inv": parameter(self.export_dt / np.asarray(getattr(node, name), np.float64), dtype)
            for name in ("tau", "tau_mem", "tau_syn")
            if hasattr(node, name)
        }
        inverse = {name.replace("tau_inv", "tau_mem_inv"): value for name, value in inverse.items()}
        leak: dict[str, Any] = {"v_leak": parameter(node.v_leak, dtype)} if hasattr(node, "v_leak") else {}
        fires: dict[str, Any] = {}
        if hasattr(node, "v_threshold"):
            fires = {"v_th": parameter(node.v_threshold, dtype), "v_reset": self.v_reset}
        match node:
            case nir.LIF():
                method = norse.reset_subtract if self.reset == "subtract" else norse.reset_value
                return norse.LIFBoxCell(norse.LIFBoxParameters(**inverse, **leak, **fires, reset_method=method), dt)
            case nir.CubaLIF():
                return norse.LIFCell(norse.LIFParameters(**inverse, **leak, **fires), dt)
            case nir.IF():
                return norse.IAFCell(norse.IAFParameters(**fires), dt)
            case nir.LI():
                return norse.LIBoxCell(norse.LIBoxParameters(**inverse, **leak), dt)
        return None


class Sinabs(NamedTuple):
    """Sinabs 3.1.3: time constants are in steps, and a neuron fires once for each threshold in its membrane.

    Args:
        norm_input: of the layers; by default as in their classes, True for LIF and False for ExpLeak.
        tau_syn: of the layers, in steps, because the file drops it.
        spikes: "multi", or "single" for ``SingleSpike``.
        reset: "subtract", or "value" for ``MembraneReset(v_reset)``.
        v_reset: its value.
        min_v_mem: of the layers, because the file drops it.
    """

    norm_input: bool | None = None
    tau_syn: float | None = None
    spikes: Literal["multi", "single"] = "multi"
    reset: Literal["subtract", "value"] = "subtract"
    v_reset: float = 0.0
    min_v_mem: float | None = None

    def neuron(self, node: Any, dt: float, dtype: Any, *, in_cycle: bool) -> StepLayer | None:  # noqa: ARG002
        """Return ``LIF`` for LIF, ``IAF`` for IF, and ``ExpLeak`` for LI."""
        if self.spikes not in ("multi", "single") or self.reset not in ("subtract", "value"):
            raise NIRError(f"{self}: expected spikes 'multi' or 'single', and reset 'subtract' or 'value'")
        if hasattr(node, "r"):
            _check("r", node.r, 1.0)
        if hasattr(node, "v_leak"):
            _check("v_leak", node.v_leak, 0.0)
        norm: dict[str, Any] = {} if self.norm_input is None else {"norm_input": self.norm_input}
        least: dict[str, Any] = {} if self.min_v_mem is None else {"min_v_mem": self.min_v_mem}
        if isinstance(node, nir.LI):
            return sinabs.ExpLeak(tau_mem=parameter(node.tau, dtype), **norm, **least)
        if not isinstance(node, nir.LIF | nir.IF):
            return None
        options: Any = {
            "spike_threshold": parameter(node.v_threshold, dtype),
            "spike_fn": sinabs.SingleSpike if self.spikes == "single" else sinabs.MultiSpike,
            "reset_fn": sinabs.MembraneReset(self.v_reset) if self.reset == "value" else sinabs.MembraneSubtract(),
            "tau_syn": self.tau_syn,
            **least,
        }
        if isinstance(node, nir.IF):
            return sinabs.IAF(**options)
        return sinabs.LIF(tau_mem=parameter(node.tau, dtype), **norm, **options)


class SpikingJelly(NamedTuple):
    """SpikingJelly 2.0.0: Euler's method, starting at v_reset; a neuron also fires at its threshold."""

    def neuron(self, node: Any, dt: float, dtype: Any, *, in_cycle: bool) -> StepLayer | None:  # noqa: ARG002
        """Return ``LIFNode`` for LIF, ``IFNode`` for IF, and ``CUBALIFNode`` for CubaLIF."""
        if not isinstance(node, nir.LIF | nir.IF | nir.CubaLIF):
            return None
        firing: Any = {"v_threshold": parameter(node.v_threshold, dtype), "v_reset": _single("v_reset", node.v_reset)}
        match node:
            case nir.IF():
                _check("r dt", np.asarray(node.r) * dt, 1.0)
                return spikingjelly.IFNode(**firing)
            case nir.CubaLIF():
                syn, mem = (dt / np.asarray(tau, np.float64) for tau in (node.tau_syn, node.tau_mem))
                _check("w_in dt / tau_syn", node.w_in * syn, 1.0)
                _check("r dt / tau_mem", node.r * mem, 1.0)
                _check("v_leak", node.v_leak, 0.0)
                return spikingjelly.CUBALIFNode(parameter(1.0 - syn, dtype), parameter(1.0 - mem, dtype), **firing)
        tau = np.asarray(node.tau, np.float64) / dt
        _check("v_leak - v_reset", np.asarray(node.v_leak) - node.v_reset, 0.0)
        decayed = bool(np.allclose(node.r, 1.0))
        if not decayed:
            _check("r dt / tau", node.r / tau, 1.0)
        return spikingjelly.LIFNode(parameter(tau, dtype), decayed, **firing)


Dialect: TypeAlias = SnnTorch | Norse | Sinabs | SpikingJelly
DIALECTS: dict[str, type[Any]] = {
    "snntorch": SnnTorch,
    "norse": Norse,
    "sinabs": Sinabs,
    "spikingjelly": SpikingJelly,
}


def dialect_of(given: Any) -> Dialect | None:
    """Return the dialect of a name, or a given dialect; None for NIR itself. Raise NIRError for other names."""
    if given == "nir":
        return None
    if isinstance(given, str):
        if given not in DIALECTS:
            listed = ", ".join(map(repr, ("nir", *DIALECTS)))
            raise NIRError(f"from_nir: dialect={given!r} is not one of {listed}")
        found: Dialect = DIALECTS[given]()
        return found
    if type(given) not in DIALECTS.values():
        raise NIRError(f"from_nir: dialect={given!r}, expected a name, or SnnTorch(...), Norse(...) and so on")
    chosen: Dialect = given
    return chosen


def _single(name: str, value: Any) -> float:
    values = np.unique(np.asarray(value, np.float64))
    if values.size != 1:
        raise NIRError(f"{name} differs between neurons, which this library never writes")
    return float(values[0])


def _check(what: str, value: Any, wanted: float) -> None:
    """Raise unless a node has the numbers that this library always writes."""
    if not np.allclose(value, wanted, rtol=1e-4, atol=1e-6):
        wrong = np.ravel(value)[~np.isclose(np.ravel(value), wanted, rtol=1e-4, atol=1e-6)][0]
        raise NIRError(
            f"{what} is {wrong:g}, where this library writes {wanted:g}; check dt, and that this library wrote the file"
        )
