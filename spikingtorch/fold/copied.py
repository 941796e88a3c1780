"""A copy of a network, which runs one step of a few made-up samples within a trace."""

import copy
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spikingtorch.fold.guard import Look
from spikingtorch.fold.number import Number
from spikingtorch.fold.rehearsal import Rehearsal, record
from spikingtorch.fold.trace import Objection, Trace
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
    maybe_get_bdim,
    set_cached_parametrizations,
)
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.core.undo import raise_interrupt, run_or_undo
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.fold_token import FoldError
from spikingtorch.layers.frame import Frame
from spikingtorch.layers.passed_init import hooks_of

# random numbers belong to the process
_one_at_a_time = Lock()
T = TypeVar("T")


class CallForm(NamedTuple):
    """The form of a call: all of it that a decision depends on, but for the numbers of samples and steps.

    Attributes:
        shape: of the input of one sample at one step.
        dtype: of the input.
        device: of the input.
        differentiates: whether gradients are recorded, and whether the input has one.
        precision: in which autocast computes; None where it is off.
        masked: whether init says for each sample whether it starts anew.
        default: dtype of tensors that are made anew.
        modes: how many modes of torch functions are active, such as a device context.
        merged: whether batch norm in training takes the statistics of all steps, once, and not of each step.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    differentiates: tuple[bool, bool]
    precision: torch.dtype | None
    masked: bool = False
    default: torch.dtype = torch.float32
    modes: int = 0
    merged: bool = False


class Copied:
    """A copy of a network, with the weights of the network itself, which no trace writes on.

    Args:
        net: the network.
        call_form: what it is called with.
        numbers: names of attributes, numbers, in place of which the copy holds tensors: nothing but operations of
            torch can use such a number without being seen.

    Attributes:
        net: the copy.
        layers: its spiking layers, by path.
        names: of its tensors, by their identity.
    """

    def __init__(self, net: nn.Module, call_form: CallForm, numbers: Collection[str] = ()) -> None:
        self.net = copy.deepcopy(net, _shared(net))
        for path in numbers:
            owner, _, name = path.rpartition(".")
            own = vars(self.net.get_submodule(owner))
            own[name] = Number.of(own[name])
        for module in self.net.modules():
            getattr(module, "_forward_hooks", {}).clear()  # they only look
            if isinstance(module, AnyBatchNorm) and module.training:
                module.num_batches_tracked = None  # it is counted outside of the fold
        self.call_form, self.numbers = call_form, numbers
        self.layers = {path: layer for path, layer in self.net.named_modules() if isinstance(layer, StatefulLayer)}
        self._tensors = [*_tensors_of(self.net)]  # held, so that no other one takes the identity of one of them
        self.names = {id(tensor): path for path, tensor in self._tensors}
        self._before = self.look()

    def look(self) -> Look:
        """Return all that the code of the copy can read, as it is now."""
        return Look(self.net, exact=True)

    def changed(self) -> tuple[str, ...]:
        """Return the names of what the network has changed since it was copied."""
        return () if self._before.holds(self.net) else self.look().changed_since(self._before)

    def record(self, N: int, init: bool | None, trace: Trace) -> Rehearsal:
        """Run a step of N samples, the first or a later one or, for None, that of a fold.

        Raises:
            Objection: it does what no operation tells.
            FoldError: it uses init, or a layer, in a way that steps could tell apart.
        """
        names = {id(layer): path or type(layer).__name__ for path, layer in self.layers.items()}
        shape, dtype, device, (grad, differentiable) = self.call_form[:4]
        x = torch.rand(N, *shape, dtype=torch.float32).to(device, dtype).requires_grad_(grad and differentiable)
        starts = torch.ones(N, dtype=torch.bool, device=device) if init and self.call_form.masked else init
        drawn, trace.names = python_random_state(), self.names
        for module in self.net.modules():
            if isinstance(module, AnyBatchNorm):
                trace.buffers[id(module.running_mean)] = self.names.get(id(module.running_mean), "")
        trace.forget_seed()
        rehearsal = Rehearsal(trace, N, names, starts)
        frame = Frame([*self.layers.values()], hooks_of(self.net.modules()))
        frame.thread = None  # any: nobody else knows the copy
        frame.tell(rehearsal.given, fold=rehearsal)
        with frame:
            record(self.net, x, rehearsal, self.call_form.merged)
        if python_random_state() != drawn:
            raise Objection("draws from the random numbers of Python or numpy", "draw them with torch")
        return rehearsal


def _tensors_of(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters, buffers and plain tensors of a network with their names."""
    for path, module in net.named_modules():
        for entries in (vars(module), module._buffers, module._parameters):
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    yield f"{path}.{name}", value


def _shared(net: nn.Module) -> dict[int, Any]:
    """Return, by identity, what a copy of a network holds in place of weights: the same memory, which no trace writes.

    In a transform, they are those that it wraps; in an export, where weights hold no numbers, any will do.
    """
    found: dict[int, Any] = {}
    for module in net.modules():
        kept = [value for value in vars(module).values() if isinstance(value, Tensor) and value.grad_fn is not None]
        found |= {id(value): value.detach() for value in kept}  # which cannot be copied
    kinds = Tensor, nn.Parameter, nn.Buffer
    parameters, buffers = {*map(id, net.parameters())}, {*map(id, net.buffers())}
    for tensor in (*net.parameters(), *net.buffers()):
        held = _unwrapped(tensor)
        made_up = held.is_meta or is_fake(held)
        if type(held) not in kinds and not made_up:
            raise Objection(
                f"holds a {type(tensor).__name__}, a kind of tensor that is not known", "hold plain tensors"
            )
        value = torch.rand(tensor.shape, dtype=torch.float32).to(tensor.dtype) if made_up else held.detach()
        if id(tensor) in parameters:  # plain tensors in a functional_call, which compute the same
            value = nn.Parameter(value, tensor.requires_grad)
        elif id(tensor) in buffers:  # which batch norm writes, unseen
            value = value.clone()
        found[id(tensor)] = value.requires_grad_(tensor.requires_grad)
        if held is tensor and not made_up:  # with the attributes that somebody has given to it
            vars(value).update(copy.deepcopy(vars(tensor), found))
    return found


def _unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor that the transforms of ``torch.func`` have wrapped; of a batch, the first."""
    while is_functorch_wrapped_tensor(tensor):
        inner = get_unwrapped(tensor)
        tensor = inner.select(maybe_get_bdim(tensor), 0) if is_batchedtensor(tensor) and len(inner) else inner
    return tensor


def kept_graph(net: nn.Module) -> str | None:
    """Return the name of an attribute that holds computed tensors with their graph, in a container; None if none does.

    A network keeps them of earlier steps, in a list say, and nobody can copy them. A tensor that is an attribute
    itself, such as a weight that a hook computes, is copied without its graph, as the state of a spiking layer is.
    """
    for path, module in net.named_modules():
        for name, value in () if isinstance(module, StatefulLayer) else vars(module).items():
            contains = not isinstance(value, Tensor) and name not in ("_modules", "_parameters")
            if contains and any(map(_is_computed, leaves_of(value))):
                return f"{path}.{name}".removeprefix(".")
    return None


def _is_computed(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf


def attempt(net: nn.Module, call_form: CallForm, on: str, work: Callable[[], T]) -> T | FoldError:
    """Return what work returns, which runs a copy of a network, or why the network does not fold.

    What the copy shares with the network is put back as it is now: an earlier look may have seen other numbers there.

    Args:
        net: the network.
        call_form: what it is called with.
        on: what the copy runs on, for messages.
        work: to be done, by itself.
    """
    handled, outside = sys.exception(), Look(net).outside

    def run() -> T:
        found = _isolated(call_form, work)
        outside.put_back()
        return found

    try:
        return run_or_undo(run, outside.put_back)
    except Exception as error:
        raise_interrupt(error, handled)
        if isinstance(error, FoldError):
            error.__traceback__ = None  # its frames hold the call, and a trace in them the error
            return error
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return Objection(f"does not run on {on} ({text})")


def _isolated(call_form: CallForm, work: Callable[[], T]) -> T:
    """Run work outside of every transform, mode and compiler, one proof at a time; leave random numbers as they are."""

    def inside() -> T:
        compile_nothing()  # there may be something compiled in the network
        torch.set_grad_enabled(call_form.differentiates[0])
        # without the cache of casts, which the first trace would fill
        set_autocast(call_form.device.type, call_form.precision is not None, call_form.precision, False)
        # parametrize.cached keeps weights for a network and its copies alike
        set_cached_parametrizations(0)
        return work()

    alone = partial(surroundings.isolated, call_form.device, inside)
    with _one_at_a_time:
        # where something is exported, a mode writes down what is done here
        return within((), alone, without=TorchFunctionMode) if torch.compiler.is_exporting() else alone()
