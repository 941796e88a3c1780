"""Trace: the record of all torch operations of a network in one step of a small batch.

A copy of the network runs on a few random samples. Its spiking layers are known to keep samples and steps apart, so the
trace replaces them by sources of new tensors. Between them, the trace notes each operation, its arguments, its results,
and the line of the user's code. Actions that no list of operations can show raise ``Objection``, for example Python
code that reads the value of a tensor.
"""

import contextlib
import hashlib
import linecache
import os
import sys
import weakref
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from traceback import walk_stack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch.functional.core.modes import HOST, DispatchMode, Modes
from spikingtorch.functional.core.surroundings import random_state
from spikingtorch.functional.core.torch_private import top_saving_hooks
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.fold_token import FoldError

# names of operations that are no torch functions: a spiking layer, its parameters, batch norm, the network's output
LAYER, PARAMETERS, BATCH_NORM, RETURNED = "a spiking layer", "the parameters of", "batch norm", "the output"
BACKWARD, GRADIENTS = "a backward pass", "the gradients of"
_LIMIT = 50_000  # operations
_BLANK = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"}
# the folders of library code, which the user has not written
_FOLDERS = [str(folder) + os.sep for folder in (Path(torch.__file__).parent, Path(__file__).parents[1])]
LIBRARIES = (*_FOLDERS, contextlib.__file__, "<frozen")
_is_of_a_library = lru_cache(maxsize=1024)(lambda file: file.startswith(LIBRARIES))


class Objection(FoldError):  # noqa: N818
    """An operation mixes samples or steps, or possibly mixes them."""


@dataclass(frozen=True, slots=True, eq=False)
class TracedTensor:
    """The properties of a tensor of a trace; the tensor itself is not kept."""

    number: int | None  # of the tensor in the trace; None if it existed before
    shape: tuple[Any, ...]
    storage: int  # of its memory
    dtype: torch.dtype
    strides: tuple[Any, ...] = ()  # empty if its layout has no strides
    constant: object = None  # identifies a tensor that existed before: its name in the network, or its content


class TracedCall(NamedTuple):
    """One operation of a trace."""

    func: Any  # the operation; a text if it is no torch operation
    given: Any  # its arguments by name, with tensors as ``TracedTensor``
    made: Any  # what came out
    place: tuple[str, int]  # the user's line
    records: bool  # whether gradients are recorded

    @property
    def name(self) -> str:
        """The name of the operation for messages."""
        name = self.func if isinstance(self.func, str) else self.func._opname
        line = linecache.getline(*self.place).strip()
        where = f", line {self.place[1]} of {Path(self.place[0]).name}" if self.place[1] else ""
        return f"{name}{where}{f': {line}' if line else ''}"


class Trace(DispatchMode):
    """The operations that run within it; ``taught`` names operations for which the user has given rules."""

    computes = True  # whether tensors hold what operations make

    def __init__(self, device: torch.device, taught: Container[str] = ()) -> None:
        super().__init__()
        self.refusal: Objection | None = None  # the first one, kept because the network may catch it
        self.calls: list[TracedCall] = []
        self.asks = False  # whether the user's code has asked for a size
        self.statistics: set[int] = set()  # memory of the running statistics that are updated at each step
        self.names: Mapping[int, str] = {}  # of the network's tensors, by identity
        self.buffers: dict[int, str] = {}  # names of the running means of modules, by identity
        self._constants: dict[int, object] = {}
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._memory: set[int] = set()  # memory of the tensors that operations have made
        self._owned: dict[int, str] = {}  # memory that outlives the step, and its owner
        self._blank: set[int] = set()  # memory that has not been written yet
        self.is_quiet = False  # whether noting is switched off at the moment
        self.device, self._taught = device, taught
        self._seed = self._random_state()

    @contextlib.contextmanager
    def looks_away(self, draws: bool = True) -> Iterator[None]:
        """Return a context in which nothing is noted; with ``draws``, code inside it may draw random numbers."""
        if draws:
            self._check_seed()
        before, modes, self.is_quiet = self.is_quiet, Modes.now(), True
        functions = [each for each in modes.functions if getattr(each, "trace", None) is not self]
        modes._replace(functions=functions, dispatch=modes.dispatch[:-1]).put_back()
        try:
            yield
        finally:
            modes.put_back()
            self.is_quiet = before
        if draws:
            self.forget_seed()

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation and return its result."""
        return func(*args, **kwargs)

    def advance(self, layer: Any, inputs: Any) -> Any:
        """Return the outputs of a layer."""
        with torch.no_grad():
            return layer._rehearse(tree_map(lambda x: x.detach().clone(), inputs))

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Return the result of batch norm."""
        return F.batch_norm(x, None, None, weight, bias, training=True)

    def add(self, func: str, given: Any, made: Any) -> None:
        """Note an operation that is no torch operation."""
        with self.looks_away(draws=False):
            self._note(func, self._noted(given), made)

    def whole(self, func: Any, *args: Any) -> Any:
        """Run a torch function that calls several operations, and note it as one operation."""
        with self.looks_away(draws=False):
            return self._noted_call(func, args, {})

    def own(self, tensor: Tensor, whose: str) -> None:
        """Note memory that the network must not write on."""
        self._owned[storage_of(tensor)] = whose

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "prim" or (func._opname == "as_strided_" and _stays(*args, **(kwargs or {}))):
            return func(*args, **(kwargs or {}))
        before, self.is_quiet = self.is_quiet, True  # these operations do not belong to the network
        try:
            return self._noted_call(func, args, kwargs or {})
        except Objection as objection:
            self.refusal = self.refusal or objection
            raise
        finally:
            self.is_quiet = before

    def _noted_call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        self._check_kind(func)
        self._check_values(func, args)
        draws = torch.Tag.nondeterministic_seeded in func.tags
        if draws:
            self._check_seed()
            self._check_generator(args, kwargs)
        given = self._noted(by_name(func, args, kwargs))
        if self.computes:
            self._check_memory(func, given)
        try:
            out = self.run(func, args, kwargs)
        except FoldError:
            raise
        except Exception as error:
            raise Objection(f"fails in {called(func)} ({error})".splitlines()[0]) from error
        if draws:
            self.forget_seed()
        if func._opname in _BLANK:
            self._blank.add(storage_of(out))
        if len(self.calls) >= _LIMIT:
            raise Objection(f"does more than {_LIMIT} operations in a step, too many to look through")
        self._note(func, given, out)
        return out

    def _note(self, func: Any, given: Any, made: Any) -> None:
        for x in leaves_of(made):
            if isinstance(x, Tensor) and id(x) not in self._numbers:
                self._alive.append(x)
                self._numbers[id(x)] = len(self._numbers)
                if storage_of(x) not in self._owned:
                    self._memory.add(storage_of(x))
        self.calls.append(TracedCall(func, given, self._noted(made), _place(), torch.is_grad_enabled()))

    def _noted(self, tree: Any) -> Any:
        def note(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            self._alive.append(x)  # kept alive, so that no other tensor gets the same id
            number, storage = self._numbers.get(id(x)), storage_of(x)
            if number is None and storage in self._memory:
                raise Objection("reads memory by a tensor that no operation made")
            if number is None:
                self._owned.setdefault(storage, "a tensor that outlives the step")
            strides = x.stride() if x.layout is torch.strided else ()
            constant = self._constant(x) if number is None else None
            return TracedTensor(number, tuple(x.shape), storage, x.dtype, strides, constant)

        return tree_map(note, tree)

    def _constant(self, x: Tensor) -> object:
        """Return what identifies a tensor that no operation made, such as a weight or torch.tensor(...)."""
        if id(x) not in self._constants:
            self._constants[id(x)] = self.names.get(id(x)) or _content(x)
        return self._constants[id(x)]

    def _check_kind(self, func: Any) -> None:
        """Raise if an operation is unknown, or if hooks of the user change the tensors that autograd saves."""
        names = str(func), str(func.overloadpacket)
        own = func.namespace not in ("aten", "prims") and torch.Tag.pointwise not in func.tags
        if own and not any(name in self._taught for name in names):
            raise unknown(func, called(func))
        hooks = top_saving_hooks(True)
        if hooks is not None and not str(getattr(hooks[0], "__module__", "")).startswith(("torch.", "spikingtorch.")):
            raise Objection(
                "changes what autograd saves, by torch.autograd.graph.saved_tensors_hooks", "leave them out"
            )

    def _check_values(self, func: Any, args: Any) -> None:
        """Raise if an operation passes values of tensors to Python, as a number or as a size."""
        sizes = torch.Tag.dynamic_output_shape in func.tags
        if sizes and func._opname == "index":  # for an index of integers, the size is known
            sizes = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if sizes or torch.Tag.data_dependent_output in func.tags:
            if (made := _in_the_making()) is not None:
                raise Objection(
                    f"makes a {made} while it runs: each step has a new one, which remembers nothing",
                    f"make the {made} in __init__, and call it in forward",
                )
            raise Objection(
                f"reads the value of a tensor, with .item(), float(), in a condition or as a size ({called(func)})",
                "compute with tensors, for instance with torch.where in place of a condition",
            )

    def _random_state(self) -> bytes:
        with self.looks_away(draws=False):
            return b"".join([state.numpy().tobytes() for state in random_state(self.device)])

    def forget_seed(self) -> None:
        """Take the current random state as the expected one, because other code has drawn."""
        self._seed = self._random_state()

    def _check_seed(self) -> None:
        if self._random_state() != self._seed:
            raise Objection("sets the seed of its random numbers anew", "set seeds outside of the network")

    def _check_generator(self, args: Any, kwargs: Any) -> None:
        leaves = leaves_of((args, kwargs))
        devices = {leaf.type for leaf in leaves if isinstance(leaf, torch.device)}
        devices |= {leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)}
        if any(isinstance(leaf, torch.Generator) for leaf in leaves) or devices - {self.device.type, HOST.type}:
            raise Objection(
                "may draw random numbers from a generator that the trace cannot see", "draw from torch's own generator"
            )

    def _check_memory(self, func: Any, given: dict[str, Any]) -> None:
        """Raise if an operation writes on memory that outlives the step, or reads memory that was not written."""
        tensors = noted_in([given[name] for name in written_by(func)])
        for tensor in tensors:
            if tensor.storage in self._owned:
                whose = self._owned[tensor.storage]
                raise Objection(f"writes on {whose} in place ({called(func)})", "make a new tensor in its place")
            if any(size > 1 and not step for size, step in zip(tensor.shape, tensor.strides, strict=True)):
                raise Objection("writes on a tensor that was expanded", "make a copy of it first, with clone")
        trains = given.get("training", given.get("train", True))
        if trains and func._opname in ("native_batch_norm", "cudnn_batch_norm", "_batch_norm_with_update"):
            statistics = noted_in([given["running_mean"], given["running_var"]])
            if any(each.number is None or each.strides != (1,) for each in statistics):
                raise Objection(
                    "updates running statistics in a call that cannot be folded",
                    "call torch.nn.functional.batch_norm, which takes the statistics of each step",
                )
        written, touched = ({tensor.storage for tensor in each} for each in (tensors, noted_in(given)))
        is_view = any(each.alias_info is not None for each in func._schema.returns)
        if not is_view and self._blank & touched - written:
            raise Objection("reads memory that, as far as the trace shows, it has not written")
        self._blank -= written


def unknown(func: Any, name: str) -> Objection:
    """Return the objection to an operation without a rule."""
    return Objection(
        f"runs an operation that is not known to keep samples apart ({name})",
        f"if it does, say so: SpikingNet(..., fold_rules={{torch.ops.{func.overloadpacket}: 'rows'}})",
    )


def called(func: Any) -> str:
    """Return the name of an operation for messages, with the running line of the user's code."""
    return TracedCall(func, (), (), _place(), records=True).name


def noted_in(tree: Any) -> list[TracedTensor]:
    """Return the ``TracedTensor`` tensors of a tree."""
    return [x for x in leaves_of(tree) if isinstance(x, TracedTensor)]


def written_by(func: Any) -> list[str]:
    """Return the names of the arguments that an operation writes on."""
    return [each.name for each in func._schema.arguments if each.alias_info is not None and each.alias_info.is_write]


def by_name(func: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments by their names, in the order of the schema."""
    arguments = func._schema.arguments
    by_place = {argument.name: value for argument, value in zip(arguments, args, strict=False)}
    return {argument.name: argument.default_value for argument in arguments} | by_place | kwargs


def _stays(x: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> bool:
    """Return True if these strides change nothing in a tensor; torch's pooling sets strides in this way."""
    moved = [n for n, a, b in zip(x.shape, x.stride(), stride, strict=False) if a != b and n != 1]
    return (*size,) == x.shape and not moved and storage_offset in (None, x.storage_offset())


def storage_of(tensor: Tensor) -> int:
    """Return the identity of a tensor's memory."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except NotImplementedError:  # a layout without
        return id(tensor)


def _content(x: Tensor) -> object:
    """Return a short key for the content of a tensor; for a tensor without its own memory, its id."""
    try:
        content = x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    except (RuntimeError, NotImplementedError, TypeError):
        return (weakref.ref(x),)
    return x.shape, x.dtype, hashlib.blake2b(content).digest()


def _in_the_making() -> str | None:
    """Return the name of the class whose ``__init__`` is running, or None."""
    made = (
        frame.f_locals.get("self") for frame, _ in walk_stack(sys._getframe()) if frame.f_code.co_name == "__init__"
    )
    return next((type(each).__name__ for each in made if isinstance(each, nn.Module)), None)


def _place() -> tuple[str, int]:
    """Return the file and the number of the running line of the user's code."""
    frame: Any = sys._getframe()
    while frame is not None and _is_of_a_library(frame.f_code.co_filename):
        frame = frame.f_back
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
