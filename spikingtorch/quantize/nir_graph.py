"""Whole numbers as a graph of NIR: integer arrays, and thresholds between two whole numbers."""

import json
from typing import Any

import numpy as np

from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron
from spikingtorch.quantize.nodes import Conv2d, Flatten, Ints, Linear, Sum, SumPool2d, Whole

# of the metadata, beside that of networks in floating point
KEY = "spikingtorch.quantize"


def to_nir(integer: WholeNetwork, x: Any, dt: float = 1e-4, approximate: bool = False) -> Any:
    """Return the graph of a network; ``IntegerModel.to_nir`` is the method for it.

    Weights and biases keep their integer types, and inputs are whole numbers. A membrane is in units of its grid, so r
    is 2**(fraction_bits - exponent) / dt. NIR fires above its threshold, so a threshold is half a unit lower.
    """
    import nir

    graph, lost = _graph(integer, dt, nir)
    for name, (_, what) in lost.items():
        if not approximate:
            raise IntegerError(
                name, "nir", f"NIR has no word for {what}; approximate=True writes the nearest, and a note of it"
            )
    graph.metadata = {KEY: json.dumps(_notes(integer, dt, {name: what for name, (_, what) in lost.items()}))}
    different = _different(integer, graph, integer.whole_input(x), dt)
    if different and not approximate:
        raise IntegerError(
            "",
            "nir",
            f"the graph gives {different} other outputs on x, because NIR has registers without an end. Take more "
            "membrane bits, or approximate=True",
            float(different),
        )
    return graph


def _graph(integer: WholeNetwork, dt: float, nir: Any) -> tuple[Any, dict[str, tuple[str, str]]]:
    nodes: dict[str, Any] = {"input": nir.Input(np.array(integer.input_shape))}
    # of the input and each node, the nodes of the graph whose outputs sum to its output
    edges, lost, names = [], {}, [["input"]]
    for node, sources in integer.steps():
        arriving = [name for source in sources for name in names[source + 1]]
        if isinstance(node, Sum):
            _check_sum(node, arriving)
            names.append(arriving)
            continue
        name = _name(node.name, nodes)
        nodes[name] = _node(node, dt, nir)
        edges += [(each, name) for each in arriving]
        if isinstance(node, Neuron):
            missing = _unsaid(node)
            if missing:
                lost[node.name] = (name, missing)
            if node.recurrent is not None:
                back = _name(f"{node.name}_recurrent", nodes)
                nodes[back] = _recurrent(node, nir)
                edges += [(name, back), (back, name)]
        names.append([name])
    nodes["output"] = nir.Output(np.array(integer.output_shape))
    # the type check of nir 1.0.8 does not support groups of convolutions
    return nir.NIRGraph(nodes, [*edges, *((each, "output") for each in names[-1])], type_check=False), lost


def _check_sum(node: Sum, branches: list[str]) -> None:
    """Raise unless a sum is one that edges of NIR say: of different nodes, in one unit."""
    if any(node.shifts) or len({*branches}) < len(branches):
        what = "in different units" if any(node.shifts) else "of one node with itself"
        raise IntegerError(
            node.name, "nir", f"NIR has no word for a sum of branches {what}; put the factor into weights"
        )


def _name(name: str, taken: dict[str, Any]) -> str:
    """Return a name without points, which would tell of graphs in graphs."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in name) or "net"
    while plain in taken:
        plain += "_"
    return plain


def _node(node: Linear | Conv2d | SumPool2d | Flatten | Neuron, dt: float, nir: Any) -> Any:
    if isinstance(node, Linear | Conv2d):
        return _weights(node, node.weight, node.bias, nir)
    if isinstance(node, SumPool2d):
        return nir.SumPool2d(np.array(node.kernel), np.array(node.stride), np.array((0, 0)))
    if isinstance(node, Flatten):
        return nir.Flatten({"input": np.array(node.input_shape)}, 0, -1)
    return _cells(node, dt, nir)


def _cells(node: Neuron, dt: float, nir: Any) -> Any:
    """Return an IF, or the LIF or CubaLIF whose exponential decays are nearest to k / 2**m."""
    scale = 2.0 ** (node.fraction_bits - node.sum_exponent)
    full = np.ones(node.shape)
    fires = {"v_threshold": full * (np.asarray(node.threshold) + (0.5 if node.strict else -0.5))}
    fires["v_reset"] = full * np.asarray(node.v_reset if node.reset == "value" else 0)
    if node.kind == "if":
        return nir.IF(r=full * scale / dt, **fires)
    tau, share = _time(node.decay, dt, node.shape)
    if node.decay_synapse is None:
        return nir.LIF(tau=tau, r=full * scale / (1 - share), v_leak=full * 0, **fires)
    tau_syn, share_syn = _time(node.decay_synapse, dt, node.shape)
    gains = {"w_in": full * scale / (1 - share_syn), "r": full / (1 - share)}
    return nir.CubaLIF(tau_syn=tau_syn, tau_mem=tau, v_leak=full * 0, **gains, **fires)


def _time(decay: tuple[Any, Any], dt: float, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return time constants, and the shares k / 2**m kept over a step, between 0 and 1."""
    share = np.broadcast_to(np.asarray(decay[0]) / np.exp2(decay[1]), shape)
    share = share.clip(2.0**-40, 1 - 2.0**-40)
    return -dt / np.log(share), share


def _recurrent(node: Neuron, nir: Any) -> Any:
    back = node.recurrent
    assert back is not None
    scale = 1 << (node.sum_exponent - back.exponent)
    weight = back.weight.astype(np.int64) * scale
    if isinstance(back, Linear | Conv2d):
        return _weights(back, weight, back.bias.astype(np.int64) * scale, nir)
    return nir.Scale(weight)


def _weights(node: Linear | Conv2d, weight: Ints, bias: Ints, nir: Any) -> Any:
    if isinstance(node, Linear):
        return nir.Affine(weight, bias)
    around = {name: getattr(node, name) for name in ("stride", "padding", "dilation", "groups")}
    return nir.Conv2d(node.input_shape[1:], weight, bias=bias, **around)


def _unsaid(node: Neuron) -> str:
    """Return what of a neuron NIR cannot say."""
    if node.kind not in ("if", "lif", "cuba"):
        return f"the neurons of {node.kind}"
    if node.reset not in ("zero", "value"):
        return f"a reset by {node.reset}"
    if node.sum_exponent > node.fraction_bits:
        return f"a current that is rounded from 2**-{node.sum_exponent} to 2**-{node.fraction_bits}"
    if node.exponent < node.sum_exponent:
        return "recurrent weights in a finer unit than that of the sums"
    if node.kind != "if":
        return "a decay that is rounded at each step"
    return ""


def _notes(integer: WholeNetwork, dt: float, lost: dict[str, str]) -> dict[str, Any]:
    names = ("kind", "fraction_bits", "low", "high", "rounding", "overflow", "reset")
    told = {
        node.name: {
            **{name: getattr(node, name) for name in names},
            "decay": _plain(node.decay),
            "decay_synapse": _plain(node.decay_synapse),
        }
        for node in integer.nodes
        if isinstance(node, Neuron)
    }
    return {"dt": dt, "input_exponent": integer.input_exponent, "neurons": told, "lost": lost}


def _plain(decay: tuple[Any, Any] | None) -> Any:
    return None if decay is None else [np.asarray(each).tolist() for each in decay]


def _different(integer: WholeNetwork, graph: Any, x: Whole, dt: float) -> int:
    """Return how many outputs of a simulation of the graph differ."""
    from spikingtorch.interop.nir.reference import simulate

    found = simulate(graph, x.swapaxes(0, 1).astype(np.float64), dt=dt, discretisation="exponential")
    out = found.out["output"].swapaxes(0, 1)
    return int((np.abs(out - integer.run(x).out) > 0.25).sum())
