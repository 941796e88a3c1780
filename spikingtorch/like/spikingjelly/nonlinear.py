"""QIFNode, EIFNode and IzhikevichNode: nodes whose membrane grows by itself."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch.layers.options import constructor_of
from spikingtorch.like.options import Value, number
from spikingtorch.like.spikingjelly.node import Firing, Node
from spikingtorch.like.steps import spikingjelly as steps


class QIFNode(Node):
    """Apply SpikingJelly's QIFNode, a quadratic integrate-and-fire neuron, one step of time a call.

    For each entry of the input, with H(0) = 1,

        u[t] = v[t-1] + (x[t] + a0 (v[t-1] - v_rest) (v[t-1] - v_c)) / tau
        s[t] = H(u[t] - v_threshold),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        tau: time constant in steps, above 1.
        v_c: membrane above which it grows by itself.
        a0: curvature, positive.
        v_rest: membrane without input.
        **firing: v_threshold=1.0, v_reset=-0.1 (None: v[t] = u[t] - s[t] v_threshold), surrogate_function=None,
            detach_reset=False.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"v_threshold": 1.0, "v_reset": -0.1}
    above: ClassVar[Mapping[str, float]] = {"tau": 1.0, "a0": 0.0}

    @constructor_of(steps.qif_node_step, steps.NodeState)
    def __init__(
        self, tau: Value = 2.0, v_c: Value = 0.8, a0: Value = 1.0, v_rest: Value = 0.0, **firing: Unpack[Firing]
    ) -> None: ...


class EIFNode(Node):
    """Apply SpikingJelly's EIFNode, an exponential integrate-and-fire neuron, one step of time a call.

    For each entry of the input, with H(0) = 1,

        u[t] = v[t-1] + (x[t] + v_rest - v[t-1] + delta_T exp((v[t-1] - theta_rh) / delta_T)) / tau
        s[t] = H(u[t] - v_threshold),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        tau: time constant in steps, above 1.
        delta_T: sharpness of the exponential, positive.
        theta_rh: membrane at which the exponential growth begins.
        v_rest: membrane without input.
        **firing: as in QIFNode.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"v_threshold": 1.0, "v_reset": -0.1}
    above: ClassVar[Mapping[str, float]] = {"tau": 1.0, "delta_T": 0.0}

    @constructor_of(steps.eif_node_step, steps.NodeState)
    def __init__(
        self,
        tau: Value = 2.0,
        delta_T: Value = 1.0,
        theta_rh: Value = 0.8,
        v_rest: Value = 0.0,
        **firing: Unpack[Firing],
    ) -> None: ...


class IzhikevichNode(Node):
    """Apply SpikingJelly's IzhikevichNode, a quadratic neuron with a recovery, one step of time a call.

    For each entry of the input, with H(0) = 1,

        u[t] = v[t-1] + (x[t] + a0 (v[t-1] - v_rest) (v[t-1] - v_c) - w[t-1]) / tau
        s[t] = H(u[t] - v_threshold),  v[t] = v_reset where s[t] = 1, else u[t]
        w[t] = w[t-1] + (a (u[t] - v_rest) - w[t-1]) / tau_w + b s[t]

    Args:
        tau: time constant of the membrane in steps, above 1.
        v_c: membrane above which it grows by itself.
        a0: curvature, positive.
        v_rest: membrane without input.
        w_rest: recovery to begin with.
        tau_w: time constant of the recovery in steps.
        a: recovery per unit of the membrane.
        b: recovery per spike.
        **firing: as in IFNode.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_reset", "w": "w_rest"}
    above: ClassVar[Mapping[str, float]] = {"tau": 1.0, "a0": 0.0}

    def __init__(
        self,
        tau: Value = 2.0,
        v_c: Value = 0.8,
        a0: Value = 1.0,
        *,
        v_rest: Value = -0.1,
        w_rest: float = 0.0,
        tau_w: Value = 2.0,
        a: Value = 0.0,
        b: Value = 0.0,
        **firing: Unpack[Firing],
    ) -> None:
        number("IzhikevichNode", "w_rest", w_rest)
        params: dict[str, Any] = {"tau": tau, "v_c": v_c, "a0": a0, "v_rest": v_rest, "tau_w": tau_w, "a": a, "b": b}
        super().__init__(steps.izhikevich_node_step, steps.AdaptiveNodeState, firing, **params)
        self.w_rest = float(w_rest)
