"""Compute torch's layers and max pooling by kernels that skip zeros, where these are faster."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.functional.core.torch_private import DeviceContext, function_mode_at, number_of_function_modes
from spikingtorch.functional.sparse.autograd import marked, marked_support, run
from spikingtorch.functional.sparse.c_abi import Shape, failure
from spikingtorch.functional.sparse.choose import choose, objection_within_networks
from spikingtorch.functional.sparse.crossover import has_few_channels, has_few_outputs, most_events, most_sampled
from spikingtorch.functional.sparse.kernels import Events
from spikingtorch.functional.sparse.layers import convolution, linear
from spikingtorch.functional.sparse.operations import Layer
from spikingtorch.functional.sparse.pooling import LEAST, max_pool2d, pooled_support

# torch's functions of layers, and the functions that read their arguments
_LAYERS: dict[Any, Callable[..., Layer | None]] = {
    nnf.linear: linear,
    torch.conv1d: partial(convolution, 1),
    torch.conv2d: partial(convolution, 2),
}
# and max pooling
_POOLS: dict[Any, Callable[..., Tensor | None]] = {nnf.max_pool2d: max_pool2d, torch.max_pool2d: max_pool2d}
# modules that check for a mode
_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)


class Note(NamedTuple):
    """A record of how a layer was computed."""

    shape: tuple[int, ...]  # of its weights
    # why torch's function computed it, as the rest of a sentence about the layer; None if kernels did
    reason: str | None
    inputs: int  # the size of its input
    events: int | None  # the number of values of the input that are not zero; None if torch's function computed it
    # bytes that are saved for the backward pass in place of the input; None if the input is saved, or nothing
    kept: int | None
    wanted: int | None = None  # the number of inputs whose gradient is computed; None if of all, or of none


class _Decision(NamedTuple):
    """The decision how a layer is computed."""

    reason: str | None  # why torch's function computes its outputs; None if kernels do
    events: Events | None  # the places where its input is not zero, if kernels compute the outputs
    runs: bool  # whether kernels compute the outputs or a gradient
    wanted: Events | None = None  # the places where the gradient of its input is wanted; None if everywhere


# autograd's names of operations that keep all numbers in order: views, and copies to other memory
_SAME = ("ViewBackward0", "ReshapeAliasBackward0", "UnsafeViewBackward0", "CloneBackward0")


class Supports:
    """The spikes of one call of a network whose derivative is zero at some places.

    Spikes are identified by their node in the autograd graph: results computed from them, and in-place writes, have
    another node.
    """

    def __init__(self) -> None:
        self._of: dict[Any, tuple[weakref.ref[Tensor], Tensor]] = {}

    @property
    def has_readers(self) -> bool:
        """Return True if there are kernels that use this."""
        return failure() is None

    def note(self, spikes: Tensor, support: Tensor) -> None:
        """Record where the derivative of spikes is not zero, as long as their memory is alive."""
        node, base = spikes.grad_fn, spikes if spikes._base is None else spikes._base
        if node is not None:
            self._of[node] = weakref.ref(base, lambda _: self._of.pop(node, None)), support

    def of(self, x: Tensor) -> Tensor | None:
        """Return where the gradient of a tensor is wanted, if it is a view or copy of spikes; None if everywhere."""
        node: Any = x.grad_fn
        while (found := self._of.get(node)) is None and type(node).__name__ in _SAME:
            node = node.next_functions[0][0]
        return None if found is None else found[1].reshape(x.shape)

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()


class Automatic(NetworkMode):
    """A mode in which torch's linear layers and convolutions skip zeros, and max pooling has a kernel.

    Each call counts the inputs that are not zero, up to the number above which torch's function is faster; with
    ``always``, zeros are skipped whatever their number. This number depends only on shapes, so equal inputs are
    computed in the same way. Code that is compiled, traced or transformed must not use it: see ``automatic``. ``hooks``
    are those on saved tensors of a network that runs everything again in the backward pass.

    Attributes:
        notes: the record of each layer's last call, by the identity of its weights.
        gains: whether kernels may help a layer for some inputs, by the form of its call; a form without kernels is not
            examined again.
    """

    def __init__(self, always: bool, hooks: Any = None) -> None:
        super().__init__()
        self._hooks = hooks
        self.notes: dict[int, Note] = {}
        self._supports = Supports()
        self._always = always
        self._grad = torch.is_grad_enabled()
        self.gains = False

    def asks(self) -> Supports | None:
        """Return the object that collects where spikes have a slope; None if no layer would use it."""
        asks = self._grad and objection_within_networks(self._grad, self._hooks) is None
        return self._supports if asks else None

    def __reduce__(self) -> Any:
        return Automatic, (self._always,)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute a layer by kernels, or call the original function."""
        if not torch.compiler.is_compiling():
            out = None
            if (read := _LAYERS.get(func)) is not None:
                out = self._run(read, args, kwargs or {})
            elif (pool := _POOLS.get(func)) is not None:
                out = self._pooled(pool, args, kwargs or {})
            if out is not None:
                return out
        return func(*args, **kwargs) if kwargs else func(*args)

    def _run(self, read: Callable[..., Layer | None], args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
        """Return the outputs of a layer; None if torch has to compute them."""
        try:
            layer = read(*args, **{_NAMES.get(name, name): value for name, value in kwargs.items()})
        except (TypeError, AttributeError):  # for torch to complain about
            return None
        if layer is None:
            return None
        decision = self._decide(layer)
        out = run(layer, decision.events, decision.wanted) if decision.runs else None
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        self.notes[id(weight)] = _note(layer, decision, out)
        return out

    def _pooled(self, pool: Callable[..., Tensor | None], args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
        """Return the outputs of a pool; None if torch has to compute them."""
        named = {_NAMES.get(name, name): value for name, value in kwargs.items()}
        x = args[0] if args else named.get("x")
        self.gains = self.gains or (isinstance(x, Tensor) and x.numel() >= LEAST)
        if objection_within_networks(self._grad, self._hooks) is not None:
            return None
        try:
            out = pool(*args, **named)
        except (TypeError, AttributeError):  # for torch to complain about
            return None
        # the hooks would run the network again, for the places that the pool has saved
        if out is not None and x is not None and out.requires_grad and self._hooks is None:
            support = self._supports.of(x)
            pooled = None if support is None else pooled_support(out, support)
            if pooled is not None:
                self._supports.note(out, pooled)
        return out

    def _decide(self, layer: Layer) -> _Decision:
        """Return how a layer is computed."""
        passing = objection_within_networks(self._grad, self._hooks)
        self.gains = self.gains or self._always or passing is not None or may_gain(layer)
        reason = passing or choose(layer)
        if reason is not None:
            return _Decision(reason, None, runs=False)
        shape, size = layer.shape, layer.x.numel()
        wanted = self._wanted(layer, shape)
        most = size if self._always else most_events(shape)
        if most and (events := marked(layer, most)) is not None:
            # values other than one need lists besides the saved input, and more time
            if self._always or events.graded is None or 2 * events.number <= most:
                return _Decision(None, events, runs=True, wanted=wanted)
            most //= 2
        reason = (
            f"has more than {most / size:.0%} inputs that are not zero"
            if most
            else "is too small for skipping zeros to pay"
        )
        runs = (layer.of_input and has_few_channels(shape)) or (layer.of_weight and has_few_outputs(shape))
        return _Decision(reason, None, runs=runs or wanted is not None, wanted=wanted)

    def _wanted(self, layer: Layer, shape: Shape) -> Events | None:
        """Return where the gradient of the input is wanted, if the places are so few that kernels are faster."""
        support = self._supports.of(layer.x) if layer.of_input else None
        most = layer.x.numel() if self._always else most_sampled(shape)
        return marked_support(layer, support, most) if support is not None and most else None


def may_gain(layer: Layer) -> bool:
    """Return True if kernels may help a layer for some inputs, outside of checkpoints and similar contexts."""
    if layer.weight.dtype != torch.float32 or layer.weight.device != HOST:
        return False
    if layer.operation.misfit(layer.x, layer.weight) is not None:
        return False
    shape = layer.shape
    of_input = layer.of_input and (most_sampled(shape) > 0 or has_few_channels(shape))
    return most_events(shape) > 0 or of_input or (layer.of_weight and has_few_outputs(shape))


def _note(layer: Layer, decision: _Decision, out: Tensor | None) -> Note:
    events, shape = decision.events, tuple(layer.weight.shape)
    wanted = None if decision.wanted is None else decision.wanted.number
    if events is None:
        return Note(shape, decision.reason, layer.x.numel(), None, None, wanted)
    kept = out is not None and out.grad_fn is not None and events.graded is None
    return Note(shape, None, layer.x.numel(), events.number, events.bits.nbytes if kept else None, wanted)


# torch's names of the arguments, and the names here
_NAMES = {"input": "x"}


def automatic(
    wanted: Literal["auto", "off", "on"], modules: Iterable[nn.Module], hooks: Any = None
) -> Automatic | None:
    """Return the mode for a call of a network; None if torch computes all layers.

    Torch computes them if another mode watches the call. It also does so in a network with torch's attention, which
    runs other code under any mode and masks padding differently. This is not called if the call is compiled, traced or
    transformed. Layers skip zeros where it is faster ("auto"), never ("off"), or wherever there are kernels ("on").
    """
    if wanted == "off":
        return None
    for place in range(number_of_function_modes()):
        if not isinstance(function_mode_at(place), DeviceContext | NetworkMode):
            return None
    for module in modules:
        if isinstance(module, _ATTENTION):
            return None
    return Automatic(wanted == "on", hooks)
