"""The calls of a network's step, as integers see them: at rest, in evaluation, and without the rounding of inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.frame import Frame
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.grid import leave_inputs
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.step_graph.recorder import Call, StepGraph, record

_ADVICE = (
    "integers are written for layers, and sums of their outputs, alone; make it such layers, or convert the parts of "
    "the network"
)


def calls_of(model: SpikingNet, x: Tensor) -> StepGraph:
    """Return the calls of one step of a network, which runs as a copy for two steps.

    Raises:
        IntegerError: a layer is called twice, takes or returns something else than one tensor, or changes its dtype; a
            hook of the whole network changes its input or output; the calls differ from step to step; the forward
            changes weights, or reads numbers of tensors.
    """
    whole = _by_steps(model)
    frame = Frame(whole._layers(), is_pure=True)
    frame.advance = steps = _AtRest()

    def run() -> None:
        with frame:
            whole(x.new_zeros((2, 2, *x.shape[2:])))

    with torch.inference_mode(False), torch.no_grad():  # in inference mode nobody would see writes in place
        changed = _watch_hooks(whole)
        weights = _versions(whole)
        graph, again = whole.alone(lambda: record(whole.net, run))
    if weights != _versions(whole):
        raise IntegerError("", "chain", "its forward changes its weights; integers keep those of before")
    if graph.reads:
        why = f"it reads a number of a tensor ({graph.reads[0]}), and integers cannot branch on values"
        raise IntegerError("", "chain", why)
    if changed:
        why = f"a forward hook changes its {changed[0]}, which integers do not know of; remove the hook"
        raise IntegerError("", "chain", why)
    if not graph.calls:
        raise IntegerError("", "chain", "the network calls no layer")
    _check(graph.calls)
    if graph.form != again.form:
        why = "its second step makes other calls than the first, as with tensors that code keeps from step to step"
        raise IntegerError("", "chain", f"{why}; keep them in layers")
    for call in graph.calls:
        if call.module in steps.interrupted:
            why = "its forward restarts it or sets its state at each step, and integers go on from the step before"
            raise IntegerError(call.path, "chain", f"{why}; pass on init, and leave the state to the layer")
    return graph


def _versions(model: SpikingNet) -> list[int]:
    return [-1 if each.is_inference() else each._version for each in model.parameters()]


def check_sources(graph: StepGraph, path: str, sources: tuple[int, ...]) -> None:
    """Raise IntegerError unless an input of a layer, or with an empty path the output, comes from layers alone."""
    function = next((graph.calls[each] for each in sources if each >= 0 and graph.calls[each].module is None), None)
    if sources and function is None:
        return
    subject = "its input" if path else "the output of the network"
    found = "does not come from the input of this step, or was written on"
    if function is not None:
        found = f"is the result of {function.path} ({function.line})"
    raise IntegerError(path, "chain", f"{subject} {found}: {_ADVICE}")


class _AtRest:
    """Advances layers with inputs of zero, and notes those that do not go on from the state of their last step.

    The outputs have the right form, and neurons whose overflow is an error do not raise.
    """

    def __init__(self) -> None:
        self.interrupted: set[Any] = set()
        self._left: dict[Any, Any] = {}  # the memory that each layer was left with, and its marks

    def __call__(self, layer: Any, inputs: Any, init: Any, *others: Any) -> Any:
        if layer in self._left and not layer.memoryless:
            _, left = self._left[layer]
            if init is not False or left != _marks(layer._remembered()):
                self.interrupted.add(layer)
        output = layer._advance_one(tree_map(torch.zeros_like, inputs), init, *others)
        memory = layer._remembered()
        self._left[layer] = memory, _marks(memory)
        return output


def _marks(memory: Any) -> list[tuple[int, int]]:
    """Return address and version of each tensor of a state: a write changes one of them."""
    return [] if memory is None else [(each.data_ptr(), each._version) for each in leaves_of(memory.state)]


def _by_steps(model: SpikingNet) -> SpikingNet:
    """Return a copy of a network, in evaluation, which takes its input as it is and runs step by step."""
    whole = copied(model).eval()
    leave_inputs(whole)
    plain = {"statistics": "step", "hooks": "step", "recompute": False, "truncate": False, "time_chunk": None}
    for name, value in {**plain, "mode": "step", "batch_first": True, "warn_silent": False}.items():
        setattr(whole, name, value)
    return whole


def _watch_hooks(whole: nn.Module) -> list[str]:
    """Return a list to which hooks of a network add "input" or "output" if they change it."""
    changed: list[str] = []
    seen: dict[str, list[tuple[Any, int]]] = {}

    def hook(what: str, pick: Callable[..., Any]) -> Callable[..., None]:
        def look(_module: nn.Module, *given: Any) -> None:
            now = [(value, getattr(value, "_version", 0)) for value in pick(*given)]
            before = seen.setdefault(what, now)
            if any(a is not b or i != j for (a, i), (b, j) in zip(before, now, strict=True)):
                changed.append(what)

        return look

    # those of the user run between the first and the last one
    for prepend in (True, False):
        whole.register_forward_pre_hook(hook("input", lambda args: args), prepend=prepend)
        whole.register_forward_hook(hook("output", lambda _, out: (out,)), prepend=prepend)
    return changed


def _check(calls: list[Call]) -> None:
    called: list[nn.Module] = []
    for call in calls:
        if call.module is None:
            continue
        if any(call.module is each for each in called) and not isinstance(call.module, nn.Flatten):
            why = "it is called twice in a step; give each call a layer of its own"
            raise IntegerError(call.path, "chain", why)
        called.append(call.module)
        if len(call.given) != 1 or not isinstance(call.out, Tensor):
            kind = type(call.x).__name__ if len(call.given) < 2 else f"{len(call.given)} tensors"
            why = f"it takes a {kind} and returns a {type(call.out).__name__}, not one tensor"
            raise IntegerError(call.path, "chain", why)
        if call.out.dtype != call.x.dtype:
            why = f"it takes {call.x.dtype} and returns {call.out.dtype}; call it without torch.autocast in forward"
            raise IntegerError(call.path, "dtype", why)
