"""By which equations each peer runs the numbers of a file that it wrote: one function for each peer and neuron.

A function takes a node, the input x of one step, shape (N, ...), and the state before that step (None before the
first), and returns the output of the step and the state after it. What follows `*` is what the peer's model was told
and the file does not say; its defaults are the peer's. All is float32, as in the peers.

Below, x is the input of step t, v and i the state before it, H(true) = 1. ``run`` steps a whole graph.
"""

import graphlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import nir
import numpy as np

from tests.interop.nir.peers.maps import Array, float32, layer, sum_of

Neuron = Callable[[Any, Array, Any], tuple[Array, Any]]
# what each exporter takes for the length of a step, if it is told nothing
SNNTORCH_DT = 1e-4
NORSE_DT = 1e-3
SPIKINGJELLY_DT = 1e-4


def _or_zeros(state: Array | None, x: Array) -> Array:
    return np.zeros_like(x) if state is None else state


def _or_full(state: Array | None, x: Array, value: Any) -> Array:
    return np.zeros_like(x) + float32(value) if state is None else state


# ---- snnTorch


def snntorch_lif(
    node: Any,
    x: Array,
    state: Array | None,
    *,
    reset: Literal["subtract", "zero", "none"] = "subtract",
    reset_delay: bool = True,
) -> tuple[Array, Array]:
    """``snntorch.Leaky``, written as LIF; dt = 1e-4 always.

        beta = 1 - dt / tau;  r = tau / dt, so that x enters with weight 1
        s    = H(v > v_threshold)                        the spike of the step before, found anew from v
        "subtract"  u = beta v + x - s v_threshold       "zero"  u = beta (1 - s) v + x       "none"  u = beta v + x
        z    = H(u > v_threshold),  v' = u               the reset waits for the next step

    Without ``reset_delay``, the reset follows at once, unless it has been made already:

        "subtract"  v' = u - (z - s) v_threshold         "zero"  v' = u - (z - s) u           "none"  v' = u
    """
    beta, threshold = float32(1.0 - SNNTORCH_DT / np.float64(node.tau)), float32(node.v_threshold)
    v = _or_zeros(state, x)
    s = (v > threshold).astype(np.float32)
    u = beta * ((1 - s) * v if reset == "zero" else v) + x
    if reset == "subtract":
        u = u - s * threshold
    return _snntorch_fire(u, s, threshold, reset, reset_delay)


def snntorch_recurrent_lif(
    node: Any, x: Array, state: Array | None, *, reset: str = "subtract", reset_delay: bool = True
) -> tuple[Array, Array]:
    """``snntorch.RLeaky``, written as LIF in a cycle with Linear or Affine; dt = 1e-4 always.

    x is the input and what the cycle brings: W z[t-1] + b, with b from the first step on. As ``snntorch_lif``, but that
    "zero" loses the input of the step after a spike:

        "zero"  u = (1 - s) (beta v + x)
    """
    beta, threshold = float32(1.0 - SNNTORCH_DT / np.float64(node.tau)), float32(node.v_threshold)
    v = _or_zeros(state, x)
    s = (v > threshold).astype(np.float32)
    u = _snntorch_late_reset(beta * v + x, s, threshold, reset)
    return _snntorch_fire(u, s, threshold, reset, reset_delay)


def snntorch_cuba_lif(
    node: Any, x: Array, state: tuple[Array, Array] | None, *, reset: str = "subtract", reset_delay: bool = True
) -> tuple[Array, tuple[Array, Array]]:
    """``snntorch.Synaptic``, and in a cycle ``snntorch.RSynaptic``, written as CubaLIF; dt = 1e-4 always.

        alpha = 1 - dt / tau_syn,  beta = 1 - dt / tau_mem;  w_in = tau_syn / dt,  r = tau_mem / dt
        i'   = alpha i + x
        s    = H(v > v_threshold)
        "subtract"  u = beta v + i' - s v_threshold      "zero"  u = (1 - s) (beta v + i')    "none"  u = beta v + i'
        z    = H(u > v_threshold),  v' = u               the current is not reset

    The membrane takes the current of this step. Without ``reset_delay`` as ``snntorch_lif``.
    """
    alpha = float32(1.0 - SNNTORCH_DT / np.float64(node.tau_syn))
    beta, threshold = float32(1.0 - SNNTORCH_DT / np.float64(node.tau_mem)), float32(node.v_threshold)
    i, v = (np.zeros_like(x), np.zeros_like(x)) if state is None else state
    s = (v > threshold).astype(np.float32)
    i = alpha * i + x
    u = _snntorch_late_reset(beta * v + i, s, threshold, reset)
    z, v = _snntorch_fire(u, s, threshold, reset, reset_delay)
    return z, (i, v)


def _snntorch_late_reset(u: Array, s: Array, threshold: Array, reset: str) -> Array:
    return u - s * threshold if reset == "subtract" else u - s * u if reset == "zero" else u


def _snntorch_fire(u: Array, s: Array, threshold: Array, reset: str, reset_delay: bool) -> tuple[Array, Array]:
    z = (u > threshold).astype(np.float32)
    return z, u if reset_delay else _snntorch_late_reset(u, z - s, threshold, reset)


# ---- Norse


def norse_lif(
    node: Any,
    x: Array,
    state: Array | None,
    *,
    dt: float = NORSE_DT,
    export_dt: float = NORSE_DT,
    v_reset: float = 0.0,
    reset: Literal["value", "subtract"] = "value",
) -> tuple[Array, Array]:
    """``norse.torch.LIFBoxCell``, written as LIF: an Euler step, after which the neuron fires and is reset at once.

        tau_mem = tau / export_dt                        the exporter wrote tau = export_dt tau_mem, in s^2
        u    = v + dt / tau_mem (x + v_leak - v)         r = 1 always
        z    = H(u > v_threshold)
        "value"  v' = (1 - z) u + z v_reset              "subtract"  v' = u - z v_threshold

    v starts at v_leak. With ``to_nir(..., dt=1.0)``, export_dt = 1 and tau is the time constant.
    """
    rise, threshold = float32(dt * export_dt / np.float64(node.tau)), float32(node.v_threshold)
    v = _or_full(state, x, node.v_leak)
    return _norse_fire(v + rise * (x + float32(node.v_leak) - v), threshold, v_reset, reset)


def norse_cuba_lif(
    node: Any,
    x: Array,
    state: tuple[Array, Array] | None,
    *,
    dt: float = NORSE_DT,
    export_dt: float = NORSE_DT,
    v_reset: float = 0.0,
) -> tuple[Array, tuple[Array, Array]]:
    """``norse.torch.LIFCell``, written as CubaLIF; the whole input jumps onto the current, and decays after its use.

        tau_mem = tau_mem / export_dt,  tau_syn = tau_syn / export_dt,  as ``norse_lif``
        j    = i + x                                     not w_in dt / tau_syn x, though w_in = 1 stands in the file
        u    = v + dt / tau_mem (v_leak - v + j)         r = 1 always
        i'   = j - dt / tau_syn j
        z    = H(u > v_threshold),  v' = (1 - z) u + z v_reset

    v starts at v_leak, i at 0.
    """
    rise = float32(dt * export_dt / np.float64(node.tau_mem))
    fall = float32(dt * export_dt / np.float64(node.tau_syn))
    i, v = (np.zeros_like(x), _or_full(None, x, node.v_leak)) if state is None else state
    jump = i + x
    u = v + rise * ((float32(node.v_leak) - v) + jump)
    z, v = _norse_fire(u, float32(node.v_threshold), v_reset, "value")
    return z, (jump - fall * jump, v)


def norse_if(node: Any, x: Array, state: Array | None, *, v_reset: float = 0.0) -> tuple[Array, Array]:
    """``norse.torch.IAFCell``, written as IF: ``u = v + x`` whatever dt is, r = 1 always; v starts at v_reset."""
    v = _or_full(state, x, v_reset)
    return _norse_fire(v + x, float32(node.v_threshold), v_reset, "value")


def norse_li(
    node: Any, x: Array, state: Array | None, *, dt: float = NORSE_DT, export_dt: float = NORSE_DT
) -> tuple[Array, Array]:
    """``norse.torch.LIBoxCell``, written as LI: ``v' = v + dt / tau_mem (v_leak - v + x)``, tau as ``norse_lif``."""
    v = _or_full(state, x, node.v_leak)
    v = v + float32(dt * export_dt / np.float64(node.tau)) * ((float32(node.v_leak) - v) + x)
    return v, v


def _norse_fire(u: Array, threshold: Array, v_reset: float, reset: str) -> tuple[Array, Array]:
    z = (u > threshold).astype(np.float32)
    return z, (1 - z) * u + z * (u - threshold if reset == "subtract" else np.float32(v_reset))


# ---- Sinabs


def sinabs_lif(
    node: Any,
    x: Array,
    state: Any,
    *,
    norm_input: bool = True,
    tau_syn: float | None = None,
    spikes: Literal["multi", "single"] = "multi",
    reset: Literal["subtract", "value"] = "subtract",
    v_reset: float = 0.0,
    min_v_mem: float | None = None,
) -> tuple[Array, Any]:
    """``sinabs.layers.LIF``, written as LIF; tau counts steps: dt = 1.

        alpha = exp(-1 / tau),  g = 1 - alpha with norm_input, 1 without; r = 1 is written in both cases
        i'   = x;   with tau_syn, which the file drops,  i' = exp(-1 / tau_syn) (i + x)
        u    = alpha v + g i'
        "multi"     z = max(0, trunc(u / v_threshold))   "single"  z = H(u >= v_threshold)
        "subtract"  v' = u - z v_threshold               "value"   v' = H(z = 0) u + v_reset
        with min_v_mem, which the file drops,  v' = max(v', min_v_mem)

    A neuron may fire several times in a step, and does so at the threshold. "value" adds v_reset to every neuron.
    """
    alpha = np.exp(np.float32(-1.0) / float32(node.tau))
    i, v = (np.zeros_like(x), np.zeros_like(x)) if state is None else state
    i = x if tau_syn is None else np.exp(np.float32(-1.0) / np.float32(tau_syn)) * (i + x)
    u = alpha * v + ((1 - alpha) * i if norm_input else i)
    z, v = _sinabs_fire(u, float32(node.v_threshold), spikes, reset, v_reset, min_v_mem)
    return z, (i, v)


def sinabs_if(
    node: Any,
    x: Array,
    state: Array | None,
    *,
    spikes: str = "multi",
    reset: str = "subtract",
    v_reset: float = 0.0,
    min_v_mem: float | None = None,
) -> tuple[Array, Array]:
    """``sinabs.layers.IAF``, written as IF: ``u = v + x``, r = 1 always; fires and resets as ``sinabs_lif``."""
    u = _or_zeros(state, x) + x
    return _sinabs_fire(u, float32(node.v_threshold), spikes, reset, v_reset, min_v_mem)


def sinabs_li(node: Any, x: Array, state: Array | None, *, norm_input: bool = False) -> tuple[Array, Array]:
    """``sinabs.layers.ExpLeak``, written as LI: ``v' = alpha v + g x``, as ``sinabs_lif`` but norm_input is off."""
    alpha = np.exp(np.float32(-1.0) / float32(node.tau))
    v = alpha * _or_zeros(state, x) + ((1 - alpha) * x if norm_input else x)
    return v, v


def _sinabs_fire(
    u: Array, threshold: Array, spikes: str, reset: str, v_reset: float, min_v_mem: float | None
) -> tuple[Array, Array]:
    z = np.where(u > 0, np.trunc(u / threshold), 0) if spikes == "multi" else u - threshold >= 0
    z = z.astype(np.float32)
    v = u - z * threshold if reset == "subtract" else u * (z == 0) + np.float32(v_reset)
    if min_v_mem is not None:
        v = np.maximum(v - np.float32(min_v_mem), 0) + np.float32(min_v_mem)
    return z, v.astype(np.float32)


# ---- SpikingJelly


def spikingjelly_lif(node: Any, x: Array, state: Array | None, *, dt: float = SPIKINGJELLY_DT) -> tuple[Array, Array]:
    """``LIFNode`` and ``ParametricLIFNode`` of SpikingJelly, written as LIF; dt is what the exporter was given.

        u    = v + dt / tau (v_leak - v + r x)           r = 1 with decay_input, tau / dt without; v_leak = v_reset
        z    = H(u >= v_threshold),  v' = z v_reset + (1 - z) u

    v starts at v_reset. The neuron fires at the threshold.
    """
    tau, v_reset = float32(np.float64(node.tau) / dt), float32(node.v_reset)
    v = _or_full(state, x, node.v_reset)
    if np.allclose(node.r, 1.0):
        u = v + (x - (v - float32(node.v_leak))) / tau
    else:
        u = v - (v - float32(node.v_leak)) / tau + float32(np.float64(node.r) * dt / np.float64(node.tau)) * x
    return _spikingjelly_fire(u, node, v_reset)


def spikingjelly_if(node: Any, x: Array, state: Array | None, *, dt: float = SPIKINGJELLY_DT) -> tuple[Array, Array]:
    """``IFNode`` of SpikingJelly, written as IF: ``u = v + r dt x``, r = 1 / dt; then as ``spikingjelly_lif``."""
    v = _or_full(state, x, node.v_reset)
    return _spikingjelly_fire(v + float32(np.float64(node.r) * dt) * x, node, float32(node.v_reset))


def spikingjelly_cuba_lif(
    node: Any, x: Array, state: tuple[Array, Array] | None, *, dt: float = SPIKINGJELLY_DT
) -> tuple[Array, tuple[Array, Array]]:
    """``CUBALIFNode`` of SpikingJelly, written as CubaLIF.

        i'   = (1 - dt / tau_syn) i + w_in dt / tau_syn x         w_in = tau_syn / dt
        u    = (1 - dt / tau_mem) v + r dt / tau_mem i'           r = tau_mem / dt, v_leak = 0
        z    = H(u >= v_threshold),  v' = z v_reset + (1 - z) u

    The membrane takes the current of this step. v starts at v_reset, i at 0.
    """
    syn, mem = dt / np.float64(node.tau_syn), dt / np.float64(node.tau_mem)
    i, v = (np.zeros_like(x), _or_full(None, x, node.v_reset)) if state is None else state
    i = i * float32(1.0 - syn) + float32(node.w_in * syn) * x
    u = v * float32(1.0 - mem) + float32(node.r * mem) * i
    z, v = _spikingjelly_fire(u, node, float32(node.v_reset))
    return z, (i, v)


def _spikingjelly_fire(u: Array, node: Any, v_reset: Array) -> tuple[Array, Array]:
    z = (u - float32(node.v_threshold) >= 0).astype(np.float32)
    return z, z * v_reset + (1 - z) * u


# ---- graphs

NEURONS: dict[str, dict[type, Callable[..., tuple[Array, Any]]]] = {
    "snntorch": {nir.LIF: snntorch_lif, nir.CubaLIF: snntorch_cuba_lif},
    "norse": {nir.LIF: norse_lif, nir.CubaLIF: norse_cuba_lif, nir.IF: norse_if, nir.LI: norse_li},
    "sinabs": {nir.LIF: sinabs_lif, nir.IF: sinabs_if, nir.LI: sinabs_li},
    "spikingjelly": {nir.LIF: spikingjelly_lif, nir.IF: spikingjelly_if, nir.CubaLIF: spikingjelly_cuba_lif},
}


def run(
    graph: Any, x: Array, neurons: Mapping[str, Neuron], late: set[tuple[str, str]] | None = None
) -> dict[str, Array]:
    """Return the outputs of all nodes over time, each of shape (T, N, ...).

    Within a step the nodes are visited from the input on, so that no layer waits for a step. Only the output of a
    neuron that comes back to it in a cycle is that of the step before, and 0 in the first.

    Args:
        graph: a NIRGraph without graphs in it.
        x: input, shape (T, N, ...).
        neurons: for each node that has a state, its function.
        late: the edges that hand on the output of the step before, if others than said above.
    """
    edges = set(graph.edges)
    if late is None:
        late = {(a, b) for a, b in edges if a in neurons and _reaches(edges, b, a)}
    order = list(graphlib.TopologicalSorter(_sources(graph.nodes, edges - late)).static_order())
    sources, before = _sources(graph.nodes, edges), {a: _zeros(graph.nodes[a], x) for a, _ in late}
    states: dict[str, Any] = {}
    found: dict[str, list[Array]] = {name: [] for name in order}
    for x_t in x:
        now: dict[str, Array] = {}
        for name in order:
            node = graph.nodes[name]
            if isinstance(node, nir.Input):
                now[name] = x_t
                continue
            given = sum_of([before[a] if (a, name) in late else now[a] for a in sorted(sources[name])])
            if name in neurons:
                now[name], states[name] = neurons[name](node, given, states.get(name))
            else:
                now[name] = layer(node, given)
        before = {name: now[name] for name in before}
        for name in order:
            found[name].append(now[name])
    return {name: np.stack(each) for name, each in found.items()}


def _zeros(node: Any, x: Array) -> Array:
    shape = np.shape(node.weight)[:1] if hasattr(node, "weight") else np.shape(node.v_threshold)
    return np.zeros((x.shape[1], *shape), np.float32)


def _sources(nodes: Mapping[str, Any], edges: set[tuple[str, str]]) -> dict[str, set[str]]:
    return {name: {a for a, b in edges if b == name} for name in nodes}


def _reaches(edges: set[tuple[str, str]], start: str, end: str) -> bool:
    seen, open_ = set(), [start]
    while open_:
        name = open_.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            open_ += [b for a, b in edges if a == name]
    return False
