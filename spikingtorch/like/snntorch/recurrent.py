"""RLeaky and RSynaptic: neurons whose spikes feed back."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

from torch import nn

from spikingtorch import functional as F
from spikingtorch.layers.options import constructor_of
from spikingtorch.like.layer import Biased
from spikingtorch.like.options import own_weights
from spikingtorch.like.snntorch.neuron import Neuron
from spikingtorch.like.steps import snntorch as steps
from spikingtorch.like.steps.snntorch import Mechanism, Value


def weights_between(
    owner: str, all_to_all: bool, linear_features: int | None, conv2d_channels: int | None, kernel_size: Any
) -> nn.Linear | nn.Conv2d | None:
    """Return recurrent weights between all neurons, or neighbours in an image; None for one weight per neuron.

    Raise ValueError if too few or too many arguments are given.
    """
    convolution = (conv2d_channels, kernel_size)
    if not all_to_all:
        if linear_features is not None or convolution != (None, None):
            raise ValueError(
                f"{owner}: all_to_all=False is one weight V a neuron; leave linear_features, conv2d_channels and "
                "kernel_size out"
            )
        return None
    is_dense = linear_features is not None
    if is_dense != (None in convolution) or (is_dense and convolution != (None, None)):
        raise ValueError(
            f"{owner}: all_to_all=True, with linear_features={linear_features!r}, conv2d_channels={conv2d_channels!r} "
            f"and kernel_size={kernel_size!r}; expected linear_features=M for M neurons, or "
            "conv2d_channels=C and kernel_size=k for images. all_to_all=False is one weight V a neuron"
        )
    if linear_features is not None:
        return nn.Linear(linear_features, linear_features)
    rows, columns = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    channels: Any = conv2d_channels
    return nn.Conv2d(channels, channels, kernel_size, padding=(rows // 2, columns // 2))


_OF_WEIGHTS = ("all_to_all", "linear_features", "conv2d_channels", "kernel_size")
_Made: TypeAlias = tuple[Callable[..., Any], type[Any]]


class _Recurrent(Neuron, Biased):
    """A neuron with feedback of its spikes: the step and state of each of its two kinds, and its arguments."""

    left_out: ClassVar[frozenset[str]] = frozenset(("recurrent.V",))  # a second name of V

    def __init__(self, fed: _Made, one_to_one: _Made, others: Mapping[str, Any], **given: Any) -> None:
        owner = type(self).__name__
        own_weights(owner, others, "linear_features, conv2d_channels and kernel_size, or V")
        all_to_all, *sizes = (given.pop(name) for name in _OF_WEIGHTS)
        own = {"V": given.pop("V"), "learn_V": given.pop("learn_recurrent")}
        weights = weights_between(owner, all_to_all, *sizes)
        step, state_type = fed if all_to_all else one_to_one
        if weights is not None:
            weights.requires_grad_(own["learn_V"])
            own = {}
        others = {**others, "recurrent": weights}
        super().__init__(step, state_type, others=others, **given, **own)


class RLeaky(_Recurrent):
    """Apply snnTorch's RLeaky neurons, whose spikes feed back, to an input, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        u = beta v[t-1] + x[t] + recurrent(s[t-1]),  with all_to_all=False u = beta v[t-1] + x[t] + V s[t-1]
        subtract: v[t] = u - r[t] threshold,   zero: v[t] = u - r[t] u,   s[t] = H(v[t] - threshold)

    Args:
        beta: share of the membrane kept over a step; clamped to [0, 1].
        V: weight of a neuron's own last spike, with ``all_to_all=False``.
        all_to_all: True for weights between all neurons, or between the neighbours of an image.
        linear_features: number M of neurons; ``recurrent`` is nn.Linear(M, M), with its bias.
        conv2d_channels: number C of channels; ``recurrent`` is nn.Conv2d(C, C, kernel_size), with its bias.
        kernel_size: size of its kernel, odd.
        learn_recurrent: train V, or the weights and the bias of ``recurrent``.
        threshold, spike_grad, learn_beta, learn_threshold, reset_mechanism, reset_delay, **others: as in Leaky.
    """

    @constructor_of(fed=(steps.fed_leaky_step, steps.LeakyState), one_to_one=(steps.rleaky_step, steps.RLeakyState))
    def __init__(
        self,
        beta: Value,
        V: Value = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: int | tuple[int, int] | None = None,
        *,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: Mechanism = "subtract",
        reset_delay: bool = True,
        **others: Any,
    ) -> None: ...


class RSynaptic(_Recurrent):
    """Apply snnTorch's RSynaptic neurons, whose spikes feed back to their current, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        i[t] = alpha i[t-1] + x[t] + recurrent(s[t-1]),  with all_to_all=False + V s[t-1];  u = beta v[t-1] + i[t]
        subtract: v[t] = u - r[t] threshold,   zero: v[t] = u - r[t] u,   s[t] = H(v[t] - threshold)

    Args:
        alpha: share of the current kept over a step; clamped to [0, 1].
        beta, V, all_to_all, linear_features, conv2d_channels, kernel_size, **others: as in RLeaky.
        learn_alpha: train alpha.
        threshold, spike_grad, learn_beta, learn_threshold, learn_recurrent, reset_mechanism: as in RLeaky.
        reset_delay: True resets one step after the spike. False resets at once; snnTorch 1.0.0 raises for it, but it
            works here.
    """

    @constructor_of(
        fed=(steps.synaptic_step, steps.SynapticState), one_to_one=(steps.rsynaptic_step, steps.RSynapticState)
    )
    def __init__(
        self,
        alpha: Value,
        beta: Value,
        V: Value = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: int | tuple[int, int] | None = None,
        *,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: Mechanism = "subtract",
        reset_delay: bool = True,
        **others: Any,
    ) -> None: ...
