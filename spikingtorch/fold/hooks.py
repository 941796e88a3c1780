"""Hooks on the modules of a network, and which of them allow a fold."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.passed_init import InitHook

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def computed_attributes(module: nn.Module) -> set[str]:
    """Return the attributes that torch's own hooks compute before each call, such as the weight of weight_norm."""
    hooks = [hook for hook in vars(module)["_forward_pre_hooks"].values() if _is_torchs(hook)]
    return {str(getattr(hook, "name", None) or getattr(hook, "_tensor_name", "")) for hook in hooks}


def objection_to_hooks(module: nn.Module, allows_looking: bool) -> bool:
    """Return True if hooks of a module prevent folding."""
    for name in HOOKS:
        for hook in getattr(module, name, {}).values():
            computes = name == "_forward_pre_hooks" and (_is_torchs(hook) or isinstance(hook, InitHook))
            if not (computes or (name == "_forward_hooks" and allows_looking)):
                return True
    return False


class only_looking:  # noqa: N801
    """A context in which a forward hook that returns something ends the fold."""

    def __init__(self, modules: Iterable[nn.Module], fold: FoldToken) -> None:
        self._fold = fold
        self._found = [(hooks, dict(hooks)) for module in modules if (hooks := getattr(module, "_forward_hooks", None))]

    def __enter__(self) -> None:
        for hooks, before in self._found:
            hooks.update({key: _checked(hook, self._fold) for key, hook in before.items()})

    def __exit__(self, *error: object) -> None:
        self.put_back()

    def put_back(self) -> None:
        """Restore the original hooks, except those that were removed meanwhile."""
        for hooks, before in self._found:
            hooks.update({key: hook for key, hook in before.items() if key in hooks})


def _checked(hook: Callable[..., Any], fold: FoldToken) -> Callable[..., None]:
    def look(*args: Any, **kwargs: Any) -> None:
        if hook(*args, **kwargs) is not None:
            fold.refuse(
                "has a forward hook that returns something, which hooks='sequence' takes for one that only looks"
            )

    return look


def _is_torchs(hook: object) -> bool:
    return type(hook).__module__.startswith("torch.nn.utils.")
