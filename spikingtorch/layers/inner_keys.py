"""A wrapper module that does not show in a state dict: the keys are those of the inner module."""

from typing import Any, ClassVar

from torch import nn


class WithInnerKeys(nn.Module):
    """A module whose state dict has the keys of its inner module, without the name of that module.

    The parameters, buffers and submodules of the inner module are attributes of this module as well, because
    ``torch.distributed.checkpoint`` looks for them there. A state dict with the name of the inner module can be loaded
    too.
    """

    inside: ClassVar[str]

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the tensors of this module, and those of the inner module under its own keys."""
        found: Any = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        inner = f"{prefix}{self.inside}."
        for key in [key for key in found if key.startswith(inner)]:
            found[prefix + key.removeprefix(inner)] = found.pop(key)
        return found

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any, **named: Any) -> None:
        # torch passes to each child the entries that begin with its name
        has_own = type(self).get_extra_state is not nn.Module.get_extra_state
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key.removeprefix(prefix)
            if not name.startswith(f"{self.inside}.") and not (has_own and name == "_extra_state"):
                state_dict[f"{prefix}{self.inside}.{name}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)

    def __getattr__(self, name: str) -> Any:
        inner = self.__dict__.get("_modules", {}).get(self.inside)
        if inner is not None and (name in inner._parameters or name in inner._buffers or name in inner._modules):
            return getattr(inner, name)
        return super().__getattr__(name)
