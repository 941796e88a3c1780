"""The layer of neurons whose inputs are conductances."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers.attributes import chosen_names
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.options import OLDER_NAMES, Options, Value, firing, threshold_property
from spikingtorch.layers.steplayer import StepLayer


class BioLIF(StepLayer):
    """Apply conductance-based LIF neurons with shunting inhibition to two inputs, one step per call.

    For each entry of the conductances xe, which excites, and xi, which inhibits,

        nu = 1 + xe + xi,  a = exp(-nudt nu), with no gradient through a
        u[t] = a v[t-1] + (xe / nu) (1 - a),  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)

    Args:
        nudt: leak rate times the length of a step, positive.
        v0: threshold, in units of the excitatory reversal potential.
        beta: slope of the default surrogate, Sigmoid(beta).
        track_act: sum the spikes since the last ``init`` in ``act``. ``act`` keeps its graph, so that a loss can use
            it.
        threshold: the same as v0.
        surrogate: another spike function in place of the default.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer. learnable is
            "threshold" or True; nudt cannot learn, because it enters only through a, which has no gradient.
    """

    attribute_names: ClassVar[Mapping[str, str]] = OLDER_NAMES
    limits: Mapping[str, Any] = {"nudt": POSITIVE, "v0": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ()
    threshold: Any = threshold_property("v0")

    def __init__(
        self,
        nudt: Value,
        v0: Value = 0.5,
        beta: float = 5.0,
        track_act: bool = False,
        *,
        threshold: Value | None = None,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        learnable = options.get("learnable", ())
        names = {"v0"} if learnable is True else chosen_names(learnable)
        if isinstance(nudt, nn.Parameter) or "nudt" in names:
            raise ValueError("BioLIF: nudt cannot be learned: it enters through a alone, which carries no gradient")
        given: Options = {**options, "learnable": names}
        neuron = firing(type(self).__name__, v0, threshold, beta, surrogate, defaults=(0.5, 5.0))
        super().__init__(F.biolif_step, F.BioLIFState, nudt=nudt, **neuron, reset=reset, **given)
        self.track_act = track_act

    def forward(self, xe: Tensor, xi: Tensor, init: bool | Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Advance one step with the excitatory and the inhibitory conductance; see ``StepLayer.forward``."""
        output: Tensor = self._advance(F.BioLIFInput(xe, xi), init)
        return output

    @property
    def act(self) -> Tensor | None:
        """Spikes summed since the last ``init``, or None if they are not tracked."""
        memory = self._shown("act")
        return memory.act if memory is not None and isinstance(memory.act, Tensor) else None
