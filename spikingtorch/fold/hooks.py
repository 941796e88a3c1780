"""Hooks on the modules of a network, and which of them allow a fold.

A hook may do something at each step, so a network with hooks steps. Hooks that torch itself puts on modules are known:
by the module of torch that defines them, which says what they do.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from spikingtorch.functional.core.bytecode import cells_of
from spikingtorch.functional.core.torch_private import mappings_of_global_hooks
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.passed_init import InitHook

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Kind(Enum):
    """The effect of a hook of torch's own, and the reason why a network with it may fold."""

    COMPUTES = "computes with operations of torch: a proof runs it and judges them like those of the network"
    MOVES = "brings weights or results from and to other processes, once a call, and changes no number of a sample"
    REPEATS = "lets a backward pass run a part of the network again, with the same results"
    LOOKS = "counts or measures the calls as they are"


_LIGHTNING = ("pytorch_lightning", "lightning.pytorch")
# the modules of torch, and of what drives it, whose hooks are known, by name or by how the name begins; the first
# that fits counts
_KNOWN: tuple[tuple[str, Kind], ...] = (
    ("torch.nn.utils.", Kind.COMPUTES),  # weight_norm, spectral_norm, prune
    ("torch.distributed.fsdp.", Kind.MOVES),  # fully_shard
    ("torch.distributed.tensor.debug.", Kind.LOOKS),  # CommDebugMode
    ("torch.distributed.tensor._api", Kind.MOVES),  # distribute_module
    ("torch.distributed.tensor.parallel.", Kind.MOVES),  # parallelize_module
    ("torch.distributed._composable.replicate", Kind.MOVES),
    ("torch.distributed._composable.checkpoint_activation", Kind.REPEATS),
    ("torch.distributed._tools.", Kind.LOOKS),  # ModTracker and MemoryTracker
    ("torch.utils.module_tracker", Kind.LOOKS),  # FlopCounterMode
    *((f"{name}.utilities.model_summary.", Kind.LOOKS) for name in _LIGHTNING),
    *((f"{name}.profilers.pytorch", Kind.LOOKS) for name in _LIGHTNING),
    *((f"{name}.wrappers", Kind.LOOKS) for name in ("lightning_fabric", "lightning.fabric")),
)


# the observers of torch.ao whose statistics are the same for all steps at once; a moving average is another one
_OBSERVERS = {f"torch.ao.quantization.observer.{name}Observer" for name in ("MinMax", "Placeholder", "Noop")}


def kind_of(hook: Any, module: Any) -> Kind | None:
    """Return what a hook of torch's own does; None for other hooks, and for those of torch that need each step.

    A hook that calls a function of the user's counts as one of the user's. A hook of all modules has no ``module``.
    """
    kinds = {_kind_of_definer(name, module) for name in _definers(hook)}
    return kinds.pop() if len(kinds) == 1 else None


def _kind_of_definer(name: str, module: Any) -> Kind | None:
    if name == "torch.ao.quantization.quantize":
        observer = type(getattr(module, "activation_post_process", None))
        return Kind.LOOKS if f"{observer.__module__}.{observer.__name__}" in _OBSERVERS else None
    return next((kind for prefix, kind in _KNOWN if name.startswith(prefix)), None)


def _definers(hook: Any) -> Iterator[str]:
    """Yield the modules that define a hook and the functions that it calls from its closure or as a partial."""
    function = getattr(hook, "__func__", hook)  # of a method
    parts = cells_of(function)
    if isinstance(function, partial):
        parts = [function.func, *function.args, *function.keywords.values()]
    else:
        yield str(function.__module__)
    for each in parts:
        yield from _definers(each) if isinstance(each, _FUNCTIONS) else ()


_FUNCTIONS = (FunctionType, MethodType, partial)


def computed_attributes(module: nn.Module) -> set[str]:
    """Return the attributes that torch's own hooks compute before each call, such as the weight of weight_norm."""
    hooks = [hook for hook in vars(module)["_forward_pre_hooks"].values() if kind_of(hook, module) is Kind.COMPUTES]
    return {str(getattr(hook, "name", None) or getattr(hook, "_tensor_name", "")) for hook in hooks}


def hooks_on(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Return the hooks on a module, each with the name of the attribute that holds it."""
    return ((name, hook) for name in HOOKS for hook in getattr(module, name, {}).values())


def objection_to_hooks(module: nn.Module, allows_looking: bool) -> bool:
    """Return True if hooks of a module prevent folding."""
    return not all(
        isinstance(hook, InitHook)
        or (kind_of(hook, module) is not None and not name.startswith("_backward"))
        or (name == "_forward_hooks" and allows_looking)
        for name, hook in hooks_on(module)
    )


def talks(modules: Iterable[nn.Module]) -> bool:
    """Return True if hooks on modules exchange something with other processes, which then have to run alike."""
    return any(kind_of(hook, module) is Kind.MOVES for module in modules for _, hook in hooks_on(module))


def is_hooked_everywhere() -> bool:
    """Return True if there are hooks of all modules that prevent folding."""
    found = mappings_of_global_hooks()
    return found != () and any(kind_of(hook, None) is not Kind.LOOKS for hooks in found for hook in hooks.values())


class only_looking:  # noqa: N801
    """A context in which a forward hook that returns something ends the fold."""

    def __init__(self, modules: Iterable[nn.Module], fold: FoldToken) -> None:
        self._fold = fold
        held = [(each, hooks) for each in modules if (hooks := getattr(each, "_forward_hooks", None))]
        self._found = [(own, {k: hook for k, hook in own.items() if kind_of(hook, each) is None}) for each, own in held]

    def __enter__(self) -> None:
        for hooks, before in self._found:
            hooks.update({key: partial(_look, hook, self._fold) for key, hook in before.items()})

    def __exit__(self, *error: object) -> None:
        self.put_back()

    def put_back(self) -> None:
        """Restore the original hooks, except those that were removed meanwhile."""
        for hooks, before in self._found:
            hooks.update({key: hook for key, hook in before.items() if key in hooks})


def _look(hook: Callable[..., Any], fold: FoldToken, *args: Any, **kwargs: Any) -> None:
    if hook(*args, **kwargs) is not None:
        fold.refuse("has a forward hook that returns something, which hooks='sequence' takes for one that only looks")
