"""A copy of a network, which runs one step of a few random samples inside a trace."""

import copy
import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spikingtorch.fold.guard import NetworkSnapshot
from spikingtorch.fold.number import Number
from spikingtorch.fold.proof_fold import ProofFold
from spikingtorch.fold.trace import Objection, Trace
from spikingtorch.fold.unsharded import copied, whole_weights
from spikingtorch.functional.core import surroundings
from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.modes import within
from spikingtorch.functional.core.surroundings import compile_nothing, python_random_state, set_autocast
from spikingtorch.functional.core.torch_private import (
    AnyBatchNorm,
    get_unwrapped,
    is_batchedtensor,
    is_fake,
    is_functorch_wrapped_tensor,
    mappings_of_global_hooks,
    maybe_get_bdim,
    set_cached_parametrizations,
)
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.core.undo import raise_interrupt, run_or_undo
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.fold_token import FoldError
from spikingtorch.layers.frame import Frame
from spikingtorch.layers.passed_init import hooks_of

# random states belong to the process
_one_at_a_time = Lock()
T = TypeVar("T")


class CallForm(NamedTuple):
    """The form of a call: all properties that a decision depends on, except the numbers of samples and steps."""

    shape: tuple[int, ...]  # of the input of one sample at one step
    dtype: torch.dtype  # of the input
    device: torch.device  # of the input
    differentiates: tuple[bool, bool]  # whether gradients are recorded, and whether the input has one
    precision: torch.dtype | None  # in which autocast computes; None if autocast is off
    masked: bool = False  # whether init is a tensor, with one value per sample
    default: torch.dtype = torch.float32  # of new tensors
    modes: int = 0  # number of active modes of torch functions, such as a device context
    merged: bool = False  # whether batch norm in training takes one statistic over all steps, not one per step


class Copied:
    """A copy of a network that shares the network's weights; a trace never writes on them.

    ``numbers`` names attributes that are numbers. The copy has a tensor in place of each, so that the trace sees every
    use of the number.
    """

    def __init__(self, net: nn.Module, call_form: CallForm, numbers: Collection[str] = ()) -> None:
        self.net = copied(net, _shared(net, call_form.dtype))
        for path in numbers:
            owner, _, name = path.rpartition(".")
            own = vars(self.net.get_submodule(owner))
            own[name] = Number.of(own[name])
        for module in self.net.modules():
            if isinstance(module, AnyBatchNorm) and module.training:
                module.num_batches_tracked = None  # the counter is updated outside of the fold
        self.call_form, self.numbers = call_form, numbers
        self.layers = {path: layer for path, layer in self.net.named_modules() if isinstance(layer, StatefulLayer)}
        modules = self.net.named_modules()
        places = [(path, own) for path, each in modules for own in (vars(each), each._buffers, each._parameters)]
        held = [(f"{path}.{name}", value) for path, own in places for name, value in own.items()]
        self._tensors = [pair for pair in held if isinstance(pair[1], Tensor)]  # kept alive, so that no id is reused
        self.names = {id(tensor): path for path, tensor in self._tensors}  # of its tensors, by identity
        self._before = self.look()

    def look(self) -> NetworkSnapshot:
        """Return a new look at everything that the code of the copy can read."""
        return NetworkSnapshot(self.net, exact=True)

    def changed(self) -> tuple[str, ...]:
        """Return the names of the values that the network has changed since it was copied."""
        return () if self._before.holds(self.net) else self.look().changed_since(self._before)

    def record(self, N: int, init: bool | None, trace: Trace) -> ProofFold:
        """Run a step of N samples: the first step, a later step or, for None, the step of a fold; see ``ProofFold``."""
        names = {id(layer): path or type(layer).__name__ for path, layer in self.layers.items()}
        shape, dtype, device, (grad, differentiable) = self.call_form[:4]
        x = torch.rand(N, *shape, dtype=torch.float32).to(device, dtype).requires_grad_(grad and differentiable)
        starts = torch.ones(N, dtype=torch.bool, device=device) if init and self.call_form.masked else init
        drawn, trace.names = python_random_state(), self.names
        means = [module.running_mean for module in self.net.modules() if isinstance(module, AnyBatchNorm)]
        trace.buffers = {id(mean): self.names.get(id(mean), "") for mean in means if mean is not None}
        trace.forget_seed()
        rehearsal = ProofFold(trace, N, names, starts)
        layers = [*self.layers.values()]
        frame = Frame(layers, dict.fromkeys((*layers, *hooks_of(self.net.modules()))))
        frame.tell(rehearsal.given, fold=rehearsal)
        with frame:
            rehearsal.run(self.net, x, self.call_form.merged)
        if python_random_state() != drawn:
            raise Objection("draws from the random numbers of Python or numpy", "draw them with torch")
        return rehearsal


def _shared(net: nn.Module, dtype: torch.dtype) -> dict[int, Any]:
    """Return the tensors that a copy of a network holds in place of its weights, by id; they share the memory.

    In a transform, they are the tensors that it wraps. In an export, weights hold no numbers, so any tensors will do.
    ``dtype`` is that of the input of the network.
    """
    found: dict[int, Any] = {}
    for module in net.modules():
        kept = [value for value in vars(module).values() if isinstance(value, Tensor) and value.grad_fn is not None]
        found |= {id(value): value.detach() for value in kept}  # which cannot be copied
    kinds = Tensor, nn.Parameter, nn.Buffer
    parameters, buffers = {*map(id, net.parameters())}, {*map(id, net.buffers())}
    whole = whole_weights(net, dtype)
    for tensor in (*net.parameters(), *net.buffers()):
        held = _unwrapped(whole.get(id(tensor), tensor))
        made_up = held.is_meta or is_fake(held)
        if type(held) not in kinds and not made_up:
            raise Objection(
                f"holds a {type(tensor).__name__}, a kind of tensor that is not known", "hold plain tensors"
            )
        value = torch.rand(tensor.shape, dtype=torch.float32).to(tensor.dtype) if made_up else held.detach()
        if id(tensor) in parameters:  # functional_call puts plain tensors in place of parameters; they compute the same
            value = nn.Parameter(value, tensor.requires_grad)
        elif id(tensor) in buffers:  # batch norm writes on them, and no operation shows it
            value = value.clone()
        found[id(tensor)] = value.requires_grad_(tensor.requires_grad)
        if held is tensor and not made_up:  # with the attributes that the user has added to it
            vars(value).update(copy.deepcopy(vars(tensor), found))
    return found


def _unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor inside the wrappers of ``torch.func`` transforms; of a batch, the first one."""
    while is_functorch_wrapped_tensor(tensor):
        inner = get_unwrapped(tensor)
        tensor = inner.select(maybe_get_bdim(tensor), 0) if is_batchedtensor(tensor) and len(inner) else inner
    return tensor


def kept_graph(net: nn.Module) -> str | None:
    """Return the name of a container that holds computed tensors with their graph, or None.

    A network may keep such tensors of earlier steps, for instance in a list, and they cannot be copied. A tensor that
    is itself an attribute, such as a weight that a hook computes, is copied without its graph. So is the state of a
    spiking layer.
    """
    for path, module in net.named_modules():
        for name, value in () if isinstance(module, StatefulLayer) else vars(module).items():
            contains = not isinstance(value, Tensor) and name not in ("_modules", "_parameters")
            tensors = [leaf for leaf in leaves_of(value) if isinstance(leaf, Tensor)] if contains else []
            if any(leaf.requires_grad and not leaf.is_leaf for leaf in tensors):
                return f"{path}.{name}".removeprefix(".")
    return None


def attempt(net: nn.Module, call_form: CallForm, on: str, work: Callable[[], T]) -> T | FoldError:
    """Return the result of work, which runs a copy of a network; or return why the network does not fold.

    Afterwards, restore the current values that the copy shares with the network; an earlier look may hold older values.
    For messages, ``on`` names the input of the copy.
    """
    handled, outside = sys.exception(), NetworkSnapshot(net).outside
    hooks = [(each, dict(each)) for each in mappings_of_global_hooks()]  # of tools that look; a proof meets none

    def run() -> T:
        for each, _ in hooks:
            each.clear()
        found = _isolated(call_form, work)
        undo()
        return found

    def undo() -> None:
        for each, before in hooks:
            each.update(before)
        outside.put_back()

    try:
        return run_or_undo(run, undo)
    except Exception as error:
        raise_interrupt(error, handled)
        if isinstance(error, FoldError):
            error.__traceback__ = None  # its frames hold the call, and a trace in these frames holds the error
            return error
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return Objection(f"does not run on {on} ({text})")


def _isolated(call_form: CallForm, work: Callable[[], T]) -> T:
    """Run work outside of every transform, mode and compiler, one proof at a time, and restore the random state."""

    def inside() -> T:
        compile_nothing()  # a part of the network may be compiled
        torch.set_grad_enabled(call_form.differentiates[0])
        # without the cache of casts, which the first trace would fill
        set_autocast(call_form.device.type, call_form.precision is not None, call_form.precision, False)
        # parametrize.cached shares weights between a network and its copies
        set_cached_parametrizations(0)
        return work()

    alone = partial(surroundings.isolated, call_form.device, inside)
    with _one_at_a_time:
        # in an export, a mode would record the operations here
        return within((), alone, without=TorchFunctionMode) if torch.compiler.is_exporting() else alone()
