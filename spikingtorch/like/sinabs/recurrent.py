"""LIFRecurrent, IAFRecurrent and ALIFRecurrent: layers whose spikes feed back."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch.layers.recurrent import Weights
from spikingtorch.like.layer import Biased, named
from spikingtorch.like.options import Value, own_weights
from spikingtorch.like.sinabs.layers import ALIF, IAF, LIF, Decaying, Spiking
from spikingtorch.like.steps.recurrent import ShiftedLater


class _Recurrent(Biased):
    attribute_names: ClassVar[Mapping[str, str]] = {**Biased.attribute_names, "recurrent": "rec_connect"}
    shift: ClassVar[Callable[..., Any]] = ShiftedLater
    recurrent: Any = named("rec_connect")

    def _connected(self, options: Mapping[str, Any], rec_connect: Weights) -> Any:
        """Return the options of a layer with its recurrent weights among them."""
        own_weights(type(self).__name__, options, "rec_connect")
        return {**options, "recurrent": rec_connect}


class LIFRecurrent(LIF, _Recurrent):
    """Apply Sinabs' LIFRecurrent to an input, one step of time a call.

    For each entry of the input, as in LIF with x[t] + rec_connect(n[t-1]) from the second step on in place of x[t].

    Args:
        tau_mem: time constant of the membrane in steps, trained.
        rec_connect: nn.Linear(M, M), or a convolution that keeps the size of its images; it may have a bias.
        tau_syn: time constant of the current in steps, trained; None for no current.
        **options: train_alphas=False, norm_input=True, spike_threshold=1.0, spike_fn=MultiSpike, ..., as in LIF.
    """

    def __init__(
        self, tau_mem: Value, rec_connect: Weights, tau_syn: Value | None = None, **options: Unpack[Decaying]
    ) -> None:
        super().__init__(tau_mem, tau_syn, **self._connected(options, rec_connect))


class IAFRecurrent(IAF, _Recurrent):
    """Apply Sinabs' IAFRecurrent to an input, one step of time a call.

    For each entry of the input, as in IAF with x[t] + rec_connect(n[t-1]) from the second step on in place of x[t].

    Args:
        rec_connect: as in LIFRecurrent.
        tau_syn: time constant of the current in steps, trained; None for no current.
        **options: spike_threshold=1.0, spike_fn=MultiSpike, ..., as in IAF.
    """

    def __init__(self, rec_connect: Weights, *, tau_syn: Value | None = None, **options: Unpack[Spiking]) -> None:
        super().__init__(tau_syn=tau_syn, **self._connected(options, rec_connect))


class ALIFRecurrent(ALIF, _Recurrent):
    """Apply Sinabs' ALIFRecurrent to an input, one step of time a call.

    For each entry of the input, as in ALIF with x[t] + rec_connect(n[t-1]) from the second step on in place of x[t].

    Args:
        tau_mem: time constant of the membrane in steps, trained.
        tau_adapt: time constant of the adaptation in steps, trained.
        rec_connect: as in LIFRecurrent.
        tau_syn: time constant of the current in steps, trained; None for no current.
        adapt_scale: threshold per unit of adaptation.
        **options: train_alphas=False, norm_input=True, spike_threshold=1.0, spike_fn=SingleSpike, ..., as in ALIF.
    """

    def __init__(
        self,
        tau_mem: Value,
        tau_adapt: Value,
        rec_connect: Weights,
        tau_syn: Value | None = None,
        adapt_scale: Value = 1.8,
        **options: Unpack[Decaying],
    ) -> None:
        super().__init__(tau_mem, tau_adapt, tau_syn, adapt_scale, **self._connected(options, rec_connect))
