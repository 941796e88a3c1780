"""The reference of NIR: nodes beside solutions by hand and closed forms; sums, cycles, inner graphs, refusals."""

import ast
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikingtorch.interop.nir import reference, reference_maps, reference_nodes, reference_types
from spikingtorch.interop.nir.reference import Array, simulate
from tests.interop.nir.graphs_by_hand import UNKNOWN, arrays, close, end, graph, random, run, start, train

WAYS = ("exact", "exponential", "euler")


def test_integrate_and_fire_by_hand() -> None:
    """r = 1, dt = 0.5: every input of 1 adds 0.5; 1 is not above 1, 1.5 is; the reset is to 0.25."""
    node = nir.IF(**arrays(r=1.0, v_threshold=1.0, v_reset=0.25))
    trace = run(node, train(1, 1, 1, 1, 1, 0, -1, 3), dt=0.5)
    assert trace.out["out"].ravel().tolist() == [0, 0, 1, 0, 1, 0, 0, 1]
    assert trace.membranes["0"].ravel().tolist() == [0.5, 1.0, 1.5, 0.75, 1.25, 0.25, -0.25, 1.25]


@pytest.mark.parametrize("way", WAYS)
def test_leaky_integrate_and_fire_starts_anew_after_each_spike(way: str) -> None:
    """Between spikes v(k) = target + (start - target) kept^k; the start is 0 and then v_reset, in closed form."""
    node = nir.LIF(**arrays(tau=10.0, r=2.0, v_leak=0.5, v_threshold=1.0, v_reset=-0.75))
    trace = run(node, np.full((60, 1, 1), 0.8), dt=2.0, discretisation=way)
    kept = 1 - 2 / 10 if way == "euler" else math.exp(-2 / 10)
    target, origin, since = 0.5 + 2 * 0.8, 0.0, 0
    for spike, membrane in zip(trace.out["out"].ravel(), trace.membranes["0"].ravel(), strict=True):
        since += 1
        expected = target + (origin - target) * kept**since
        assert membrane == pytest.approx(expected, abs=1e-12)
        assert spike == (expected > 1.0)
        if spike:
            origin, since = -0.75, 0
    assert trace.out["out"].sum() >= 5


def runge_kutta(x: Array, dt: float, syn: float, mem: float, r: float, leak: float, w: float) -> list[float]:
    """v at the end of each step, by 400 steps of Runge and Kutta's method in each."""

    def slope(i: float, v: float, s: float) -> tuple[float, float]:
        return (w * s - i) / syn, (leak - v + r * i) / mem

    i = v = 0.0
    ends, h = [], dt / 400
    for s in x.ravel().tolist():
        for _ in range(400):
            i1, v1 = slope(i, v, s)
            i2, v2 = slope(i + h / 2 * i1, v + h / 2 * v1, s)
            i3, v3 = slope(i + h / 2 * i2, v + h / 2 * v2, s)
            i4, v4 = slope(i + h * i3, v + h * v3, s)
            i, v = i + h / 6 * (i1 + 2 * i2 + 2 * i3 + i4), v + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        ends.append(v)
    return ends


NEAR = [(5.0, 20.0), (20.0, 5.0), (8.0, 8.0), (8.0, 8.0 * (1 + 1e-4)), (8.0 * (1 + 1e-9), 8.0), (8.0, 8.0 + 2e-15)]


@pytest.mark.parametrize(("syn", "mem"), NEAR)
def test_exact_current_based_integrator(syn: float, mem: float) -> None:
    x = random(10, 1, 1)
    node = nir.CubaLI(**arrays(tau_syn=syn, tau_mem=mem, r=1.5, v_leak=-0.5, w_in=2.0))
    v = run(node, x, dt=3.0).out["out"]
    close(v.ravel(), runge_kutta(x, 3.0, syn, mem, 1.5, -0.5, 2.0), 1e-10)


@pytest.mark.parametrize(("syn", "mem"), [(1e-4, 5.0), (5.0, 1e-4), (1e-4, 1.0001e-4)])
def test_exact_current_based_integrator_of_very_short_time_constants(syn: float, mem: float) -> None:
    """A variable with a time constant of nearly nothing is at its target: what is left is one equation, or none."""
    node = nir.CubaLI(**arrays(tau_syn=syn, tau_mem=mem, r=2.0, v_leak=0.5))
    v = run(node, np.ones((4, 1, 1)), dt=1.0).out["out"].ravel()
    slow = max(syn, mem)
    free = 0.5 if syn > mem else 0.0  # v_leak is there at once if v is the fast one
    close(v, 2.5 + (free - 2.5) * np.exp(-np.arange(1, 5) / slow), 1e-4)


def test_semi_implicit_euler_by_hand() -> None:
    """I: 0, 1, 1.5, 0.75; v: 0, 0.875, 1.90625, 2.1171875, with the new I in v."""
    node = nir.CubaLI(**arrays(tau_syn=2.0, tau_mem=4.0, r=3.0, v_leak=0.5, w_in=2.0))
    v = run(node, train(1, 1, 0), discretisation="euler").out["out"].ravel()
    assert v.tolist() == [0.875, 1.90625, 2.1171875]


def test_input_weight_is_one_by_default() -> None:
    values = {"tau_syn": 2.0, "tau_mem": 3.0, "r": 1.0, "v_leak": 0.0}
    one, none = nir.CubaLI(**arrays(**values, w_in=1.0)), nir.CubaLI(**arrays(**values))
    assert (run(one, train(1, 0)).out["out"] == run(none, train(1, 0)).out["out"]).all()


def test_exactly_at_the_threshold_is_no_spike() -> None:
    above = float(np.nextafter(1.0, 2.0))
    trace = run(nir.Threshold(np.array([1.0])), train(1.0, above, -2))
    assert trace.out["out"].ravel().tolist() == [0, 1, 0]
    assert trace.membranes["0"].ravel().tolist() == [1.0, above, -2.0]
    fires = nir.IF(**arrays(r=1.0, v_threshold=1.0))
    assert run(fires, train(1, 0)).out["out"].sum() == 0
    assert run(fires, train(above, 0)).out["out"].sum() == 1
    leaky = nir.LIF(**arrays(tau=1.0, r=1.0, v_leak=0.0, v_threshold=1.0))
    assert run(leaky, train(1, 1), discretisation="euler").out["out"].sum() == 0
    current = nir.CubaLIF(**arrays(tau_syn=1.0, tau_mem=1.0, r=1.0, v_leak=0.0, v_threshold=1.0))
    assert run(current, train(1, 1), discretisation="euler").out["out"].sum() == 0


def test_parameters_broadcast_as_in_numpy() -> None:
    x = random(5, 2, 3, 4)
    tau, r = np.full((3, 1), 4.0), np.array([[1.0], [2.0], [3.0]])
    v = run(nir.LI(tau=tau, r=r, v_leak=np.zeros((3, 1))), x).out["out"]
    for c in range(3):
        alone = nir.LI(tau=np.array(4.0), r=np.array(c + 1.0), v_leak=np.array(0.0))
        close(v[:, :, c], run(alone, x[:, :, c]).out["out"], 0)


# -- parts of a step


@pytest.mark.parametrize("way", ["exponential", "euler"])
def test_more_parts_come_near_the_exact_solution(way: str) -> None:
    node = nir.CubaLI(**arrays(tau_syn=5.0, tau_mem=8.0, r=1.0, v_leak=0.3))
    x = random(20, 1, 1)
    exact = run(node, x, dt=4.0).out["out"]
    errors = [np.abs(run(node, x, dt=4.0, discretisation=way, refine=k).out["out"] - exact).max() for k in (10, 100)]
    assert errors[1] < errors[0] / 8 < 0.01
    close(run(node, x, dt=4.0, refine=7).out["out"], exact)


def test_spikes_inside_a_step_are_counted_and_reset_there() -> None:
    """With r S = 2 and threshold 1, a neuron fires every tau ln 2."""
    node = nir.LIF(**arrays(tau=20.0, r=2.0, v_leak=0.0, v_threshold=1.0))
    trace = run(node, np.ones((5, 1, 1)), dt=100.0, refine=4000)
    every = 20 * math.log(2)
    expected = [math.floor((t + 1) * 100 / every) - math.floor(t * 100 / every) for t in range(5)]
    assert trace.out["out"].ravel().tolist() == expected
    phase = np.arange(1, 6) * 100 % every
    close(trace.membranes["0"].ravel(), 2 - 2 * np.exp(-phase / 20), 0.05)


def test_parts_by_hand() -> None:
    """Parts of 0.5 and r S = 1.5: v = 0.75, 1.5 (spike), 0.75, 1.5 (spike), then S = 0."""
    node = nir.IF(**arrays(r=1.5, v_threshold=1.0))
    trace = run(node, train(1, 1, 0), refine=2)
    assert trace.out["out"].ravel().tolist() == [1, 1, 0]
    assert trace.membranes["0"].ravel().tolist() == [1.5, 1.5, 0]
    assert run(node, train(4), refine=2).out["out"].ravel().tolist() == [2]


# -- maps


def test_leading_axes_of_a_weight_are_axes_of_the_signal() -> None:
    """A weight (6, out, in) maps row i of a signal (6, in) by its matrix i."""
    weight, bias, x = random(6, 4, 3), random(6, 4), random(5, 2, 6, 3, seed=1)
    y = run(nir.Affine(weight, bias), x).out["out"]
    for i in range(6):
        close(y[:, :, i], x[:, :, i] @ weight[i].T + bias[i])


def spiking(threshold: float = 0.5) -> Any:
    """A neuron that forgets everything in one Euler step: it fires if its input is above the threshold."""
    return nir.LIF(**arrays(tau=1.0, r=1.0, v_leak=0.0, v_threshold=threshold))


NODES: dict[str, Any] = {"in": start(), "out": end(), "neg": nir.Scale(np.array(-1.0))}
NODES |= {"w": nir.Linear(np.full((1, 1), 2.0)), "never": nir.Threshold(np.array([9.0]))}
NODES |= {"a": spiking(), "b": spiking(), "c": spiking(), "high": spiking(1.5), "late": nir.Delay(np.array([2.0]))}
NODES |= {"y": nir.Threshold(np.array([0.5])), "z": nir.Threshold(np.array([0.5]))}
NODES |= {"v": nir.I(**arrays(r=1.0)), "back": nir.Affine(np.zeros((1, 1)), np.ones(1))}
# edges, an input, and the values of nodes
BY_HAND: dict[str, tuple[str, list[int], dict[str, list[int]]]] = {
    # an edge to a node nearer to the Input is late on a cycle only; Threshold passes spikes on at once
    "a path that skips neurons is of the same step": ("in y, y z, z out, in out", [1, 0, 1], {"out": [2, 0, 2]}),
    # forward in the same step, as in a chain; back from the further to the nearer one in the next step
    "two that excite each other": ("in a, a b, b a, b out", [0, 1, 0, 0], {"a": [0, 1, 1, 1], "b": [0, 1, 1, 1]}),
    # the Input excites a, and inhibits b; a's spike makes b fire one step later, then a again
    "two as near to the input hear each other one step later": (
        *("in a, in neg, neg b, a b, b a, b out, a out", [1, 0, 0, 0], {"a": [1, 0, 1, 0], "b": [0, 1, 0, 1]}),
    ),
    # c is nearer than b, though the path through a and b is listed first: b hears c at once, c hears b later
    "the path with the fewest neurons says how near one is": (
        *("in a, a b, b c, c b, in neg, neg c, b out", [1, 0, 0], {"b": [1, 1, 1], "c": [0, 1, 1]}),
    ),
    "a threshold is a neuron on a cycle": ("in z, z z, z out", [0, 1, 0, -1, 0], {"out": [0, 1, 1, 0, 0]}),
    # the map gets x[t] and the spikes of the step before, whatever the order of the edges
    "one map for the input and the recurrence": (
        *("in w, w high, high w, high out", [0, 1, 0, 0, -1, 0], {"out": [0, 1, 1, 1, 0, 0], "w": [0, 2, 2, 2, 0, 0]}),
    ),
    "in another order": ("high out, high w, w high, in w", [0, 1, 0, 0, -1, 0], {"out": [0, 1, 1, 1, 0, 0]}),
    # the bias of the map that brings it flows from the first step on, for before it all neurons have been silent
    "at first, a map of nothing": ("in v, v never, never back, back v, v out", [0, 0, 0], {"out": [1, 2, 3]}),
    "a delay on a cycle adds to its step": ("in a, a late, late a, a out", [1, 0, 0, 0, 0], {"out": [1, 0, 0, 1, 0]}),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_steps_of_a_graph_by_hand(name: str) -> None:
    edges, x, expected = BY_HAND[name]
    pairs: Any = [tuple(each.split()) for each in edges.split(", ")]
    net = graph({node: NODES[node] for node in NODES if node in edges.replace(",", "").split()}, pairs)
    trace = simulate(net, train(*x), dt=1.0, discretisation="euler")
    assert {node: trace.values[node].ravel().tolist() for node in expected} == expected


def recurrent_net(seed: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Two layers of neurons, the second recurrent, with the names of a flat graph."""
    values = {"tau": 5.0, "r": 4.0, "v_leak": 0.1, "v_threshold": 0.4}
    lif: dict[str, Any] = {name: np.full(4, value) for name, value in values.items()}
    nodes: dict[str, Any] = {"block.w": nir.Affine(random(4, 3, seed=seed), random(4)), "block.lif": nir.LIF(**lif)}
    nodes |= {"block.back": nir.Linear(random(4, 4, seed=seed + 1)), "li": nir.LI(np.ones(4), np.ones(4), np.zeros(4))}
    edges = [("block.w", "block.lif"), ("block.lif", "block.back"), ("block.back", "block.lif")]
    return nodes, edges


def test_an_inner_graph_is_its_flat_graph() -> None:
    nodes, edges = recurrent_net(3)
    ports = {"block.input": start(), "block.output": end()}
    plain = dict.fromkeys(ports, nir.Scale(np.array(1.0)))  # in a flat graph they would be ports of the whole
    inner_edges = [*edges, ("block.input", "block.w"), ("block.lif", "block.output")]
    outer = {"x": start(), "li": nodes.pop("li"), "y": end()}
    edges = [("x", "block.input"), *inner_edges, ("block.output", "li"), ("li", "y")]
    flat = graph({**outer, **nodes, **plain}, edges)
    inside = {name.removeprefix("block."): node for name, node in (nodes | ports).items()}
    inner = graph(inside, [(a.removeprefix("block."), b.removeprefix("block.")) for a, b in inner_edges])
    nested = graph({**outer, "block": inner}, [("x", "block"), ("block", "li"), ("li", "y")])
    x = random(30, 2, 3)
    one, other = simulate(flat, x, dt=1.0), simulate(nested, x, dt=1.0)
    assert one.values.keys() == other.values.keys()
    assert all((one.values[name] == other.values[name]).all() for name in one.values)
    assert set(other.out) == {"y"}
    assert set(other.membranes) == {"block.lif"}
    assert 5 < other.values["block.lif"].sum() < 200
    twice = graph({"x": outer["x"], "deep": nested, "y": outer["y"]}, [("x", "deep"), ("deep", "y")])
    assert (simulate(twice, x, dt=1.0).values["deep.block.lif"] == one.values["block.lif"]).all()


def test_feed_takes_the_place_of_the_edges() -> None:
    """Fed with what it got, a neuron does what it did; fed with anything else, the neuron alone."""
    nodes, edges = recurrent_net(3)
    edges = [("in", "block.w"), *edges, ("block.lif", "li"), ("li", "out")]
    net = graph({"in": start(), **nodes, "out": end()}, edges)
    x, other = random(20, 2, 3), random(20, 2, 4, seed=5)
    whole = simulate(net, x, dt=1.0)
    back = whole.values["block.back"]
    got = whole.values["block.w"] + np.concatenate([np.zeros_like(back[:1]), back[:-1]])
    assert (whole.inputs["block.lif"] == got).all()
    assert set(whole.inputs) == set(whole.values) - {"in"}
    again = simulate(net, x, dt=1.0, feed={"block.lif": got})
    assert (again.values["block.lif"] == whole.values["block.lif"]).all()
    alone = simulate(net, x, dt=1.0, feed={"block.lif": other, "out": 2 * other})
    assert (alone.values["block.lif"] == run(nodes["block.lif"], other).out["out"]).all()
    assert (alone.out["out"] == 2 * other).all()


def test_several_inputs_and_outputs_by_name() -> None:
    nodes = {"a": start(np.array([2])), "b": start(np.array([2])), "y": end(), "z": end()}
    net = graph(nodes, [("a", "y"), ("b", "y"), ("b", "z")])
    a, b = random(3, 2, 2), random(3, 2, 2, seed=1)
    trace = simulate(net, {"a": a, "b": b}, dt=1.0)
    assert (trace.out["y"] == a + b).all()
    assert (trace.out["z"] == b).all()
    with pytest.raises(ValueError, match="a dict by name"):
        simulate(net, a, dt=1.0)
    with pytest.raises(ValueError, match="same T and N"):
        simulate(net, {"a": a, "b": b[:2]}, dt=1.0)


def test_graphs_that_nir_checks_itself() -> None:
    """The graph that nir makes of a list, shapes and all."""
    net = nir.NIRGraph.from_list(nir.Linear(random(4, 3)), nir.IF(np.ones(4), np.ones(4)), nir.Linear(random(2, 4)))
    trace = simulate(net, random(5, 2, 3), dt=1.0)
    assert trace.out["output"].shape == (5, 2, 2)


# -- errors


@dataclass(eq=False)
class Strange(nir.NIRNode):  # type: ignore[misc, unused-ignore]
    """No class of NIR's."""


def with_input(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    return graph({"in": start(np.array([1])), **nodes}, edges)


def lif(**changes: Any) -> Any:
    values = arrays(tau=2.0, r=1.0, v_leak=0.0, v_threshold=1.0)
    values |= {name: np.asarray(value) for name, value in changes.items()}
    return nir.LIF(**values)


def wrong_graphs() -> Iterator[tuple[str, Callable[[], nir.NIRGraph]]]:
    """Graphs that cannot be run, and the start of what is said."""
    one, pair = np.array(1.0), np.array([2, 2])
    inner = graph({"p": start(), "q": start(), "o": end()}, [("p", "o"), ("q", "o")])
    portless = graph({"p": start()}, [])
    scales = {"a": nir.Scale(one), "b": nir.Scale(one)}
    wide, late = nir.Linear(np.ones((2, 1))), nir.Delay(np.array([0.5]))
    conv = nir.Conv2d(UNKNOWN, np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.ones(1))
    same = nir.Conv1d(UNKNOWN, np.ones((1, 1, 2)), 2, "same", 1, 1, np.ones(1))
    yield "node 's' is a Strange", lambda: with_input({"s": Strange()}, [("in", "s")])
    yield "a cycle without a neuron: ", lambda: with_input(scales, [("in", "a"), ("a", "b"), ("b", "a")])
    yield "a cycle without a neuron: ", lambda: with_input(scales, [("in", "a"), ("a", "a"), ("in", "b")])
    lag = nir.Delay(np.array([1.0]))
    yield "a cycle without a neuron: ", lambda: with_input({"d": lag}, [("in", "d"), ("d", "d")])
    yield "no Input reaches node 'a'", lambda: with_input({"a": lif()}, [("a", "a")])
    yield "missing edge: none into 'a'", lambda: with_input({"a": lif()}, [])
    yield "the edge ('in', 'no') names no node", lambda: with_input({}, [("in", "no")])
    yield "the edge ('in', 'a') is there twice", lambda: with_input({"a": lif()}, [("in", "a"), ("in", "a")])
    yield "an edge leads into the Input 'in'", lambda: with_input({"a": lif()}, [("in", "a"), ("a", "in")])
    yield "the inner graph 'g' must have one Input", lambda: with_input({"g": inner}, [("in", "g")])
    yield "the inner graph 'g' must have one Output", lambda: with_input({"g": portless}, [("in", "g")])
    twice = graph({"p": start(), "o": end()}, [("p", "o")])
    clash = {"g": twice, "g.p": nir.Scale(one)}
    yield "two nodes have the full name 'g.p'", lambda: with_input(clash, [("in", "g"), ("in", "g.p")])
    yield "node 'a' (LIF): tau must be positive", lambda: with_input({"a": lif(tau=[0.0])}, [("in", "a")])
    far = lif(**dict.fromkeys(("tau", "r", "v_leak", "v_threshold"), np.ones(3)))
    yield "node 'a' (LIF): r of shape (3,) does not broadcast", lambda: with_input({"a": far}, [("in", "a")])
    tall = nir.Linear(np.ones((3, 2)))
    yield "node 'w' (Linear): a weight of shape (3, 2)", lambda: with_input({"w": tall}, [("in", "w")])
    yield "node 'd' (Delay): a delay must be zero or a whole", lambda: with_input({"d": late}, [("in", "d")])
    back = nir.Delay(np.array([-1.0]))
    yield "node 'd' (Delay): a delay must be zero or a whole", lambda: with_input({"d": back}, [("in", "d")])
    never = nir.Delay(np.array([np.inf]))
    yield "node 'd' (Delay): a delay must be zero or a whole", lambda: with_input({"d": never}, [("in", "d")])
    deep, biased = nir.Linear(np.ones((1, 2, 1))), nir.Affine(np.ones((2, 1)), np.ones((1, 2)))
    yield "node 'w' (Linear): a weight of shape (1, 2, 1)", lambda: with_input({"w": deep}, [("in", "w")])
    yield "node 'w' (Affine): bias of shape (1, 2) does not", lambda: with_input({"w": biased}, [("in", "w")])
    yield "node 'c' (Conv2d): a weight of shape (1, 1, 2, 2)", lambda: with_input({"c": conv}, [("in", "c")])
    pool = nir.SumPool2d(pair, pair, pair * 0)
    yield "node 'p' (SumPool2d): it pools (C, H, W)", lambda: with_input({"p": pool}, [("in", "p")])
    row = nir.Scale(np.ones(1))
    sums = [("in", "w"), ("in", "s"), ("w", "a"), ("s", "a")]
    yield "node 'a' gets values of several shapes", lambda: with_input({"w": wide, "s": row, "a": lif()}, sums)
    reshaped = {"f": nir.Flatten(UNKNOWN, 0, -1), "c": same}
    yield "node 'c' (Conv1d): a weight of shape (1, 1, 2)", lambda: with_input(reshaped, [("in", "f"), ("f", "c")])


@pytest.mark.parametrize(("message", "make"), [*wrong_graphs()])
def test_graphs_that_cannot_be_run(message: str, make: Callable[[], nir.NIRGraph]) -> None:
    with pytest.raises(ValueError) as error:
        simulate(make(), train(1, 2), dt=1.0)
    assert str(error.value).startswith(message)


def test_channels_of_a_convolution() -> None:
    with pytest.raises(ValueError, match=r"of shape \(2, 2, 2\) in 2 groups does not fit what comes in, \(6, 5\)"):
        run(nir.Conv1d(UNKNOWN, np.ones((2, 2, 2)), 1, 0, 1, 2, np.ones(2)), random(2, 1, 6, 5))


def test_padding_same_needs_a_stride_of_one() -> None:
    with pytest.raises(ValueError, match="padding 'same' is defined for a stride of 1, got 2"):
        run(nir.Conv1d(UNKNOWN, np.ones((1, 1, 2)), 2, "same", 1, 1, np.ones(1)), random(2, 1, 1, 5))


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("dt must be positive", {"dt": 0.0}),
        ("discretisation must be", {"discretisation": "midpoint"}),
        ("refine must be", {"refine": 0}),
        ("refine must be", {"refine": 1.5}),
        ("Input 'in' takes", {"x": np.ones((4, 2))}),
        ("Input 'in' takes", {"x": np.ones((4, 2, 3))}),
        ("Input 'in' takes", {"x": np.ones((0, 2, 1))}),
        ("x must be an array", {"x": {"on": train(1)}}),
        ("feed names 'no'", {"feed": {"no": train(1, 2)}}),
        ("feed names 'in'", {"feed": {"in": train(1, 2)}}),
        ("feed of 'a' must be", {"feed": {"a": train(1)}}),
    ],
)
def test_arrays_and_options_that_do_not_fit(message: str, options: dict[str, Any]) -> None:
    net = with_input({"a": lif()}, [("in", "a")])
    usual: dict[str, Any] = {"x": train(1, 2), "dt": 1.0}
    with pytest.raises(ValueError, match=message):
        simulate(net, **(usual | options))


def test_it_shares_no_code_with_what_it_certifies() -> None:
    imported: set[str] = set()
    parts = (reference, reference_nodes, reference_maps, reference_types)
    for module in parts:
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module))
    assert {name for name in imported if "torch" in name} <= {module.__name__ for module in parts}
