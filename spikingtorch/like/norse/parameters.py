"""The parameters of Norse's cells, by their names and with their defaults, and its spike functions."""

from typing import Any, NamedTuple

from spikingtorch import functional as F
from spikingtorch.like.options import Value
from spikingtorch.like.steps.norse import ResetMethod, reset_value
from spikingtorch.like.surrogates import Circular, NoDerivative, Scaled


class LIFParameters(NamedTuple):
    """Parameters of LIFCell: inverse time constants in 1 / s, membranes, and the spike function."""

    tau_syn_inv: Value = 200.0
    tau_mem_inv: Value = 100.0
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    method: str = "super"
    alpha: float = 100.0


class LIFRefracParameters(NamedTuple):
    """Parameters of LIFRefracCell: those of LIFCell, and the number of steps to rest."""

    lif: LIFParameters = LIFParameters()
    rho_reset: Value = 5.0


class LIFBoxParameters(NamedTuple):
    """Parameters of LIFBoxCell."""

    tau_mem_inv: Value = 100.0
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    method: str = "super"
    alpha: float = 100.0
    reset_method: ResetMethod = reset_value


class IAFParameters(NamedTuple):
    """Parameters of IAFCell."""

    v_th: Value = 1.0
    v_reset: Value = 0.0
    method: str = "super"
    alpha: float = 100.0


class LIParameters(NamedTuple):
    """Parameters of LICell."""

    tau_syn_inv: Value = 200.0
    tau_mem_inv: Value = 100.0
    v_leak: Value = 0.0


class LIBoxParameters(NamedTuple):
    """Parameters of LIBoxCell."""

    tau_mem_inv: Value = 100.0
    v_leak: Value = 0.0


class LSNNParameters(NamedTuple):
    """Parameters of LSNNCell."""

    tau_syn_inv: Value = 200.0
    tau_mem_inv: Value = 100.0
    tau_adapt_inv: Value = 1.0 / 800
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    beta: Value = 1.8
    method: str = "super"
    alpha: float = 100.0


class LIFExParameters(NamedTuple):
    """Parameters of LIFExCell."""

    delta_T: Value = 0.5  # noqa: N815
    tau_syn_inv: Value = 200.0
    tau_mem_inv: Value = 100.0
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    method: str = "super"
    alpha: float = 100.0


class LIFAdExParameters(NamedTuple):
    """Parameters of LIFAdExCell."""

    adaptation_current: Value = 4.0
    adaptation_spike: Value = 0.02
    delta_T: Value = 0.5  # noqa: N815
    tau_ada_inv: Value = 2.0
    tau_syn_inv: Value = 200.0
    tau_mem_inv: Value = 100.0
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    method: str = "super"
    alpha: float = 100.0


class LIFAdExRefracParameters(NamedTuple):
    """Parameters of LIFAdExRefracCell: those of LIFAdExCell, and the number of steps to rest."""

    lif_adex: LIFAdExParameters = LIFAdExParameters()
    rho_reset: Value = 5.0


class IzhikevichParameters(NamedTuple):
    """Parameters of IzhikevichCell."""

    a: float
    b: float
    c: float
    d: float
    sq: float = 0.04
    mn: float = 5.0
    bias: float = 140.0
    v_th: float = 30.0
    tau_inv: float = 250.0
    method: str = "super"
    alpha: float = 100.0


class IzhikevichState(NamedTuple):
    """Where an IzhikevichCell starts."""

    v: Value
    u: Value


class IzhikevichSpikingBehavior(NamedTuple):
    """The options of an IzhikevichCell: its parameters p and its first state s."""

    p: IzhikevichParameters
    s: IzhikevichState


def create_izhikevich_spiking_behavior(
    a: float, b: float, c: float, d: float, v_rest: float, u_rest: float, tau_inv: float = 250.0
) -> IzhikevichSpikingBehavior:
    """Return the parameters a, b, c, d, and a first state of v_rest and b u_rest."""
    p = IzhikevichParameters(a=float(a), b=float(b), c=float(c), d=float(d), tau_inv=float(tau_inv))
    return IzhikevichSpikingBehavior(p=p, s=IzhikevichState(v=float(v_rest), u=float(u_rest) * p.b))


def threshold(method: str, alpha: float = 100.0) -> F.Strict:
    """Return the spike function of Norse's ``method``; all fire above the threshold, not at it.

        super       1 / (1 + |u|)^2, whatever alpha is
        heaviside   no derivative
        triangle    alpha max(0, 1 - |u|)
        tanh        1 - tanh(alpha u)^2
        circ        (alpha / sqrt(u^2 + alpha^2))^3
        heavi_erfc  2 exp(-(alpha u)^2) / sqrt(pi)

    Args:
        method: one of these names.
        alpha: as in Norse.

    Raises:
        ValueError: there is no method of that name.
    """
    k = float(alpha)
    known: dict[str, Any] = {
        "super": F.FastSigmoid(1.0),
        "heaviside": NoDerivative(),
        "triangle": Scaled(F.Triangular(1.0), k),
        "tanh": Scaled(F.Sigmoid(2 * k), 2 / k),
        "circ": Circular(k),
        "heavi_erfc": Scaled(F.Erf(k), 2 / k),
    }
    if method not in known:
        raise ValueError(f"method={method!r}, expected one of {', '.join(map(repr, known))}")
    return F.Strict(known[method])
