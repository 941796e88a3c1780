"""MultiStep: a spiking layer over all steps of a sequence, time first, outside of a ``SpikingNet``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional.core.freed_memory import NetworkCall
from spikingtorch.layers.fold_token import FoldError, FoldToken
from spikingtorch.layers.frame import frame_of
from spikingtorch.layers.inner_keys import WithInnerKeys
from spikingtorch.layers.steplayer import StepLayer


class MultiStep(WithInnerKeys):
    """A spiking layer that takes and returns all steps of a sequence, (T, N, ...), time first.

        out[0] = layer(x[0], init),  out[t] = layer(x[t], False)         t = 1 ... T-1

    It is for networks in multi-step style, which run without a ``SpikingNet``: their other layers see time and batch as
    one axis. All steps run as one compiled loop. A ``SpikingNet`` runs over time by itself, and takes the layer alone.

    The layer keeps its state, as it does when it is called step by step: ``multi.layer.v`` and the like. The state dict
    has the keys of the layer, without a prefix.

    Args:
        layer: ``LIF()``, a ``StepLayer`` of yours, or any other spiking layer.

    Raises:
        TypeError: layer is no spiking layer.

    >>> import torch
    >>> from spikingtorch import IF
    >>> neurons = MultiStep(IF())
    >>> neurons(torch.full((4, 1, 1), 0.6)).flatten()
    tensor([0., 1., 0., 1.])
    """

    inside = "layer"

    def __init__(self, layer: StepLayer) -> None:
        super().__init__()
        if not isinstance(layer, StepLayer):
            got = f"the class {layer.__name__}" if isinstance(layer, type) else f"a {type(layer).__name__}"
            raise TypeError(
                f"MultiStep: layer is {got}, expected one spiking layer, LIF() for instance. A network of several "
                "layers takes (T, N, ...) as SpikingNet(net, batch_first=False)"
            )
        self.layer = layer
        names = list(checks.signature_of(layer).parameters)
        self._place = names.index("init") if "init" in names else len(names)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Advance all steps of a sequence.

        Args:
            x: input, floating, shape (T, N, ...).
            *args: what else the layer is called on, in its order: other inputs, (T, N, ...) as well, and ``init``.
                Left out, the sequence goes on from the state of the layer; True starts a new one, and a bool tensor
                (N,) starts these samples anew.
            **kwargs: the same by name.

        Returns:
            What the layer returns, for all steps: (T, N, ...).

        Raises:
            ValueError: x has no axes of time and batch, or no steps, or the layer does not take it.
            TypeError: x is not floating, or init is no bool.
            RuntimeError: a SpikingNet runs the module.
        """
        inputs = [x, *args]
        init = inputs.pop(self._place) if len(inputs) > self._place else kwargs.pop("init", None)
        alone = f"take the layer as it is, {type(self.layer).__name__}(...)"
        return over_time("MultiStep", alone, self.layer, self.layer, inputs, kwargs, init)

    @property
    def v(self) -> Tensor | None:
        """The membrane after the last step, as ``layer.v``."""
        return self.layer.v

    def reset(self) -> None:
        """Forget the state."""
        self.layer.reset()

    def detach_(self) -> None:
        """Cut the state from the graph that computed it, for truncated back-propagation through time."""
        self.layer.detach_()


class Steps(FoldToken):
    """The ``init`` of a layer by itself that is called on all steps of a sequence, (T, N, ...)."""

    dim, alone = 0, True

    def copy(self) -> "Steps":
        """Return a token of the same steps."""
        return Steps(self.N, self.T, self.init)

    def split(self, x: Tensor) -> Tensor:
        """Return what is not folded as it is."""
        return x

    def merge(self, x: Tensor) -> Tensor:
        """Return it as it is."""
        return x


def over_time(
    owner: str,
    alone: str,
    layer: StepLayer,
    call: Callable[..., Any],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    init: bool | Tensor | None,
) -> Any:
    """Return what a layer returns for all steps of a sequence.

    Args:
        owner: who asks, for the messages.
        alone: what to do inside of a SpikingNet.
        layer: the layer.
        call: calls it.
        inputs: of all steps, (T, N, ...).
        named: other inputs by name.
        init: of the first step; None to go on from the state of the layer.
    """
    if frame_of(layer) is not None:
        raise RuntimeError(
            f"{owner}: it runs over time by itself, (T, N, ...), and a SpikingNet runs it at each step. Inside of one "
            f"{alone}"
        )
    x = inputs[0]
    checks.check_floating(owner, "x", x)
    checks.check_rank(owner, "x", x, "(T, N, ...), time first: steps, samples, features", 2)
    T, N = x.shape[:2]
    if T == 0:
        raise ValueError(f"{owner}: x has shape {tuple(x.shape)}, which has no steps; (T, N, ...) has one or more")
    if layer._monitor is not None:
        raise RuntimeError(
            f"{owner}: a SpikeMonitor watches its {type(layer).__name__} in a SpikingNet; leave it first"
        )
    layer._put_back()
    steps = Steps(N, T, False if init is None else init)
    try:
        if torch.compiler.is_compiling():
            return call(*inputs, init=steps, **named)
        with NetworkCall(id(layer)):
            return call(*inputs, init=steps, **named)
    except FoldError as error:
        raise ValueError(
            f"{owner}: cannot run all steps of its {type(layer).__name__} at once because it {error}. Call the layer "
            "step by step: torch.stack([layer(x_t) for x_t in x])"
        ) from error
