"""The calls of a network's step, as NIR has them: each a module with a node of its own, batch norm in the weights."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.passed_init import InitHook
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.step_graph.norms import merge_norm, norm_of
from spikingtorch.step_graph.recorder import Call, StepGraph, record

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def calls_of(net: nn.Module, x: Tensor) -> StepGraph:
    """Return the calls of modules in a copy of a network in evaluation, batch norm in the weights before it.

    ``x`` is an input of one step, (N, ...). Raise NIRError if there are calls that are not supported, or the network
    reads numbers of tensors.
    """
    if isinstance(net, StatefulLayer):
        raise NIRError(
            f"the network is a single {type(net).__name__}; put it into an nn.Sequential, which has names for nodes"
        )
    # arguments beyond the input and init keep their defaults
    _, *others = inspect.signature(net.forward).parameters.values()
    given = {each.name: True for each in others if each.name == "init" or each.default is each.empty}
    with torch.inference_mode(False), torch.no_grad():
        (graph,) = record(net, lambda: net(x.clone(), **given))
    if graph.reads:
        raise NIRError(
            f"{type(net).__name__} reads a number of a tensor ({graph.reads[0]}). Its forward may not branch on values "
            "of tensors, because a graph has one branch alone"
        )
    return _with_merged_norms(graph)


def _with_merged_norms(graph: StepGraph) -> StepGraph:
    """Return the calls without those of batch norm, each with a module that has a node."""
    calls: list[Call] = []
    places = {-1: -1}  # of each call in the new list
    called = set[int]()
    for index, call in enumerate(graph.calls):
        if call.module is None:
            _refuse_function(call)
        sources = _sources(call)
        if norm_of(call.module) is not None:
            place = places[index] = places[sources[0]]
            before = calls[place] if len(sources) == 1 and place >= 0 else None
            calls[place] = _merged(graph, call, sources[0], before)
            continue
        if isinstance(call.module, StatefulLayer):
            check_layer(call.module, call.path)
            if id(call.module) in called:
                raise NIRError(
                    f"layer {call.path!r} is called twice in a step, but a node of NIR is called once; give each call "
                    "its own layer"
                )
        called.add(id(call.module))
        places[index] = len(calls)
        calls.append(call._replace(given=(_summed(sources, places),)))
    if not isinstance(graph.out, Tensor) or not graph.result:
        raise NIRError(
            f"the network returns a {type(graph.out).__name__}, expected one tensor that comes from the input; export "
            "a network that returns the one that matters"
        )
    return graph._replace(calls=calls, result=_summed(graph.result, places))


def _sources(call: Call) -> tuple[int, ...]:
    """Return the calls that sum to the input of a call."""
    if len(call.given) != 1:
        raise NIRError(f"{call.path!r} is called with {len(call.given)} values, expected one")
    if not call.sources:
        raise NIRError(f"{call.path!r} is called with a tensor that does not come from the input, or was written on")
    return call.sources


def _summed(sources: tuple[int, ...], places: dict[int, int]) -> tuple[int, ...]:
    """Return the places of calls that are summed, each of which may stand there once."""
    if len(set(sources)) < len(sources):
        raise NIRError(
            "the network has a sum of one value with itself, for which NIR has no node; put the factor into a weight"
        )
    return tuple(places[each] for each in sources)


def _merged(graph: StepGraph, norm: Call, source: int, before: Call | None) -> Call:
    """Return the call of the weights before a batch norm, with the norm in them."""
    readers = [each for each in graph.calls if any(source in given for given in each.given)]
    found: Any = norm_of(norm.module)
    # a batch norm after a Linear normalises the axis after the batch, which must be the axis of outputs
    fits = (
        before is not None
        and isinstance(before.module, _WEIGHTED)
        and (not isinstance(before.module, nn.Linear) or len(before.after) == 1)
    )
    if before is None or not fits or found[0].running_mean is None or len(readers) > 1 or source in graph.result:
        raise NIRError(
            f"{norm.path!r} is a batch norm for which NIR has no node. It has running statistics, but does not "
            "directly follow a Linear or Conv module, so it cannot be merged into its weights"
        )
    layer: Any = copy.deepcopy(before.module)
    if not isinstance(layer._parameters.get("weight"), nn.Parameter):
        raise NIRError(
            f"the weight of {before.path!r} is computed, so that the batch norm {norm.path!r} cannot become part of "
            "it; make it a plain one first, with remove_parametrizations or prune.remove"
        )
    merge_norm(layer, norm.module)
    return before._replace(module=layer)


def _refuse_function(call: Call) -> None:
    what, fix = (
        f"a call of {call.path}",
        "use modules of torch.nn that NIR has a node for: Linear, Conv1d, Conv2d, AvgPool2d, Flatten, and sums of two "
        "values of one shape",
    )
    if call.path in ("view", "reshape", "flatten"):
        mixes = call.x.shape[:1] != call.out.shape[:1]
        what = f"a {call.path} that mixes samples" if mixes else f"a {call.path} of {call.before} to {call.after}"
        fix = "keep the first axis" if mixes else "flatten the last axes: nn.Flatten()"
    raise NIRError(f"the network has {what} ({call.line}), for which NIR has no node; {fix}")


def copied_model(model: Any) -> Any:
    """Return a copy of a network that takes (N, T, ...); raise NIRError if its weights are computed by hooks."""
    try:
        copied = copy.deepcopy(model)
    except RuntimeError as error:
        raise NIRError(
            f"the network cannot be copied ({str(error).splitlines()[0]}); make computed weights plain first, with "
            "prune.remove or remove_weight_norm"
        ) from error
    copied.batch_first = True
    return copied


def check_hooks(model: nn.Module) -> None:
    """Raise NIRError if a hook may change inputs or outputs of a module, because a graph would not show it."""
    for path, module in model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if any(not isinstance(hook, InitHook) for hook in hooks):
            raise NIRError(f"module {path or 'model'!r} has a forward hook, which a graph cannot hold; remove it")


def check_layer(layer: StatefulLayer, path: str) -> None:
    """Raise NIRError if a user's subclass uses its step in another way, or the layer returns more than its spikes."""
    returns = getattr(layer, "returns", SPIKES)
    if returns != SPIKES:
        raise NIRError(
            f"layer {path!r} has returns={returns!r}, but a node returns only its spikes; write a copy of the "
            f"network whose layers have returns={SPIKES!r}"
        )
    for kind in type(layer).__mro__:
        changed = {"forward", "whole_step", "initial_state", "_advance", "_dispatch"} & vars(kind).keys()
        if changed and issubclass(kind, StatefulLayer) and not kind.__module__.startswith("spikingtorch."):
            raise NIRError(
                f"layer {path!r} is a {kind.__name__} with a {min(changed)} of its own, which NIR cannot express; "
                "write its code as a module around the layer"
            )
