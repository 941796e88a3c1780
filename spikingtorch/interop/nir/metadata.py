"""Store what NIR cannot express in the metadata of a graph: JSON under one key, read without running code.

The entries:

    dt, discretisation      as used for the numbers of the nodes
    dtype                   of the network
    nodes                   for each neuron its layer, the user's parameters, comparison, surrogate and reset
    lost                    properties that an approximate export has left out, by node
    target                  the library whose reader it was written for, or null
    batch_first             whether the network takes (N, T, ...); true in files without this entry
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch import layers
from spikingtorch.axes import check_order
from spikingtorch.functional.reset import ToValue
from spikingtorch.interop.nir import neurons
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.targets import target_of
from spikingtorch.layers.reset_value import is_open, with_value
from spikingtorch.layers.steplayer import StepLayer

KEY = "spikingtorch"
VERSION = 1

# the allowed names of layers, steps, spike functions and reset rules: nothing else is ever looked up
_LAYERS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(layers.IF, layers.LIF, layers.LI, layers.CubaLIF, layers.McPitts, layers.Delay),
        *(layers.SpikingDecay, layers.ExponentialSynapse),
    )
}
_STEPS: dict[str, tuple[Any, Any]] = {
    step.__name__: (step, state)
    for step, state in (
        (F.if_step, F.IFState),
        (F.lif_step, F.LIFState),
        (F.li_step, F.LIState),
        (F.euler_lif_step, F.EulerLIFState),
        (F.cuba_lif_step, F.CubaLIFState),
        (F.mcpitts_step, F.McPittsState),
        (F.spiking_decay_step, F.SpikingDecayState),
        (F.exponential_synapse_step, F.ExponentialSynapseState),
        (neurons.leaky_step, neurons.LeakyState),
        (neurons.leaky_readout_step, neurons.LeakyState),
        (neurons.cuba_step, neurons.CubaState),
        (neurons.cuba_readout_step, neurons.CubaState),
    )
}
_SURROGATES = {
    kind.__name__: kind
    for kind in (
        *(F.Arctan, F.Erf, F.FastSigmoid, F.Gaussian, F.PiecewiseExponential, F.Sigmoid, F.StraightThrough),
        *(F.DoubleGaussian, F.Triangular, F.Strict, F.MultiSpike),
    )
}
_RULES = {rule.__name__: rule for rule in (F.to_zero, F.by_subtraction, F.none)}
# the largest length of a delay line, in steps
_LONGEST = 100_000
_DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}


class Metadata(NamedTuple):
    """The metadata of a graph of this library; see the module."""

    dt: float
    discretisation: str
    dtype: torch.dtype
    nodes: Mapping[str, Any]
    lost: Mapping[str, str]
    target: str | None = None
    batch_first: bool = True


def packed(metadata: Metadata) -> dict[str, str]:
    """Return metadata as an entry of a graph's metadata."""
    content = metadata._asdict() | {"dtype": str(metadata.dtype).removeprefix("torch."), "version": VERSION}
    return {KEY: json.dumps(content)}


def unpacked(graph: Any) -> Metadata | None:
    """Return the metadata of a graph, None for another library's; raise NIRError if damaged, or of a later version."""
    text = (getattr(graph, "metadata", None) or {}).get(KEY)
    if text is None:
        return None
    try:
        content = json.loads(text.decode() if isinstance(text, bytes) else text)
        version = content.pop("version")
        if version != VERSION:
            raise NIRError(f"the graph's metadata are of version {version}, and this library reads {VERSION}")
        found = Metadata(**content)
        nodes, lost = dict(found.nodes), {str(name): str(what) for name, what in dict(found.lost).items()}
        target_of("metadata", found.target)
        check_order("metadata", found.batch_first)
        return found._replace(dt=float(found.dt), dtype=_DTYPES[content["dtype"]], nodes=nodes, lost=lost)
    except NIRError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NIRError(
            f"metadata[{KEY!r}] of the graph are damaged ({type(error).__name__}: {error}); pass "
            "use_metadata=False to use only the nodes"
        ) from error


def described(layer: StepLayer) -> dict[str, Any] | None:
    """Return the description that recreates a layer, or None if a part of it has no name here."""
    try:
        return _described(layer)
    except KeyError:
        return None


def _described(layer: StepLayer) -> dict[str, Any]:
    named = type(layer) if _LAYERS.get(type(layer).__name__) is type(layer) else None
    stored = {name: getattr(layer, attribute) for name, attribute in layer._attributes.items()}
    params = stored if named or type(layer) is StepLayer else layer.step_params()
    params = {name: _value(value, stored) for name, value in params.items() if name != "v_reset"}
    own = {name for name, each in layer.named_parameters(recurse=False) if each.requires_grad}
    learnable = sorted(name for name, attribute in layer._attributes.items() if attribute in own and name in params)
    found: dict[str, Any] = {"params": params, "learnable": learnable, "constrain": layer.constrain}
    if named:
        extra = {"longest": int(layer.longest)} if isinstance(layer, layers.Delay) else {}
        return found | {"layer": named.__name__, "extra": extra}
    if _STEPS[getattr(layer.step, "__name__", "")][0] is not layer.step:
        raise KeyError(layer.step)
    return found | {"step": layer.step.__name__}


def _value(value: Any, stored: Mapping[str, Any]) -> Any:
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return True  # an option that is on
    if isinstance(value, Tensor):
        kept = value.detach().cpu()
        return {
            "dtype": str(kept.dtype).removeprefix("torch."),
            "shape": list(kept.shape),
            "values": kept.flatten().tolist(),
        }
    if isinstance(value, F.Detached):
        return {"detached": _value(value.rule, stored)}
    if is_open(value) or isinstance(value, ToValue):
        whole: Any = with_value(value, stored["v_reset"]) if is_open(value) else value
        return {"to_value": _value(whole.v_reset, stored)}
    if callable(value) and getattr(value, "__name__", "") in _RULES:
        return {"rule": value.__name__}
    if _SURROGATES[type(value).__name__] is not type(value):
        raise KeyError(type(value))
    fields: Any = value
    return {"surrogate": type(value).__name__, "fields": [_value(each, stored) for each in fields]}


def rebuilt(name: str, content: Any, recurrent: nn.Module | Tensor | None) -> StepLayer:
    """Return the layer of a description by ``described``; raise NIRError if it is damaged."""
    try:
        params = {str(key): _made(value) for key, value in content["params"].items()}
        options: dict[str, Any] = {
            "learnable": [*map(str, content["learnable"])],
            "constrain": content["constrain"],
        }
        options |= {} if recurrent is None else {"recurrent": recurrent}
        if "layer" in content:
            longest: Any = {"longest": _longest(content)} if content["layer"] == "Delay" else {}
            made: StepLayer = _LAYERS[content["layer"]](**params, **options, **longest)
            return made
        step, state = _STEPS[content["step"]]
        return StepLayer(step, state, **params, **options)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise NIRError(
            f"the metadata entry of node {name!r} is damaged ({type(error).__name__}: {error}); pass "
            "use_metadata=False to go by the nodes alone"
        ) from error


def _longest(content: Any) -> int:
    """Return the longest delay of a layer with a delay line."""
    found = int(content["extra"]["longest"])
    if not 0 < found <= _LONGEST:
        raise ValueError(f"longest is {found}, expected 1 to {_LONGEST:,} steps")
    return found


def _made(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value if isinstance(value, bool) else float(value)
    if "values" in value:
        return torch.tensor(value["values"], dtype=_DTYPES[value["dtype"]]).reshape(value["shape"])
    if "detached" in value:
        return F.detached(_made(value["detached"]))
    if "to_value" in value:
        return F.to_value(_made(value["to_value"]))
    if "rule" in value:
        return _RULES[value["rule"]]
    return _SURROGATES[value["surrogate"]](*[_made(each) for each in value["fields"]])
