"""What NIR cannot say is refused, with the layer, the reason and what comes nearest, or noted as lost."""

import json
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.interop.nir import NIRError, from_nir, to_nir
from tests.folded_layer import Coded

X = (torch.rand(2, 30, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def exported(*modules: nn.Module, x: Tensor = X, **options: Any) -> Any:
    return to_nir(st.SpikingNet(nn.Sequential(*modules)).eval(), x, **options)


def own_step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    v = 0.5 * state.v + x
    return F.LIFState(v), v


class Twice(st.LIF):
    """A layer with a forward of its own."""

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Return twice the spikes."""
        return 2.0 * super().forward(x, init)


LOSSY: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "soft": (lambda: st.LIF(reset=F.by_subtraction), "resets by_subtraction, and not to a value", "reset to zero"),
    "no reset": (lambda: st.LIF(reset=F.none), "resets none, and not to a value", "reset to zero"),
    "graded": (lambda: st.LIF(surrogate=F.Graded()), "fires by Graded, with other numbers", "spikes of 0 and 1"),
    "ternary": (lambda: st.IF(surrogate=F.Ternary()), "fires by Ternary", "spikes of 0 and 1"),
    "rest": (lambda: st.LIF(refractory=2.0), "rests after its spikes", "the same neuron without rest"),
    "ALIF": (lambda: st.ALIF(reset=F.to_zero), "is a neuron without a primitive (alif_step)", "LIF without adaptation"),
    "slow rise": (st.AlphaLIF, "is a neuron without a primitive (alpha_lif_step)", "CubaLIF, whose current rises"),
    "two gains": (lambda: st.CoarseLIF(3.0), "is a neuron without a primitive (coarse_lif_step)", "LIF with one gain"),
    "half a step": (lambda: st.Delay(1.5), "delays by shares of a step", "whole steps"),
}


@pytest.mark.parametrize("name", LOSSY)
def test_what_nir_cannot_say_is_refused_with_what_comes_nearest_or_exported_as_that(name: str) -> None:
    make, what, nearest = LOSSY[name]
    with pytest.raises(NIRError) as caught:
        exported(nn.Linear(5, 4), make())
    text = str(caught.value)
    assert text.startswith(f"layer '1' {what}")
    assert f"which NIR cannot say. Nearest to it: {nearest}" in text
    assert "approximate=True exports" in text
    graph = exported(nn.Linear(5, 4), make(), approximate=True)
    lost = json.loads(graph.metadata["spikingtorch"])["lost"]
    assert lost["1"].startswith(what)
    assert f"exported: {nearest}" in lost["1"]
    # it is read as what it says, and not as what it was
    assert from_nir(graph, 1e-4)(X).shape == (2, 30, 4)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "own": (lambda: st.StepLayer(own_step, F.LIFState), r"layer '1' \(StepLayer, step own_step\) is a neuron without"),
    "Izhikevich": (lambda: st.Izhikevich(), r"layer '1' \(Izhikevich, step izhikevich_step\) .* none is near to it"),
    "ReLU": (lambda: nn.ReLU(), r"'1' is a ReLU\(\), for which NIR has no node. There are Linear, Conv1d"),
    "norm": (lambda: nn.LayerNorm(4), r"'1' is a LayerNorm"),
    "lone batch norm": (lambda: nn.Sequential(nn.Identity(), st.IF(), nn.BatchNorm1d(4)), r"'1.2' is a batch norm"),
    "growing membrane": (lambda: st.SpikingDecay(0.9), r"layer '1': a membrane that keeps 1.11111 of itself at each"),
    "a class of the user's": (lambda: Twice(), r"layer '1' is a Twice with a forward of its own"),
    "circular": (
        lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")),
        r"'1.0' is a Unflatten",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_without_a_node_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    for approximate in (False, True):
        with pytest.raises(NIRError, match=message):
            exported(nn.Linear(5, 4), make(), st.IF(), approximate=approximate)


def test_layers_that_return_more_than_spikes_are_refused() -> None:
    with pytest.raises(NIRError, match=r"layer '1' has returns=\('spikes', 'v'\), but a node returns only its spikes"):
        exported(nn.Linear(5, 4), st.LIF(returns=("spikes", "v")))


def calling(code: Callable[..., Any], **parts: nn.Module) -> st.SpikingNet:
    return st.SpikingNet(Coded(code, fc=nn.Linear(5, 4), neurons=st.LIF(), **parts))


def by_value(net: Any, x: Tensor, init: bool) -> Tensor:
    y: Tensor = net.neurons(net.fc(x), init)
    return y if y.sum() > 0 else -y


def written(net: Any, x: Tensor, init: bool) -> Tensor:
    s: Tensor = net.fc(x)
    r = s.detach()
    s += net.fc(x)
    return r


FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "a branch": (by_value, r"Coded reads a number .*: return y if y.sum.* may not branch on values"),
    "a function": (lambda n, x, i: torch.tanh(n.neurons(n.fc(x), i)), r"a call of tanh.*for which NIR has no node"),
    "twice the same": (lambda n, x, i: n.neurons((lambda y: y + y)(n.fc(x)), i), r"a sum of one value with itself"),
    "twice the input": (lambda n, x, i: x + x, r"a sum of one value with itself"),
    "a constant": (lambda n, x, i: n.neurons(n.fc(x) + 1.0, i), r"a call of add.*for which NIR has no node"),
    "called twice": (lambda n, x, i: n.neurons(n.neurons(n.fc(x), i), i), r"layer 'neurons' is called twice in a step"),
    "two outputs": (lambda n, x, i: (n.neurons(n.fc(x), i), x), r"the network returns .*, expected one tensor"),
    "random": (
        lambda n, x, i: n.neurons(nn.functional.dropout(n.fc(x), 0.5), i),
        r"a call of dropout.*for which NIR has no node",
    ),
    "samples moved": (lambda n, x, i: n.neurons(n.fc(x), i).view(1, -1).view(-1, 4), r"a view that mixes samples"),
    "factor": (lambda n, x, i: torch.add(n.fc(x), n.neurons(n.fc(x), i), alpha=0.5), r"a call of add.*NIR has no node"),
    "a write in place": (lambda n, x, i: n.neurons(n.fc(x), i).mul_(2.0), r"a call of mul_.*NIR has no node"),
    "a write by another name": (
        written,
        r"the network returns a Tensor, expected one tensor that comes from the input",
    ),
    "a join": (lambda n, x, i: torch.cat([n.neurons(n.fc(x), i), n.fc(x)], 1), r"a call of cat.*NIR has no node"),
    "one more axis": (lambda n, x, i: n.neurons(n.fc(x), i).view(-1, 4, 1), r"a view of \(4,\) to \(4, 1\)"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_without_a_node_are_refused(name: str) -> None:
    run, message = FUNCTIONS[name]
    with pytest.raises(NIRError, match=message):
        to_nir(calling(run), X)


def test_the_line_of_forward_is_in_the_message() -> None:
    with pytest.raises(NIRError, match=r"test_export.py.*torch.tanh"):
        to_nir(calling(FUNCTIONS["a function"][0]), X)


@pytest.mark.parametrize("sample", [None, X.int(), X[:0], X.bfloat16(), torch.zeros(3)], ids=str)
def test_the_sample_is_a_batch_of_inputs(sample: Any) -> None:
    with pytest.raises(NIRError, match=r"to_nir: (the )?sample is"):
        to_nir(st.SpikingNet(nn.Sequential(nn.Linear(5, 4), st.IF())), sample)


def test_what_is_no_network_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="to_nir: model is a Linear, expected a SpikingNet"):
        to_nir(nn.Linear(5, 4), X)


def test_the_model_is_left_as_it_was() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), st.LIF(tau=torch.full((4,), 3.0))))
    model(X)
    state, before = model.get_state(), {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    to_nir(model, X)
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, state[name]) for name, value in model.get_state().items())


def test_a_graph_is_a_copy() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(5, 4), st.IF()))
    graph: Any = to_nir(model, X)
    graph.nodes["0"].weight[:] = 7.0
    assert not (model.net[0].weight == 7.0).any()  # type: ignore[index]
    again = from_nir(graph, 1e-4)
    with torch.no_grad():
        next(again.parameters()).fill_(1.0)
    assert (graph.nodes["0"].weight == 7.0).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("tau", np.full(4, 6e-4)), ("v_threshold", np.ones(4)), ("v_reset", np.full(4, 0.1))),
        *(("v_leak", np.full(4, 0.1)), ("tau", np.full(3, 1e-3)), ("r", np.full(3, 1e-3))),
        ("v_threshold", np.full(3, 1e-3)),
    ],
)
def test_a_node_that_was_changed_is_not_what_its_metadata_say(field: str, value: Any) -> None:
    graph = exported(nn.Linear(5, 4), st.LIF(tau=3.0))
    setattr(graph.nodes["1"], field, value)
    changed = rf"node '1' was changed after this library wrote it: {field} differs from its metadata"
    with pytest.raises(NIRError, match=changed):
        from_nir(graph, 1e-4)
    if field == "tau" and len(value) == 4:
        decay: Any = from_nir(graph, 1e-4, use_metadata=False).net.get_submodule("1").decay
        assert decay == pytest.approx(np.exp(-1.0 / 6.0), rel=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 1, "dt": "x", "discretisation": "exact", "dtype": "float32", "nodes": {}, "lost": {}}',
        '{"version": 1, "dt": 1e-4, "discretisation": "exact", "dtype": "object", "nodes": {}, "lost": {}}',
        '{"version": 99}',
    ],
)
def test_damaged_metadata_are_an_error_and_can_be_passed_over(text: str) -> None:
    graph = exported(nn.Linear(5, 4), st.LIF())
    graph.metadata["spikingtorch"] = text
    with pytest.raises(NIRError, match=r"metadata"):
        from_nir(graph, 1e-4)
    assert from_nir(graph, 1e-4, use_metadata=False)(X).shape == (2, 30, 4)


def changed(graph: Any, change: Callable[[Any], Any]) -> Any:
    """Change what the metadata of a graph say of node 1."""
    content = json.loads(graph.metadata["spikingtorch"])
    change(content["nodes"]["1"])
    graph.metadata["spikingtorch"] = json.dumps(content)
    return graph


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node.update(layer="StepLayer"),
        lambda node: node["params"]["surrogate"].update(surrogate="os.system"),
        lambda node: node.update(step="exec") or node.pop("layer"),
        lambda node: node["params"]["tau"].update(dtype="__class__"),
    ],
)
def test_metadata_name_nothing_but_what_is_listed(change: Callable[[Any], Any]) -> None:
    """A name that is not in the tables is never looked up, whatever it is."""
    graph = changed(exported(nn.Linear(5, 4), st.LIF(tau=torch.full((4,), 3.0))), change)
    with pytest.raises(NIRError, match=r"the metadata entry of node '1' is damaged \(KeyError"):
        from_nir(graph, 1e-4)


def test_names_of_nodes_are_those_of_modules_without_dots() -> None:
    block = nn.Sequential(nn.Linear(5, 4), st.LIF(recurrent=nn.Linear(4, 4, bias=False)))
    graph = exported(nn.Sequential(block), st.IF())
    assert list(graph.nodes) == ["input", "0_0_0", "0_0_1", "0_0_1_recurrent", "1", "output"]
    assert ("0_0_1", "0_0_1_recurrent") in graph.edges
    assert ("0_0_1_recurrent", "0_0_1") in graph.edges


def test_pools_that_divide_by_another_number_are_refused() -> None:
    x = torch.rand(1, 5, 2, 6, 6)
    graph = exported(nn.AvgPool2d(2, divisor_override=1), st.IF(), x=x)
    assert isinstance(graph.nodes["0"], nir.SumPool2d)
    for pool in (nn.AvgPool2d(2, divisor_override=3), nn.AvgPool2d(2, padding=1, count_include_pad=False)):
        with pytest.raises(NIRError, match="which divides by another number than the size of its window"):
            exported(pool, st.IF(), x=x)


def used_twice(net: Any, x: Tensor, init: bool) -> Any:
    y = net.fc(x)
    return net.neurons(net.norm(net.drop(y)) + y, init)


def test_batch_norms_become_a_part_of_weights_where_that_is_the_same() -> None:
    with pytest.raises(
        NIRError, match=r"'norm' is a batch norm for which NIR has no node. It has running statistics, but does not"
    ):
        to_nir(calling(used_twice, drop=nn.Dropout(), norm=nn.BatchNorm1d(4)).eval(), X)
    with pytest.raises(
        NIRError, match=r"'2' is a batch norm"
    ):  # it normalises axis 1, and the Linear works on the last
        exported(st.LIF(), nn.Linear(5, 4), nn.BatchNorm1d(4), x=torch.rand(2, 9, 4, 5))
    assert exported(nn.Linear(5, 4), nn.Dropout(), nn.BatchNorm1d(4, affine=False), st.IF()) is not None
    weighted = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
    with pytest.raises(NIRError, match=r"the weight of '0' is computed"):
        exported(weighted, nn.BatchNorm1d(4), st.IF())
    assert exported(weighted, st.IF()) is not None


class Idioms(nn.Module):
    """What forwards often say."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.neurons, self.fc = nn.Conv2d(1, 2, 3), st.IF(threshold=0.3), nn.Linear(18, 4)

    def forward(self, x: Tensor, init: bool = True, other: Tensor | None = None, scale: bool = False) -> Any:
        """Compute one step."""
        spikes = self.neurons(x=self.conv(input=x).contiguous(), init=init)
        flat = spikes.view(x.size(0), -1) if other is None else other
        flat = flat.reshape(spikes.shape[0], -1).clone()
        return self.fc(flat) if not scale else flat


def test_idioms_of_forward_are_understood() -> None:
    model, x = st.SpikingNet(Idioms()).eval(), torch.rand(3, 20, 1, 5, 5)
    graph = to_nir(model, x)
    assert [type(n).__name__ for n in graph.nodes.values()] == ["Input", "Conv2d", "IF", "Flatten", "Affine", "Output"]
    assert torch.equal(from_nir(graph, 1e-4)(x), model(x))


def test_a_bias_that_was_added_is_kept() -> None:
    graph = exported(nn.Conv1d(2, 3, 3, bias=False), st.IF(), x=torch.rand(2, 9, 2, 8))
    graph.nodes["0"].bias = np.full(3, 5.0, np.float32)
    assert from_nir(graph, 1e-4).net.get_submodule("0").bias is not None


def test_metadata_that_stand_for_another_neuron_are_refused() -> None:
    for params in ({"reset": {"rule": "none"}}, {"refractory": 3.0}):
        graph = changed(exported(nn.Linear(5, 4), st.LIF()), lambda node: node["params"].update(params))  # noqa: B023
        with pytest.raises(NIRError, match=r"node '1' was changed"):
            from_nir(graph, 1e-4)
    graph = exported(nn.Linear(5, 4), st.LIF(tau=3.0))
    graph.nodes["1"] = nir.IF(r=np.ones(4), v_threshold=np.ones(4))
    with pytest.raises(NIRError, match=r"node '1' was changed .*: its kind differs from its metadata"):
        from_nir(graph, 1e-4)
    graph.metadata["spikingtorch"] = "[" * 100_000
    with pytest.raises(NIRError, match=r"damaged \(RecursionError"):
        from_nir(graph, 1e-4)


def test_a_delay_line_of_the_metadata_is_bounded() -> None:
    graph = exported(nn.Linear(5, 4), st.Delay(2), st.IF())
    graph = changed(graph, lambda node: node["extra"].update(longest=10**9))
    with pytest.raises(NIRError, match=r"longest is 1000000000, expected 1 to 100,000 steps"):
        from_nir(graph, 1e-4)
