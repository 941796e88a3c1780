"""Graphs that tell readings apart, each in a few words."""

import itertools
from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from tests.interop.nir.peers.fixture import Array

# ---- graphs
N_IN, N_OUT = 5, 6


def full(value: float, n: int = N_OUT) -> Array:
    return np.full(n, value)


def weight(seed: int, n_out: int = N_OUT, n_in: int = N_IN) -> Array:
    drawn = np.random.default_rng(seed).standard_normal((n_out, n_in))
    return (0.3 + 0.5 * drawn).astype(np.float32)


def affine(seed: int, n_out: int = N_OUT, n_in: int = N_IN) -> Any:
    return nir.Affine(weight(seed, n_out, n_in), np.linspace(-0.05, 0.05, n_out, dtype=np.float32))


def dyadic(scale: float) -> Any:
    """Return an Affine all of whose numbers are sums of powers of 2, so that membranes often equal the threshold."""
    weights = np.tile([[2, 1, 1, -1, 3], [1, 1, 2, 2, -1], [3, -1, 1, 2, 1]], (2, 1))
    return nir.Affine((weights * scale).astype(np.float32), np.zeros(N_OUT, np.float32))


def lif(
    dt: float, tau: Any = 8.0, r: Any = 1.0, v_leak: float = 0.0, v_reset: float = 0.0, threshold: Any = 1.0
) -> Any:
    ones = np.ones(N_OUT)
    return nir.LIF(
        tau=tau * dt * ones, r=r * ones, v_leak=v_leak * ones, v_threshold=threshold * ones, v_reset=v_reset * ones
    )


def cuba(dt: float, r: float = 1.0, w_in: float = 1.0, v_leak: float = 0.0, v_reset: float = 0.0) -> Any:
    return nir.CubaLIF(
        tau_syn=full(3.0 * dt),
        tau_mem=full(8.0 * dt),
        r=full(r),
        v_leak=full(v_leak),
        v_threshold=full(1.0),
        v_reset=full(v_reset),
        w_in=full(w_in),
    )


def integrate(r: float, v_reset: float = 0.0) -> Any:
    return nir.IF(r=full(r), v_threshold=full(1.0), v_reset=full(v_reset))


def li(dt: float, r: float = 1.0, v_leak: float = 0.0) -> Any:
    return nir.LI(tau=full(8.0 * dt), r=full(r), v_leak=full(v_leak))


def chain(*nodes: Any, shape: tuple[int, ...] = (N_IN,)) -> Any:
    """Return a graph of nodes one behind the other."""
    named = {"input": nir.Input({"input": np.array(shape)}), **{f"n{k}": node for k, node in enumerate(nodes)}}
    named["output"] = nir.Output({"output": np.array([N_OUT])})
    return nir.NIRGraph(named, list(itertools.pairwise(named)))


def recurrent(neuron: Any, back: Any, output_first: bool = False) -> Any:
    """Return a graph with a neuron whose spikes come back to it through ``back``; its edges in one order or another."""
    nodes = {
        "input": nir.Input({"input": np.array([N_IN])}),
        "fc": affine(1),
        "rec.lif": neuron,
        "rec.w_rec": back,
        "output": nir.Output({"output": np.array([N_OUT])}),
    }
    start, end = [("input", "fc"), ("fc", "rec.lif")], [("rec.lif", "output")]
    cycle = [("rec.lif", "rec.w_rec"), ("rec.w_rec", "rec.lif")]
    return nir.NIRGraph(nodes, [*start, *end, *cycle] if output_first else [*start, *cycle, *end])


def pooled(dt: float, pool: Any) -> Any:
    """Return a graph with a convolution and a pool."""
    return chain(
        nir.Conv2d((6, 6), weight(3, 2, 9).reshape(2, 1, 3, 3), 1, 0, 1, 1, np.array([0.05, -0.05], np.float32)),
        pool(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])),
        nir.Flatten({"input": np.array([2, 2, 2])}, 0, 2),
        affine(4, n_in=8),
        lif(dt),
        shape=(1, 6, 6),
    )


def probes(dt: float) -> dict[str, Callable[[], Any]]:
    """Return what makes each graph, in the order of the table in README.md."""
    ramp = np.linspace(0.5, 1.5, N_OUT)
    back = -0.3 * np.abs(weight(6, N_OUT, N_OUT))
    mixed = nir.Affine(weight(1) - np.float32(0.3), np.zeros(N_OUT, np.float32))
    return {
        "lif": lambda: chain(affine(1), lif(dt)),
        "lif_linear": lambda: chain(nir.Linear(weight(1)), lif(dt)),
        "lif_ties": lambda: chain(dyadic(0.5), lif(dt, tau=2.0)),
        "lif_r": lambda: chain(affine(1), lif(dt, r=3.0)),
        "lif_r_tau_over_dt": lambda: chain(affine(1), lif(dt, r=8.0)),
        "lif_r_each": lambda: chain(affine(1), lif(dt, r=ramp)),
        "lif_tau_each": lambda: chain(affine(1), lif(dt, tau=8.0 * ramp)),
        "lif_r_tau_over_dt_each": lambda: chain(affine(1), lif(dt, tau=8.0 * ramp, r=8.0 * ramp)),
        "lif_threshold_each": lambda: chain(affine(1), lif(dt, threshold=ramp)),
        "lif_leak": lambda: chain(affine(1), lif(dt, v_leak=0.3)),
        "lif_reset": lambda: chain(affine(1), lif(dt, v_reset=-0.4)),
        "lif_leak_reset": lambda: chain(affine(1), lif(dt, v_leak=-0.4, v_reset=-0.4)),
        "lif_short_tau": lambda: chain(affine(1), lif(dt, tau=0.8)),
        "two_layers": lambda: chain(affine(1), lif(dt), affine(2, N_OUT, N_OUT), lif(dt)),
        "if": lambda: chain(affine(1), integrate(1.0)),
        "if_r_1_over_dt": lambda: chain(affine(1), integrate(1.0 / dt)),
        "if_ties": lambda: chain(dyadic(0.125), integrate(1.0 / dt)),
        "if_reset": lambda: chain(affine(1), integrate(1.0 / dt, v_reset=-0.4)),
        "if_below_0": lambda: chain(mixed, integrate(1.0 / dt)),
        "li": lambda: chain(affine(1), li(dt)),
        "li_r": lambda: chain(affine(1), li(dt, r=3.0)),
        "li_leak": lambda: chain(affine(1), li(dt, v_leak=0.3)),
        "cuba": lambda: chain(affine(1), cuba(dt)),
        "cuba_r": lambda: chain(affine(1), cuba(dt, r=3.0)),
        "cuba_w_in": lambda: chain(affine(1), cuba(dt, w_in=2.0)),
        "cuba_r_over_dt": lambda: chain(affine(1), cuba(dt, r=8.0, w_in=1.0)),
        "cuba_gains_over_dt": lambda: chain(affine(1), cuba(dt, r=8.0, w_in=3.0)),
        "cuba_leak": lambda: chain(affine(1), cuba(dt, r=8.0, w_in=3.0, v_leak=0.3)),
        "cuba_reset": lambda: chain(affine(1), cuba(dt, r=8.0, w_in=3.0, v_reset=-0.4)),
        "conv_average": lambda: pooled(dt, nir.AvgPool2d),
        "conv_sum": lambda: pooled(dt, nir.SumPool2d),
        "recurrent_linear": lambda: recurrent(lif(dt, r=8.0), nir.Linear(back)),
        "recurrent_affine": lambda: recurrent(lif(dt, r=8.0), nir.Affine(back, np.linspace(0.0, 0.2, N_OUT))),
        "recurrent_r_1": lambda: recurrent(lif(dt), nir.Linear(8.0 * back)),
        "recurrent_output_first": lambda: recurrent(lif(dt), nir.Linear(8.0 * back), output_first=True),
        "recurrent_if": lambda: recurrent(integrate(1.0 / dt), nir.Linear(back)),
        "recurrent_cuba": lambda: recurrent(cuba(dt, r=8.0, w_in=3.0), nir.Linear(back)),
    }
