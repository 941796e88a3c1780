"""The calls of one step of a network, recorded while it runs: modules, and the functions between them."""

import linecache
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spikingtorch.functional.core.torch_private import (
    function_mode_at,
    number_of_function_modes,
    pop_function_mode,
    push_function_mode,
)
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.dropout import SequenceDropout

_LIBRARIES = str(Path(torch.__file__).parent), str(Path(__file__).parents[1])
# in evaluation, they pass their input on
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, SequenceDropout)
_COPIES = ("contiguous", "clone", "detach", "data", "to", "float", "double")
_FLATTENING = ("flatten", "view", "reshape", "view_as", "reshape_as")
_READING = ("item", "tolist", "numpy", "bool", "float", "int", "index", "equal", "allclose", "is_nonzero")


class Call(NamedTuple):
    """A call of a module, or of a function between modules."""

    path: str  # of the module in the network, or the name of the function
    module: nn.Module | None  # None for a function that no module stands for
    # for each floating input, the indices of the calls whose outputs sum to it; -1 is the input of the network. It is
    # empty if the input does not come from there, or was written on since
    given: tuple[tuple[int, ...], ...]
    x: Any  # the first floating input
    out: Any  # what the call returned
    line: str = ""  # where a function was called, for messages

    @property
    def sources(self) -> tuple[int, ...]:
        """The calls whose outputs sum to the only input; empty if there are several inputs."""
        return self.given[0] if len(self.given) == 1 else ()

    @property
    def before(self) -> tuple[int, ...]:
        """Shape of the input for a sample."""
        return tuple(self.x.shape[1:])

    @property
    def after(self) -> tuple[int, ...]:
        """Shape of the output for a sample; empty if it is no tensor."""
        return tuple(self.out.shape[1:]) if isinstance(self.out, Tensor) else ()


class StepGraph(NamedTuple):
    """The calls of a step, in their order."""

    calls: list[Call]
    result: tuple[int, ...]  # the calls whose outputs sum to the output of the network, as ``given`` of a call
    x: Any  # the input of the network
    out: Any  # its output
    reads: list[str]  # where code has read numbers out of tensors, with which it may branch

    @property
    def form(self) -> Any:
        """The calls and their sources: the same at each step, unless code keeps something from step to step."""
        return [(call.path, call.given) for call in self.calls], self.result


def record(net: nn.Module, run: Callable[[], Any]) -> list[StepGraph]:
    """Return the calls of each step.

    Modules of torch and layers of this library are calls. Other modules are looked into: the functions of torch that
    they call are calls as well, and so are those that hooks call. There are no calls for sums ``a + b`` of one shape,
    nor for what passes its input on in evaluation, such as dropout. The functions ``flatten`` and ``avg_pool2d`` become
    calls of their modules.

    Args:
        net: what is recorded, in evaluation; it needs no gradients.
        run: calls it once a step, outside of inference mode.
    """
    recorder = _Recorder()
    hooks: list[Any] = [net.register_forward_pre_hook(recorder.start, with_kwargs=True, prepend=True)]
    # a module with two paths has the first one
    for module, path in {module: path for path, module in reversed([*_leaves("", net)])}.items():
        hooks.append(module.register_forward_pre_hook(recorder.enter, with_kwargs=True))
        hooks.append(module.register_forward_hook(partial(recorder.leave, path), prepend=True))
    hooks.append(net.register_forward_hook(recorder.end))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
        recorder.pause()
    return recorder.steps


def _leaves(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules whose inside is not looked into, by their paths."""
    parts = [(name, part) for name, part in module.named_children() if name != "parametrizations"]
    home = str(getattr(getattr(module.forward, "__func__", None), "__module__", ""))
    known = home.startswith("spikingtorch.") and not parts
    holds = isinstance(module, nn.Sequential) or type(module).forward is nn.Module.forward
    known |= home.startswith(("torch.nn.", "torch.jit.")) and not holds
    if known or isinstance(module, StatefulLayer):
        yield path, module
        return
    for name, part in parts:
        yield from _leaves(f"{path}.{name}" if path else name, part)


class _Recorder(TorchFunctionMode):
    """Knows of each tensor which calls it comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[StepGraph] = []
        self._begin()

    def _begin(self) -> None:
        self.calls: list[Call] = []
        self.reads: list[str] = []
        self.x: Any = None
        # of the modules that run: the first input, and the sources of all; the outermost one is a call
        self._running: list[tuple[Any, tuple[tuple[int, ...], ...]]] = []
        # by id: the tensor, its version, and the calls whose outputs sum to it
        self._known: dict[int, tuple[Tensor, int, tuple[int, ...]]] = {}
        # by the address of memory: the tensors of both sides of a ``.data``, which count their writes apart
        self._apart: dict[int, list[tuple[Tensor, int]]] = {}

    def sources_of(self, tensor: Tensor) -> tuple[int, ...] | None:
        """Return the calls whose outputs sum to a tensor; None if it does not come from the input as it is."""
        _, version, sources = self._known.get(id(tensor), (None, -1, None))
        if sources is None or tensor._version != version:
            return None
        apart = self._apart.get(tensor.untyped_storage().data_ptr(), ()) if self._apart else ()
        return sources if all(each._version == version for each, version in apart) else None

    def pause(self) -> None:
        """Watch functions no longer; this is the innermost mode."""
        number = number_of_function_modes()
        if number > 0 and function_mode_at(number - 1) is self:
            pop_function_mode()

    def start(self, _net: nn.Module, args: Any, kwargs: Any) -> None:
        self._begin()
        inputs = _floating(args, kwargs)
        self.x = inputs[0] if inputs else None
        self._know(inputs[:1], (-1,))
        push_function_mode(self)

    def end(self, _net: nn.Module, _args: Any, out: Any) -> None:
        self.pause()
        result = self.sources_of(out) if isinstance(out, Tensor) else None
        self.steps.append(StepGraph(self.calls, result or (), self.x, out, self.reads))

    def enter(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        inputs = _floating(args, kwargs)
        # read before the module, which may write on them
        given = tuple(self.sources_of(each) or () for each in inputs)
        self._running.append((inputs[0] if inputs else None, given))

    def leave(self, path: str, module: nn.Module, _args: Any, out: Any) -> None:
        x, given = self._running.pop()
        if self._running:
            return
        if isinstance(module, _PASSING) and len(given) == 1 and given[0]:
            self._know([out], given[0])
        else:
            self._add(Call(path, module, given, x, out))

    def _add(self, call: Call) -> None:
        self.calls.append(call)
        self._know(leaves_of(call.out), (len(self.calls) - 1,))

    def _know(self, tensors: Any, sources: tuple[int, ...]) -> None:
        for each in tensors:
            if isinstance(each, Tensor) and not each.is_inference():  # which counts no writes
                self._known[id(each)] = each, each._version, sources

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function between modules, and record it."""
        kwargs = kwargs or {}
        if self._running:
            return func(*args, **kwargs)
        tensors = [each for each in leaves_of((args, kwargs)) if isinstance(each, Tensor)]
        # read before the function, which may write on them
        given = [(each, sources) for each in tensors if (sources := self.sources_of(each))]
        out = func(*args, **kwargs)
        if given:
            self._function(func, args, kwargs, given, out)
        return out

    def _function(self, func: Any, args: Any, kwargs: Any, given: Any, out: Any) -> None:
        name = func.__name__ if func.__name__ != "__get__" else func.__self__.__name__
        plain, (x, sources) = name.strip("_"), given[0]
        name = plain if name.startswith("__") else name
        if plain == "data":
            self._apart.setdefault(x.untyped_storage().data_ptr(), []).extend([(x, x._version), (out, out._version)])
        if plain == "set":  # of an attribute of a tensor, such as ``.data``
            self._known.pop(id(args[0]), None)
        elif not any(isinstance(leaf, Tensor) for leaf in leaves_of(out)):
            self.reads += [_line()] if plain in _READING else []
        elif (terms := _terms(plain, args, kwargs, given, out)) is not None:
            self._know([out], terms)
        elif not isinstance(out, Tensor) or self.sources_of(out) is None or out is not x:
            alone = len(given) == 1 or plain in _FLATTENING
            if alone and _passes(plain, args, kwargs, x, out):
                self._know([out], sources)
            else:
                module = _module_of(plain, func, args, kwargs, x, out) if alone else None
                self._add(Call(name, module, tuple(each for _, each in given), x, out, _line()))


def _passes(name: str, args: Any, kwargs: Any, x: Tensor, out: Any) -> bool:
    """Return whether a function returns its input as it is, of one shape and dtype."""
    if not isinstance(out, Tensor) or out.shape != x.shape or out.dtype != x.dtype:
        return False
    off = "dropout" in name and kwargs.get("training", args[2] if len(args) > 2 else True) is False
    return off or name in _COPIES or _is_reshaped(name, x, out)


def _is_reshaped(name: str, x: Tensor, out: Tensor) -> bool:
    """Return whether a tensor holds the numbers of another one in the same order, by name or because it is a view."""
    whole = x.is_contiguous() and out.is_contiguous() and x.numel() == out.numel() and x.dtype == out.dtype
    return name in _FLATTENING or (whole and out is not x and x.data_ptr() == out.data_ptr())


def _floating(args: Any, kwargs: Any) -> list[Tensor]:
    """Return the inputs of a module; ``init`` is none of them."""
    return [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor) and each.dtype != torch.bool]


def _terms(name: str, args: Any, kwargs: Any, given: Any, out: Any) -> tuple[int, ...] | None:
    """Return the calls that a sum adds; None if a function is no sum of two values of one shape."""
    if name not in ("add", "radd", "iadd") or len(args) != 2 or kwargs.get("alpha", 1) != 1:
        return None
    if len(given) == 1:  # sum([a, b]) begins at 0
        return given[0][1] if any(type(each) is int and each == 0 for each in args) else None
    same = all(each.shape == out.shape and each.dtype == out.dtype for each, _ in given)
    return given[0][1] + given[1][1] if same else None


def _module_of(name: str, func: Any, args: Any, kwargs: Any, x: Tensor, out: Any) -> nn.Module | None:
    """Return the module that computes what a function does, if there is one."""
    if func is nn.functional.avg_pool2d:
        return nn.AvgPool2d(*args[1:], **{key: value for key, value in kwargs.items() if key != "input"})
    if not isinstance(out, Tensor) or out.ndim == 0 or len(out) != len(x) or not _is_reshaped(name, x, out):
        return None
    before, after = x.shape, out.shape
    kept = out.ndim - 1
    flat = 1 <= kept < x.ndim and before[:kept] == after[:kept]
    return nn.Flatten(kept) if flat else None


def _line() -> str:
    """Return the line of the user's code that runs, for messages."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    if frame is None:
        return ""
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f'File "{file}", line {number}, in {frame.f_code.co_name}: {linecache.getline(file, number).strip()}'
