"""Recurrent weights as other libraries have them: with a bias, and by another name."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, ClassVar

from torch import nn

from spikingtorch.functional import lift
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.layers.recurrent import Synapse, Weights
from spikingtorch.layers.steplayer import WholeStep
from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.steps.recurrent import Shifted


class Biased(LikeLayer):
    """A layer whose recurrent weights may have a bias, which its step adds to the input.

    Attributes:
        shift: makes a step with a bias of one without.
    """

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
    """Say whether recurrent weights have a bias."""
    return isinstance(recurrent, nn.Module) and getattr(recurrent, "bias", None) is not None
