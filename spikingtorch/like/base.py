"""PeerLayer: a layer whose state starts where its attributes say, and what else neurons of other libraries need."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.like.options import stopped


class PeerLayer(StepLayer):
    """A layer that may start elsewhere than at zero.

    Attributes:
        starts: for fields of the state that do, the attribute or property that holds the value; None counts as zero.
    """

    starts: ClassVar[Mapping[str, str]] = {}

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest for an input of one step like x; it carries no gradient."""
        state = F.zeros_state(self.state_type, x)
        values = {field: getattr(self, name) for field, name in self.starts.items()}
        moved = {field: getattr(state, field) + stopped(value) for field, value in values.items() if value is not None}
        return state._replace(**moved)

    @property
    def _rests_at_zero(self) -> bool:
        values = [getattr(self, name) for name in self.starts.values()]
        at_zero = all([value is None or (isinstance(value, float) and value == 0.0) for value in values])
        own = type(self).rest_state is PeerLayer.rest_state and type(self).initial_state is StepLayer.initial_state
        return at_zero and own and not {"rest_state", "initial_state"} & self.__dict__.keys()
