"""MultiStep: a spiking layer over all steps of a sequence, time first, outside of a ``SpikingNet``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional.core.freed_memory import NetworkCall
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.checkpoint import backward_pass, region
from spikingtorch.layers.fold_token import FoldError, FoldToken
from spikingtorch.layers.frame import frame_of
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import WithInnerKeys


class MultiStep(WithInnerKeys):
    """A spiking layer that takes and returns all steps of a sequence, (T, N, ...), time first.

        out[0] = layer(x[0], init),  out[t] = layer(x[t], False)         t = 1 ... T-1

    It is for networks in multi-step style, which run without a ``SpikingNet``. Their other layers see time and batch as
    one axis. All steps run as one compiled loop. A ``SpikingNet`` runs over time by itself; give it the layer without
    MultiStep.

    The layer keeps its state as in a call step by step: ``multi.layer.v`` and the other fields. The state dict has the
    keys of the layer, without a prefix.

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
            *args: further arguments of the layer, in its order: other inputs, (T, N, ...) as well, and ``init``. If
                init is left out, the sequence continues from the state of the layer. True starts a new sequence. A bool
                tensor (N,) starts a new sequence for these samples.
            **kwargs: the same by name.

        Returns:
            The outputs of the layer at all steps: (T, N, ...).

        Raises:
            ValueError: x has no axes of time and batch, or no steps, or the layer refuses it.
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
    """The ``init`` of a single layer that is called on all steps of a sequence, (T, N, ...)."""

    dim, alone = 0, True

    def copy(self) -> "Steps":
        """Return a token of the same steps with an empty record of calls."""
        return Steps(self.N, self.T, self.init)

    def split(self, x: Tensor) -> Tensor:
        """Return the tensor as it is, because it is not folded."""
        return x

    merge = split


class Merged(FoldToken):
    """The ``init`` of one step or of one sample without gradients: (T, N, ...) lies as the (N T, ...) of a fold."""

    alone = True

    def __init__(self, N: int, T: int, init: bool) -> None:
        super().__init__(N, T, init)
        self.plain = True
        self.axis = 0 if T == 1 else 1  # of size 1

    def merge(self, x: Tensor) -> Tensor:
        """Return a copy, because a view that is made without gradients could not be written on with gradients."""
        return super().merge(x).clone()

    @classmethod
    def of(cls, layer: StepLayer, inputs: Sequence[Any], init: bool | Tensor) -> "Merged | None":
        """Return the token of a call with these inputs, (T, N, ...); None if they cannot be merged."""
        T, N = inputs[0].shape[:2]
        fits = 1 in (T, N) and N > 0 and len(inputs) == 1 and type(inputs[0]) is Tensor and isinstance(init, bool)
        if not fits or torch.is_grad_enabled() or region() is not None or not in_eager():
            return None
        # without a state, a sequence starts
        fresh = layer._cell.memory is None and not layer._cell.overtaken and backward_pass() == -1
        return cls(N, T, bool(init) or fresh)


def over_time(
    owner: str,
    alone: str,
    layer: StepLayer,
    call: Callable[..., Any],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    init: bool | Tensor | None,
) -> Any:
    """Return the outputs of a layer, which ``call`` calls, for inputs of all steps of a sequence, (T, N, ...).

    For messages, ``owner`` names the caller, and ``alone`` says what to write inside of a SpikingNet. ``init`` is that
    of the first step; with None, the layer continues from its state.
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
    if layer._cell.monitor is not None:
        raise RuntimeError(
            f"{owner}: a SpikeMonitor watches its {type(layer).__name__} in a SpikingNet; leave it first"
        )
    layer._clamp()
    init = False if init is None else init
    merged = None if named else Merged.of(layer, inputs, init)
    steps: FoldToken = Steps(N, T, init) if merged is None else merged
    try:
        if torch.compiler.is_compiling():
            return call(*inputs, init=steps, **named)
        with NetworkCall(id(layer)):
            if merged is None:
                return call(*inputs, init=steps, **named)
            return tree_map(lambda out: out.unsqueeze_(merged.axis), call(x.squeeze(merged.axis), init=merged))
    except FoldError as error:
        raise ValueError(
            f"{owner}: cannot run all steps of its {type(layer).__name__} at once because it {error}. Call the layer "
            "step by step: torch.stack([layer(x_t) for x_t in x])"
        ) from error
