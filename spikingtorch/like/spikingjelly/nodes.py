"""IFNode, LIFNode and their variants."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.options import constructor_of
from spikingtorch.like.options import Value, number, tensor
from spikingtorch.like.spikingjelly.node import Firing, Node
from spikingtorch.like.steps import spikingjelly as steps
from spikingtorch.like.surrogates import Boxcar


class _Leaky(Node):
    """A node whose membrane decays towards v_reset, or towards 0 if it is None; ``last`` are the final parameters."""

    # the functions that charge a membrane: with the input divided as well, and with it added unchanged
    _charges: ClassVar[tuple[Any, Any]] = (steps.decayed_input, steps.whole_input)

    def __init__(
        self, step: Any, state_type: type[Any], firing: Mapping[str, Any], decay_input: bool, **params: Any
    ) -> None:
        charge = self._charges[not decay_input]
        v_rest = firing.get("v_reset", 0.0) or 0.0
        last = params.pop("last", {})
        super().__init__(step, state_type, firing, **params, charge=charge, v_rest=v_rest, **last)


class IFNode(Node):
    """Apply SpikingJelly's IFNode to an input, one step of time a call.

    For each entry of the input, with H(0) = 1,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - v_threshold),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        **firing: v_threshold=1.0, v_reset=0.0 (None: v[t] = u[t] - s[t] v_threshold), surrogate_function=None,
            detach_reset=False.
    """

    @constructor_of(F.if_step, F.IFState)
    def __init__(self, **firing: Unpack[Firing]) -> None: ...


class LIFNode(_Leaky):
    """Apply SpikingJelly's LIFNode to an input, one step of time a call.

    For each entry of the input, with H(0) = 1 and v_rest = v_reset, or 0 where that is None,

        decay_input:  u[t] = v[t-1] + (x[t] - (v[t-1] - v_rest)) / tau
        otherwise:    u[t] = v[t-1] - (v[t-1] - v_rest) / tau + x[t]
        s[t] = H(u[t] - v_threshold),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        tau: time constant in steps, above 1.
        decay_input: divide the input by tau as well.
        **firing: as in IFNode.
    """

    @constructor_of(steps.lif_node_step, steps.NodeState)
    def __init__(self, tau: Value = 2.0, decay_input: bool = True, **firing: Unpack[Firing]) -> None: ...


class ParametricLIFNode(_Leaky):
    """Apply SpikingJelly's ParametricLIFNode, which learns its time constant, one step of time a call.

    For each entry of the input, as in LIFNode with 1 / tau = sigmoid(w), and w an ``nn.Parameter``.

    Args:
        init_tau: initial time constant in steps, above 1; w = -log(init_tau - 1).
        decay_input: multiply the input by sigmoid(w) as well.
        **firing: as in IFNode.
    """

    _charges: ClassVar[tuple[Any, Any]] = (steps.decayed_input_by_rate, steps.whole_input_by_rate)

    def __init__(self, init_tau: float = 2.0, decay_input: bool = True, **firing: Unpack[Firing]) -> None:
        number("ParametricLIFNode", "init_tau", init_tau, above=1.0)
        own: dict[str, Any] = {"learnable": ["w"], "w": tensor(-math.log(init_tau - 1.0))}
        super().__init__(steps.lif_node_step, steps.NodeState, firing, decay_input, **own)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with w turned into the inverse of the time constant."""
        params = Node.param_map(stored)
        return params | {"tau": torch.sigmoid(params.pop("w"))}


class LIAFNode(_Leaky):
    """Apply SpikingJelly's LIAFNode, a LIFNode whose output is its membrane, one step of time a call.

    For each entry of the input, with u, s and v as in LIFNode: out[t] = act(u[t] - v_threshold), or act(u[t]).

    Args:
        act: an elementwise function.
        threshold_related: subtract the threshold from the membrane before ``act``.
        tau: time constant in steps, above 1.
        decay_input: divide the input by tau as well.
        **firing: as in IFNode.
    """

    def __init__(
        self,
        act: Callable[[Tensor], Tensor],
        threshold_related: bool,
        tau: Value = 2.0,
        decay_input: bool = True,
        **firing: Unpack[Firing],
    ) -> None:
        if not callable(act):
            raise TypeError(f"LIAFNode: act={act!r} cannot be called; give a function such as torch.relu")
        below = firing.get("v_threshold", 1.0) if threshold_related else 0.0
        super().__init__(steps.liaf_node_step, steps.NodeState, firing, decay_input, act=act, below=below, tau=tau)


class KLIFNode(_Leaky):
    """Apply SpikingJelly's KLIFNode, which learns a scale of its membrane, one step of time a call.

    For each entry of the input, with v_rest = v_reset, or 0 where that is None, and k = 1 an ``nn.Parameter``,

        u[t] = relu(k (v[t-1] + (x[t] - (v[t-1] - v_rest)) / tau)),  s[t] = H(u[t] - v_threshold)

    and the reset of LIFNode; with ``scale_reset``, it acts on u[t] / k and v_threshold / k.

    Args:
        scale_reset: reset in units before the scaling.
        tau: time constant in steps, above 1.
        decay_input: divide the input by tau as well; otherwise it is added unchanged.
        **firing: as in IFNode.
    """

    def __init__(
        self, scale_reset: bool = False, tau: Value = 2.0, decay_input: bool = True, **firing: Unpack[Firing]
    ) -> None:
        own: dict[str, Any] = {"learnable": ["k"], "k": tensor(1.0), "tau": tau}
        own |= {} if scale_reset else {"last": {"scale": 1.0}}
        super().__init__(steps.klif_node_step, steps.NodeState, firing, decay_input, **own)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with k as the scale of the reset, if there is no other."""
        return {"scale": stored["k"]} | Node.param_map(stored)


class CUBALIFNode(Node):
    """Apply SpikingJelly's CUBALIFNode, with a current that decays, one step of time a call.

    For each entry of the input,

        c[t] = c[t-1] c_decay + x[t],  u[t] = v[t-1] v_decay + c[t]

    and s and v as in LIFNode.

    Args:
        c_decay: share of the current kept over a step.
        v_decay: share of the membrane kept over a step.
        **firing: v_threshold=0.5, v_reset=0.0, surrogate_function=None for Rect(1.0); detach_reset, which theirs lacks.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {**Node.attribute_names, "decay_syn": "c_decay", "decay": "v_decay"}
    default_surrogate: ClassVar[F.Surrogate] = Boxcar(1.0)
    defaults: ClassVar[Mapping[str, Any]] = {"v_threshold": 0.5, "v_reset": 0.0}

    @constructor_of(F.cuba_lif_step, F.CubaLIFState)
    def __init__(self, c_decay: Value = 0.5, v_decay: Value = 0.75, **firing: Unpack[Firing]) -> None: ...
