"""Watch: what a network asks of torch that could tell steps apart, while a probe runs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikingtorch.fold import rng
from spikingtorch.layers.fold_token import FoldError

_LEAVES_TORCH = ("numpy", "tolist", "__array__", "__dlpack__")


class Draw(NamedTuple):
    """A call of an operation that can draw random numbers.

    Attributes:
        name: of the operation.
        given: the tensors that it was given.
        drawn: what came out.
        drew: whether its generator has moved on; attention draws for its dropout alone.
    """

    name: str
    given: list[Tensor]
    drawn: list[Tensor]
    drew: bool


class Watch:
    """Raises ``FoldError`` at what cannot be folded, and keeps the random numbers that are drawn.

    Dropout and noise fold if they are drawn for each sample: the first axis of what is drawn is the batch.

    Args:
        batch: the size of the batch.
        replayed: the draws of all steps, for a folded run: it is given these, and may not read the values of tensors,
            since what depends on them cannot be folded.
    """

    def __init__(self, batch: int, replayed: list[list[Draw]] | None = None) -> None:
        self.steps: list[list[Draw]] = [[]]
        # of each draw of a folded run, what it was given, and what the same draw of each step was given
        self.given: list[tuple[list[Tensor], list[list[Tensor]]]] = []
        self._states: set[bytes] = set()
        self._batch = batch
        self._replayed = replayed
        self._operations = _Operations(self)
        self._modes: tuple[Any, ...] = (self._operations, *(() if replayed is None else (_Functions(),)))

    def __enter__(self) -> "Watch":
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def next_step(self) -> None:
        """Begin a new step."""
        self.steps.append([])

    @contextmanager
    def looks_away(self) -> Iterator[None]:
        """Within it, whatever happens is not the network's doing."""
        self._operations.watch = None
        try:
            yield
        finally:
            self._operations.watch = self

    def check(self, func: Any, args: Any) -> None:
        """Raise where an operation hands values of tensors to Python, as a number or as a size."""
        if self._replayed is None:
            return
        sizes = torch.Tag.dynamic_output_shape in func.tags
        if sizes and func._opname == "index":  # by numbers, the size is known
            sizes = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if sizes or torch.Tag.data_dependent_output in func.tags:
            raise FoldError("reads the value of a tensor, with .item(), float(), in a condition or as a size")

    def keep(self, func: Any, args: Any, kwargs: Any, state: bytes | None, out: Any) -> Any:
        """Keep a draw, or return the one that a folded run is to have in its place.

        Args:
            func: the operation.
            args: its arguments; so are kwargs.
            kwargs: by name.
            state: of its generator before it ran; None if it has not moved on.
            out: what came out.
        """
        own = args[1:] if func._schema.is_mutable else args
        given = [leaf.clone() for leaf in pytree.tree_leaves((own, kwargs)) if isinstance(leaf, Tensor)]
        drawn = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
        draw = Draw(func._opname, given, drawn, state is not None)
        if self._replayed is not None:
            self._replay(draw, self._replayed)
            return out
        if state is not None:
            self._check_samples(draw)
            if state in self._states:
                raise FoldError("sets the seed of its random numbers anew")
            self._states.add(state)
        self.steps[-1].append(draw._replace(drawn=[tensor.clone() for tensor in draw.drawn]))
        return out

    def _check_samples(self, draw: Draw) -> None:
        if not draw.drawn or any(tensor.shape[:1] != (self._batch,) for tensor in draw.drawn):
            raise FoldError("draws random numbers that all samples share, which would be one draw for all steps")

    def _replay(self, draw: Draw, replayed: list[list[Draw]]) -> None:
        """Write what was drawn step by step in place of what was drawn at once."""
        index = len(self.given)
        steps = [step[index] for step in replayed if index < len(step)]
        if len(steps) != len(replayed) or any(step.name != draw.name for step in steps):
            raise FoldError("draws other random numbers with all steps at once")
        if not any(each.drew for each in (draw, *steps)):
            self.given.append(([], []))
            return
        self.given.append((draw.given, [step.given for step in steps]))
        self._check_samples(draw)
        for tensor, parts in zip(draw.drawn, zip(*(step.drawn for step in steps), strict=True), strict=True):
            whole = torch.stack(parts, 1).flatten(0, 1)
            if whole.shape != tensor.shape:
                raise FoldError("draws random numbers of another shape with all steps at once")
            tensor.copy_(whole)


class _Operations(TorchDispatchMode):
    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch: Watch | None = watch

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # the wrapper that it asks for imports the whole compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.watch is None:
            return func(*args, **kwargs)
        self.watch.check(func, args)
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        state = rng.generator_state((args, kwargs))
        if state is None:
            raise FoldError("may draw random numbers from a generator that is not in sight")
        out = func(*args, **kwargs)
        after = rng.generator_state((args, kwargs))
        return self.watch.keep(func, args, kwargs, None if after == state else state, out)


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _LEAVES_TORCH:
            raise FoldError(f"leaves torch, with {func.__name__}, where nobody can see what it does with the steps")
        return func(*args, **(kwargs or {}))
