"""LikeLayer: the common base of all layers of ``like``; Biased: layers whose recurrent weights may have a bias."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, ClassVar

from torch import Tensor, nn

from spikingtorch.functional import lift
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.layers.recurrent import Synapse, Weights
from spikingtorch.layers.rest import RestingLayer
from spikingtorch.layers.steplayer import WholeStep
from spikingtorch.like.options import common
from spikingtorch.like.steps.recurrent import Shifted


class LikeLayer(RestingLayer):
    """A layer that equals a neuron of another library, and loads that library's checkpoints of it.

    ``options`` are recurrent and returns, and ``**params`` have the names of the step or of the other library.
    """

    starts: ClassVar[Mapping[str, str]] = {}
    # arguments of the other library that have no meaning here, with advice on each
    reasons: ClassVar[Mapping[str, str]] = {}
    # entries of their checkpoints that a layer here does not need, such as the state of the last sequence
    left_out: ClassVar[frozenset[str]] = frozenset()
    saves_numbers: ClassVar[bool] = False  # whether their checkpoints hold numbers that are not trained

    def __init__(
        self, step: Callable[..., Any], state_type: type[Any], options: Mapping[str, Any], **params: Any
    ) -> None:
        ours = {theirs: name for name, theirs in self.attribute_names.items()}
        renamed = {ours.get(name, name): value for name, value in params.items()}
        super().__init__(step, state_type, **common(type(self).__name__, options, self.reasons), **renamed)

    def _takes(self, name: str, value: Tensor) -> bool:
        """Take an entry of their checkpoint that is not a parameter or buffer here; return whether it was taken.

        Raise ValueError if the layer cannot hold it.
        """
        if name in self.left_out:
            return True
        if name not in self._names() or not isinstance(getattr(self, name), float):
            return False
        if value.numel() != 1:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} in the checkpoint, and is a number in the layer; make it with "
                f"{name}=torch.empty{tuple(value.shape)}"
            )
        if not value.is_meta:  # which holds nothing
            setattr(self, name, float(value))
        return True

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        _, _, missing_keys, _, error_msgs = rest  # metadata and torch's strict flag come before them
        if f"{prefix}_extra_state" in state_dict:  # a checkpoint of this library
            super()._load_from_state_dict(state_dict, prefix, *rest)
            return
        left: dict[str, Any] = {}
        for key, value in state_dict.items():
            try:
                taken = key.startswith(prefix) and self._takes(key.removeprefix(prefix), value)
            except (TypeError, ValueError) as error:
                error_msgs.append(f"{prefix.removesuffix('.') or 'the layer'} ({type(self).__name__}): {error}")
                taken = True
            left |= {} if taken else {key: value}
        super()._load_from_state_dict(left, prefix, *rest)
        if not self.saves_numbers:  # both constructors take them as arguments
            constants = {f"{prefix}{name}" for name in self._buffers}
            missing_keys[:] = [name for name in missing_keys if name not in constants]

    def _note_no_constants(self, missing: list[str]) -> None:
        """Ignore missing values that the other library does not save: its constructor takes them as well."""


class Biased(LikeLayer):
    """A layer whose recurrent weights may have a bias, which the step gets by ``shift`` and adds to the input."""

    biased: ClassVar[bool] = True
    shift: ClassVar[Callable[..., Any]] = Shifted
    _has_bias = False

    def __init__(
        self, step: Callable[..., Any], state_type: type[Any], options: Mapping[str, Any], **params: Any
    ) -> None:
        self.__dict__["_has_bias"] = has_bias(options.get("recurrent"))  # before nn.Module's own constructor
        super().__init__(cached_step(self.shift, step) if self._has_bias else step, state_type, options, **params)

    def _synapse_of(self, recurrent: Weights) -> Synapse:
        synapse = super()._synapse_of(recurrent)
        if has_bias(recurrent) != self._has_bias:
            made = "with" if self._has_bias else "without"
            raise ValueError(f"{type(self).__name__}: it was made {made} a bias, and stays so; make another layer")
        return synapse

    def whole_step(self) -> WholeStep:
        """Return the step and its keyword arguments, the bias among them."""
        step, params = super().whole_step()
        if not self._has_bias:
            return step, params
        recurrent: Any = self.recurrent
        axes = recurrent.weight.ndim - 2  # those of an image
        return step, params | {"bias": lift(recurrent.bias.view(-1, *(1,) * axes))}


def named(name: str) -> Any:
    """Return the attribute ``recurrent`` of a layer that stores its recurrent weights by another name."""
    return property(attrgetter(name), doc="Weights through which the output comes back one step later.")


def has_bias(recurrent: object) -> bool:
    """Return True if recurrent weights have a bias."""
    return isinstance(recurrent, nn.Module) and getattr(recurrent, "bias", None) is not None
