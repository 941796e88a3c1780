"""Graphs of others: every primitive, cycles, branches and subgraphs against the independent simulation, or an error."""

import copy
from typing import Any

import nir
import numpy as np
import pytest
import torch

from spikingtorch import SpikingNet
from spikingtorch.interop.nir import NIRError, from_nir, to_nir, verify_nir
from tests.interop.nir.graphs import affine, chain, cyclic, graph, lif

DT = 1e-4
RNG = np.random.default_rng(0)


def inputs(*shape: int, N: int = 2, T: int = 120) -> torch.Tensor:
    return 2.0 * torch.rand(N, T, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def uniform(low: float, high: float, *shape: int) -> Any:
    return RNG.uniform(low, high, shape)


def firing(*shape: int) -> dict[str, Any]:
    return {"v_threshold": uniform(0.3, 0.6, *shape), "v_reset": uniform(-0.2, 0.1, *shape)}


def cuba(*shape: int, equal: float = 0.0) -> dict[str, Any]:
    tau = uniform(3e-4, 2e-3, *shape)
    return {
        "tau_syn": tau * (1.0 + equal) if equal else uniform(3e-4, 2e-3, *shape),
        "tau_mem": tau,
        "r": uniform(1.0, 2.0, *shape),
        "v_leak": uniform(-0.1, 0.1, *shape),
        "w_in": uniform(1.0, 2.0, *shape),
    }


def leaky(*shape: int) -> dict[str, Any]:
    numbers = {"tau": uniform(3e-4, 2e-3, *shape), "r": uniform(1.0, 2.0, *shape)}
    return numbers | {"v_leak": uniform(-0.1, 0.1, *shape)}


NEURONS = {
    "I": nir.I(r=uniform(1e2, 1e3, 3)),
    "LI": nir.LI(**leaky(3)),
    "IF": nir.IF(r=uniform(5e2, 2e3, 3), **firing(3)),
    "LIF": nir.LIF(**leaky(3), **firing(3)),
    "CubaLI": nir.CubaLI(**cuba(3)),
    "CubaLIF": nir.CubaLIF(**cuba(3), **firing(3)),
    "CubaLIF with nearly equal taus": nir.CubaLIF(**cuba(3, equal=1e-9), **firing(3)),
    "Threshold": nir.Threshold(threshold=uniform(0.5, 1.5, 3)),
    "Scale": nir.Scale(scale=uniform(-1.0, 1.0, 3)),
    "Delay": nir.Delay(delay=np.array([0.0, 2 * DT, 7 * DT])),
}


@pytest.mark.sampled
@pytest.mark.parametrize("way", ["exact", "exponential", "euler"])
@pytest.mark.parametrize("name", NEURONS)
def test_neurons_with_parameters_of_their_own(name: str, way: Any) -> None:
    certificate = verify_nir(chain(NEURONS[name], lif()), inputs(3), dt=DT, discretisation=way)
    assert certificate.equal, str(certificate)
    assert name in ("Scale", "Delay", "I", "LI", "CubaLI") or certificate.rows[0].spikes > 20


def conv2d(groups: int, channels: int, *kernel: int, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    weight, bias = uniform(-0.5, 1.0, channels, 4 // groups, *kernel), uniform(0.0, 0.2, channels)
    return nir.Conv2d((7, 6), weight, stride, padding, dilation, groups, bias)


def conv1d(groups: int, kernel: int, stride: int, padding: Any, dilation: int) -> Any:
    weight, bias = uniform(-0.5, 1.0, 6, 4 // groups, kernel), uniform(0.0, 0.2, 6)
    return nir.Conv1d(11, weight, stride, padding, dilation, groups, bias)


def pool(kind: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    return kind(*(np.array(each) for each in (kernel, stride, padding)))


def flatten(first: int, last: int, *shape: int) -> Any:
    return nir.Flatten({"input": np.array(shape)}, start_dim=first, end_dim=last)


# a node, and the shape of its input
MAPS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Conv2d": (conv2d(1, 8, 3, 2), (4, 7, 6)),
    "Conv2d, strides and groups": (conv2d(2, 8, 3, 2, stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (4, 7, 6)),
    "Conv2d, depthwise": (conv2d(4, 8, 3, 2, padding=(2, 1), dilation=2), (4, 7, 6)),
    "Conv2d, valid": (conv2d(1, 8, 3, 2, stride=3, padding="valid"), (4, 7, 6)),
    "Conv2d, same": (conv2d(2, 4, 3, 3, padding="same", dilation=(2, 1)), (4, 7, 6)),
    "Conv2d, same, even": (conv2d(2, 8, 3, 2, padding="same", dilation=(2, 3)), (4, 7, 6)),
    "Conv1d": (conv1d(1, 4, 1, 0, 1), (4, 11)),
    "Conv1d, strides and groups": (conv1d(2, 4, 2, 3, 2), (4, 11)),
    "Conv1d, same": (conv1d(1, 4, 1, "same", 3), (4, 11)),
    "Conv1d, valid": (conv1d(2, 4, 2, "valid", 1), (4, 11)),
    "SumPool2d": (pool(nir.SumPool2d, (2, 3), (2, 1), (0, 1)), (2, 7, 6)),
    "AvgPool2d": (pool(nir.AvgPool2d, (2, 2), (2, 2), (1, 1)), (2, 7, 6)),
    "AvgPool2d, one number": (pool(nir.AvgPool2d, 3, 2, 1), (2, 7, 6)),
    "Flatten": (flatten(0, -1, 2, 3, 4), (2, 3, 4)),
    "Flatten, inner axes": (flatten(1, 2, 2, 3, 4), (2, 3, 4)),
    "Flatten, first axes": (flatten(0, -2, 2, 3, 4), (2, 3, 4)),
    "Linear": (nir.Linear(weight=uniform(-0.5, 1.0, 4, 3)), (3,)),
    "Linear on the last axis": (nir.Linear(weight=uniform(-0.5, 1.0, 4, 3)), (2, 3)),
    "Affine": (affine(4, 3), (3,)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", MAPS)
def test_maps_are_those_of_torch(name: str) -> None:
    node, shape = MAPS[name]
    certificate = verify_nir(chain(node, shape=shape), inputs(*shape, T=3), dt=DT)
    assert certificate.equal, str(certificate)


@pytest.mark.parametrize("name", cyclic())
def test_cycles(name: str) -> None:
    made = cyclic()[name]
    certificate = verify_nir(made, inputs(3), dt=DT)
    assert certificate.equal, str(certificate)
    assert all(row.spikes > 20 for row in certificate.rows if row.error is None)


def test_a_neuron_with_weights_back_to_itself_is_a_recurrent_layer_and_folds() -> None:
    model = from_nir(cyclic()["itself through weights"], DT)
    assert "recurrent" in dict(model.net.named_modules())["a"]._modules
    assert str(model.explain(inputs(3))).startswith("fold")
    assert from_nir(cyclic()["two layers"], DT).mode == "step"


def test_streams_of_a_cycle_go_on_restart_and_are_copied_saved_and_set() -> None:
    made = cyclic()["two layers"]
    model, x = from_nir(made, DT), inputs(3, N=3, T=36)
    want = model(x)
    halves = torch.cat([model(x[:, :16]), model(x[:, 16:], init=False)], 1)
    assert torch.equal(halves, want)
    model(x[:, :16])
    other, saved = copy.deepcopy(model), model.get_state()
    starts = torch.tensor([False, True, False])
    mixed = model(x[:, 16:], init=starts)
    assert torch.equal(mixed[[0, 2]], want[[0, 2], 16:])
    assert torch.equal(mixed[1], from_nir(made, DT)(x[:, 16:])[1])
    model.set_state(saved)
    for each in (other, model):
        assert torch.equal(each(x[:, 16:], init=False), want[:, 16:])


def test_padded_samples_of_a_cycle_end_where_they_end() -> None:
    made, x = cyclic()["two layers"], inputs(3, N=3, T=36)
    model, alone = from_nir(made, DT), from_nir(made, DT)
    lengths = [36, 12, 24]
    out = model(x, lengths=torch.tensor(lengths))
    more = model(x[:, :9], init=False)
    for sample, length in enumerate(lengths):
        want = alone(x[sample : sample + 1, :length])
        assert torch.equal(out[sample, :length], want[0])
        assert torch.equal(more[sample], alone(x[sample : sample + 1, :9], init=False)[0])


def test_a_cycle_folds_nowhere_else_either() -> None:
    net = from_nir(cyclic()["two layers"], DT).net
    with pytest.raises(ValueError, match="has a cycle through several layers, which takes one step at a time"):
        SpikingNet(net, mode="fold")(inputs(3))
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        stepped = SpikingNet(net)(inputs(3))
    assert torch.equal(stepped, from_nir(cyclic()["two layers"], DT)(inputs(3)))


def test_graphs_in_graphs_and_branches() -> None:
    inner = graph({"w": affine(3, 3), "a": lif()}, [("input", "w"), ("w", "a"), ("a", "output")])
    nodes = {"block": inner, "other": copy.deepcopy(inner), "sum": lif()}
    edges = [("input", "block"), ("block", "other"), ("block", "sum"), ("other", "sum"), ("sum", "output")]
    outer = graph(nodes, edges)
    certificate = verify_nir(outer, inputs(3), dt=DT)
    assert [row.name for row in certificate.rows] == ["block.a", "other.a", "sum", "output"]
    assert certificate.equal, str(certificate)


def test_several_outputs_are_a_dict() -> None:
    made = graph({"a": lif(), "b": lif()}, [("input", "a"), ("a", "b"), ("a", "output"), ("b", "second")])
    made.nodes["second"] = nir.Output({"output": np.array([3])})
    model = from_nir(made, DT)
    found = model(inputs(3))
    assert set(found) == {"output", "second"}
    assert model.Nout == {"output": (3,), "second": (3,)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neurons_fire_above_their_threshold_and_not_at_it(dtype: torch.dtype) -> None:
    """A third has no exact value in either dtype: the membrane is above it if and only if it is above what is kept."""
    third = np.array([1.0 / 3.0])
    model = from_nir(chain(nir.Threshold(threshold=third), shape=(1,), out=1), DT, dtype=dtype)
    around = torch.tensor(1.0 / 3.0, dtype=dtype)
    x = torch.stack([torch.nextafter(around, around - 1), around, torch.nextafter(around, around + 1)]).view(1, 3, 1)
    assert model(x).flatten().tolist() == [float(each > 1.0 / 3.0) for each in x.flatten().tolist()]


def test_another_dt_discretises_anew() -> None:
    model = from_nir(chain(lif(tau=1e-3)), DT)
    graph_ = to_nir(model, inputs(3), dt=DT)
    half = from_nir(graph_, DT / 2)
    decay: Any = dict(half.net.named_modules())["n0"].decay
    assert decay == pytest.approx(np.exp(-DT / 2 / 1e-3), rel=1e-12)


BAD = {
    "tau < 0": (chain(lif(tau=-1e-3)), r"node 'n0' \(LIF\): tau has the value -0.001, expected time constants above"),
    "no time at all": (chain(lif(tau=0.0)), r"tau has the value 0, expected"),
    "NaN": (chain(lif(v_threshold=np.array([1.0, np.nan, 1.0]))), r"v_threshold holds NaN or infinities"),
    "shapes": (chain(affine(4, 3), lif(3)), r"node 'n1' gets values of shape \(4,\)|node 'n1' .* is of shape \(3,\)"),
    "wrong input": (chain(affine(3, 5), lif(3)), r"node 'n0' gets values of shape \(3,\), and fails on them"),
    "three axes": (chain(nir.Linear(weight=np.ones((2, 3, 3)))), r"weight has shape \(2, 3, 3\), expected two axes"),
    "bias": (chain(nir.Affine(weight=np.ones((3, 3)), bias=np.ones(2))), r"bias has shape \(2,\), expected \(3,\)"),
    "a share of a step": (chain(nir.Delay(delay=np.full(3, 1.5 * DT))), r"is 1.5 steps of dt=0.0001 s; choose a dt"),
    "an endless delay": (chain(nir.Delay(delay=np.full(3, 1e9))), r"is too long; is dt right\?"),
    "a delay to the past": (chain(nir.Delay(delay=np.full(3, -DT))), r"delay has the value -0.0001, expected at least"),
    "no node": (graph({"a": lif()}, [("input", "b"), ("a", "output")]), r"names 'b', which is not a node; there are"),
    "no way": (graph({"a": lif(), "b": lif()}, [("input", "a"), ("a", "output")]), r"leads from the Input to 'b'"),
    "twice": (graph({"a": lif()}, [("input", "a"), ("input", "a"), ("a", "output")]), r"input -> a is there twice"),
    "no neuron in a cycle": (
        graph({"v": affine(3, 3), "w": affine(3, 3)}, [("input", "v"), ("v", "w"), ("w", "v"), ("w", "output")]),
        r"a cycle without a neuron goes through",
    ),
    "into the input": (graph({"a": lif()}, [("input", "a"), ("a", "input"), ("a", "output")]), r"leads into an Input"),
    "no end": (nir.NIRGraph({"input": nir.Input({"input": np.array([3])})}, [], type_check=False), r"0 Output nodes"),
    "no graph": (lif(), r"a LIF is no graph; expected a nir.NIRGraph"),
    "sums of two shapes": (
        graph({"v": affine(4, 3), "a": lif()}, [("input", "v"), ("v", "a"), ("input", "a"), ("a", "output")]),
        r"the inputs of node 'a' differ in shape: v gives \(4,\), input gives \(3,\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_graphs_that_make_no_sense_are_an_error_of_ours(name: str) -> None:
    bad, message = BAD[name]
    with pytest.raises(NIRError, match=message):
        from_nir(bad, DT)


def test_unknown_nodes_are_named_with_the_primitives() -> None:
    class Strange(nir.Threshold):  # type: ignore[misc]
        pass

    with pytest.raises(NIRError, match=r"node 'n0' is a Strange, which is not among the primitives: Affine, AvgPool2d"):
        from_nir(chain(Strange(threshold=np.ones(3))), DT)


@pytest.mark.parametrize("dt", [0.0, -1e-4, float("nan"), float("inf"), True, "1e-4"])
def test_dt_is_a_length_of_time(dt: Any) -> None:
    with pytest.raises(NIRError, match=r"from_nir: dt=.*, expected the length of a step in seconds"):
        from_nir(chain(lif()), dt)


def test_eulers_method_needs_steps_shorter_than_the_time_constants() -> None:
    with pytest.raises(NIRError, match=r"tau has the value 5e-05 s, shorter than dt=0.0001 s"):
        from_nir(chain(lif(tau=5e-5)), DT, "euler")
    with pytest.raises(NIRError, match=r"discretisation='heun' is not one of 'exact', 'exponential', 'euler'"):
        from_nir(chain(lif()), DT, "heun")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cycles_run_in_half_precision(dtype: torch.dtype) -> None:
    out = from_nir(cyclic()["two layers"], DT, dtype=dtype)(inputs(3).to(dtype))
    assert out.dtype == dtype
    assert 0.0 < out.float().mean() < 1.0


def test_names_that_modules_have_already() -> None:
    made, x = cyclic()["two layers"], inputs(3, T=20)
    want = from_nir(made, DT)(x)
    assert want.any()
    for name in ("training", "_modules", "_forward_hooks", "forward", "nodes", "if", "a.b", "", "back_before"):
        nodes = {(name if key == "b" else key): node for key, node in made.nodes.items()}
        edges: Any = [tuple(name if end == "b" else end for end in edge) for edge in made.edges]
        renamed = nir.NIRGraph(nodes, edges, type_check=False)
        assert torch.equal(from_nir(renamed, DT)(x), want)


def test_long_and_wide_ways_back_take_no_long_time() -> None:
    nodes: dict[str, Any] = {"a": lif(), "s0": nir.Scale(scale=np.full(3, 0.5))}
    edges = [("input", "a"), ("a", "s0"), ("a", "output")]
    for place in range(30):  # 2^30 ways lead through them
        nodes |= {f"{side}{place + 1}": nir.Scale(scale=np.full(3, 0.5)) for side in "st"}
        nodes[f"u{place}"] = nir.Scale(scale=np.full(3, 0.5))
        last = f"u{place - 1}" if place else "s0"
        edges += [(last, f"s{place + 1}"), (last, f"t{place + 1}")]
        edges += [(f"s{place + 1}", f"u{place}"), (f"t{place + 1}", f"u{place}")]
    for place in range(1200):
        nodes[f"w{place}"] = nir.Scale(scale=np.ones(3))
        edges.append((f"w{place - 1}" if place else "u29", f"w{place}"))
    edges.append(("w1199", "a"))
    certificate = verify_nir(graph(nodes, edges), inputs(3, T=2), dt=DT)
    assert certificate.equal, str(certificate)


def test_a_graph_in_a_cycle() -> None:
    inner = graph({"w": affine(3, 3, 5)}, [("input", "w"), ("w", "output")])
    nodes = {"a": lif(), "w": affine(3, 3, 1), "b": lif(), "bias": affine(3, 3, 2), "sub": inner}
    edges = [("input", "a"), ("a", "w"), ("w", "b"), ("b", "bias"), ("bias", "sub"), ("sub", "a"), ("b", "output")]
    certificate = verify_nir(graph(nodes, edges), inputs(3), dt=DT)
    assert certificate.equal, str(certificate)


@pytest.mark.parametrize("shape", [(-3,), (10**6, 10**7), (0,)])
def test_inputs_of_no_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(NIRError, match=r"the Input 'input' has shape .*, expected sizes above zero"):
        from_nir(graph({"a": lif()}, [("input", "a"), ("a", "output")], shape=shape), DT)


def test_numbers_of_other_kinds() -> None:
    weights = nir.Linear(weight=np.eye(3).astype(">f4"))
    assert torch.equal(
        from_nir(chain(weights, lif()), np.float64(DT))(inputs(3).float()),
        from_nir(chain(nir.Linear(weight=np.eye(3, dtype=np.float32)), lif()), DT)(inputs(3).float()),
    )
