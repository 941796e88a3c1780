"""Watch: what a network asks of torch that could tell steps apart, while a probe runs it."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from spikingtorch.folding import FoldError

_READS = ("_local_scalar_dense", "equal", "is_nonzero")
_LEAVES_TORCH = ("numpy", "tolist", "__array__")
# what is drawn one value an element, and the value that stands for all of them
_CONSTANT = {
    "rand": 0.5,
    "rand_like": 0.5,
    "randn": 0.5,
    "randn_like": 0.5,
    "uniform_": 0.5,
    "normal_": 0.5,
    "exponential_": 0.5,
    "bernoulli_": 1.0,
}


class Watch:
    """Raise ``FoldError`` at what cannot be folded, and give random numbers a fixed value, so that runs compare.

    Dropout and noise fold if they are drawn for each sample: the first axis of what is drawn is the batch.

    Args:
        batch: the size of the batch.
        reads: whether the values of tensors may be read; what depends on them cannot be folded.
    """

    def __init__(self, batch: int, *, reads: bool) -> None:
        self._modes: tuple[Any, ...] = (_Operations(batch, reads), *(() if reads else (_Functions(),)))

    def __enter__(self) -> None:
        for mode in self._modes:
            mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, batch: int, reads: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch = batch
        self.reads = reads

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # the wrapper that it asks for imports the whole compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.reads and func._opname in _READS:
            raise FoldError("reads the value of a tensor, with .item(), float() or in a condition")
        out = func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return out
        drawn = out[0] if isinstance(out, tuple) else out
        if not isinstance(drawn, Tensor) or drawn.shape[:1] != (self.batch,):
            raise FoldError("draws random numbers that all samples share, which would be one draw for all steps")
        return _fixed(func._opname, args, out)


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _LEAVES_TORCH:
            raise FoldError(f"leaves torch, with {func.__name__}, where nobody can see what it does with the steps")
        return func(*args, **(kwargs or {}))


def _fixed(name: str, args: Any, out: Any) -> Any:
    """Return a fixed result of an operation that draws random numbers; it depends on what the draw depends on."""
    if name in _CONSTANT:
        return out.fill_(_CONSTANT[name])
    if name == "bernoulli" and len(args) == 1:
        return args[0].round()
    if name == "native_dropout":
        return args[0].clone(), torch.ones_like(out[1])
    raise FoldError(f"draws random numbers with aten.{name}")
