"""The reference of NIR on graphs: sums, cycles, inner graphs, and what it refuses."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikingtorch.interop.nir import reference, reference_maps, reference_nodes, reference_types
from spikingtorch.interop.nir.reference import simulate
from tests.interop.nir.graphs_by_hand import UNKNOWN, arrays, end, graph, random, run, start, train


def test_a_path_that_skips_neurons_is_of_the_same_step() -> None:
    """An edge to a node nearer to the Input is late on a cycle only; Threshold passes spikes on at once."""
    half: dict[str, Any] = {"threshold": np.array([0.5])}
    nodes = {"in": start(), "a": nir.Threshold(**half), "b": nir.Threshold(**half), "out": end()}
    edges = [("in", "a"), ("a", "b"), ("b", "out"), ("in", "out")]
    assert simulate(graph(nodes, edges), train(1, 0, 1), dt=1.0).out["out"].ravel().tolist() == [2, 0, 2]


def spiking(threshold: float = 0.5) -> Any:
    """A neuron that forgets everything in one Euler step: it fires if its input is above the threshold."""
    return nir.LIF(**arrays(tau=1.0, r=1.0, v_leak=0.0, v_threshold=threshold))


def test_two_neurons_that_excite_each_other() -> None:
    """Forward in the same step, as in a chain; back from the further to the nearer one in the next step."""
    nodes = {"in": start(), "a": spiking(), "b": spiking(), "out": end()}
    edges = [("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")]
    trace = simulate(graph(nodes, edges), train(0, 1, 0, 0), dt=1.0, discretisation="euler")
    assert trace.values["a"].ravel().tolist() == trace.values["b"].ravel().tolist() == [0, 1, 1, 1]


def test_two_neurons_as_near_to_the_input_hear_each_other_one_step_later() -> None:
    """The Input excites a, and inhibits b; a's spike makes b fire one step later, then a again."""
    nodes = {"in": start(), "neg": nir.Scale(np.array(-1.0)), "a": spiking(), "b": spiking()}
    edges = [("in", "a"), ("in", "neg"), ("neg", "b"), ("a", "b"), ("b", "a"), ("b", "out"), ("a", "out")]
    nodes["out"] = end()
    trace = simulate(graph(nodes, edges), train(1, 0, 0, 0), dt=1.0, discretisation="euler")
    assert trace.values["a"].ravel().tolist() == [1, 0, 1, 0]
    assert trace.values["b"].ravel().tolist() == [0, 1, 0, 1]


def test_the_path_with_the_fewest_neurons_says_how_near_a_neuron_is() -> None:
    """c is nearer than b, though the path through a and b is listed first: b hears c at once, c hears b later."""
    nodes = {"in": start(), "neg": nir.Scale(np.array(-1.0)), "a": spiking(), "b": spiking(), "c": spiking()}
    edges = [("in", "a"), ("a", "b"), ("b", "c"), ("c", "b"), ("in", "neg"), ("neg", "c")]
    trace = simulate(graph(nodes, edges), train(1, 0, 0), dt=1.0, discretisation="euler")
    assert trace.values["b"].ravel().tolist() == [1, 1, 1]
    assert trace.values["c"].ravel().tolist() == [0, 1, 1]


def test_a_threshold_is_a_neuron_on_a_cycle() -> None:
    nodes = {"in": start(), "z": nir.Threshold(np.array([0.5])), "out": end()}
    trace = simulate(graph(nodes, [("in", "z"), ("z", "z"), ("z", "out")]), train(0, 1, 0, -1, 0), dt=1.0)
    assert trace.out["out"].ravel().tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("forward", [True, False])
def test_one_linear_map_for_the_input_and_the_recurrence(forward: bool) -> None:
    """The map gets x[t] and the spikes of the step before, whatever the order of the edges."""
    nodes = {"in": start(), "w": nir.Linear(np.array([[2.0]])), "lif": spiking(1.5), "out": end()}
    edges = [("in", "w"), ("w", "lif"), ("lif", "w"), ("lif", "out")]
    net = graph(nodes, edges if forward else edges[::-1])
    trace = simulate(net, train(0, 1, 0, 0, -1, 0), dt=1.0, discretisation="euler")
    assert trace.out["out"].ravel().tolist() == [0, 1, 1, 1, 0, 0]
    assert trace.membranes["lif"].ravel().tolist() == [0, 2, 2, 2, 0, 0]


def test_what_comes_back_at_first_is_what_a_map_makes_of_nothing() -> None:
    """The bias of the map that brings it flows from the first step on, for before it all neurons have been silent."""
    nodes = {"in": start(), "v": nir.I(**arrays(r=1.0)), "back": nir.Affine(np.zeros((1, 1)), np.ones(1))}
    nodes |= {"t": nir.Threshold(np.array([9.0])), "out": end()}
    edges = [("in", "v"), ("v", "t"), ("t", "back"), ("back", "v"), ("v", "out")]
    assert simulate(graph(nodes, edges), train(0, 0, 0), dt=1.0).out["out"].ravel().tolist() == [1, 2, 3]


def test_a_delay_on_a_cycle_adds_to_its_step() -> None:
    nodes = {"in": start(), "a": spiking(), "late": nir.Delay(np.array([2.0])), "out": end()}
    edges = [("in", "a"), ("a", "late"), ("late", "a"), ("a", "out")]
    out = simulate(graph(nodes, edges), train(1, 0, 0, 0, 0, 0, 0), dt=1.0, discretisation="euler").out["out"]
    assert out.ravel().tolist() == [1, 0, 0, 1, 0, 0, 1]


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
