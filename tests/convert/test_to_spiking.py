"""to_spiking: what a converted network computes, and that it is a network like any other."""

import copy
import pickle
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import spikingtorch
from spikingtorch import IF, SpikingNet
from spikingtorch.convert import ClipFloor, Scale, ShiftedIF, to_spiking
from spikingtorch.spikeio import ConstantEncoder, RateDecoder
from tests.convert.nets import NETS, Block, made, mean_of, repeated
from tests.folded_layer import Lambda

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETS)
def test_output_comes_near_that_of_the_ann_as_one_over_steps(name: str) -> None:
    ann, x = made(name)
    model, expected = to_spiking(ann, [x], method="max"), ann(x).detach()
    few, many = (float((mean_of(model, x, T) - expected).abs().mean()) for T in (64, 1024))
    size = float(expected.abs().mean())
    if name == "clip floor":  # has its own levels, of which 64 steps have as many
        assert few < 0.01 * size
        return
    assert many < 0.005 * size
    assert many < 0.2 * few  # 1/16, but for chance


@pytest.mark.parametrize("name", NETS)
def test_steps_chunks_and_padding_change_nothing(name: str) -> None:
    ann, x = made(name)
    model, x = to_spiking(ann, x), repeated(x, 9)
    whole = model(x)
    assert model.explain(x).mode == "fold"
    for option, value in (("mode", "fold"), ("mode", "step"), ("time_chunk", 4)):
        other = copy.deepcopy(model)
        setattr(other, option, value)
        torch.testing.assert_close(other(x), whole, rtol=1e-10, atol=1e-12)
        padded = other(x, lengths=[9] * 15 + [4] * 15)
        torch.testing.assert_close(padded[:15], whole[:15], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(padded[15:, :4], whole[15:, :4], rtol=1e-10, atol=1e-12)
        assert not padded[15:, 4:].any()


@pytest.mark.parametrize("name", NETS)
def test_every_weight_has_a_gradient_and_training_goes_on(name: str) -> None:
    ann, x = made(name, torch.float32)
    model = to_spiking(ann, x)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    losses = []
    for _ in range(5):
        loss = (model(repeated(x, 8)).mean(1) - 0.3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    assert losses[-1] < losses[0]


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETS)
def test_it_is_copied_pickled_and_saved(name: str) -> None:
    ann, x = made(name)
    model = to_spiking(ann, [x])
    expected = mean_of(model, x, 5)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(mean_of(other, x, 5), expected, rtol=0.0, atol=0.0)
        assert other.explain(repeated(x, 5)).mode == "fold"
    fresh = to_spiking(ann, [2.0 * x], method="max")
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(mean_of(fresh, x, 5), expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_the_ann_is_not_changed(name: str, training: bool) -> None:
    ann, x = made(name)
    ann.train(training)
    before, modes = copy.deepcopy(ann.state_dict()), [module.training for module in ann.modules()]
    given = x.clone()
    model = to_spiking(ann, [x])
    model(repeated(x, 3)).sum().backward()
    assert torch.equal(x, given)
    assert all(torch.equal(value, before[key]) for key, value in ann.state_dict().items())
    assert [module.training for module in ann.modules()] == modes
    assert all(parameter.grad is None for parameter in ann.parameters())
    assert not any([module.training for module in model.modules()])
    own = {parameter.data_ptr() for parameter in ann.parameters()}
    assert not own & {parameter.data_ptr() for parameter in model.parameters()}


@pytest.mark.parametrize("steps", [1, 2, 8, 32])
def test_one_hidden_layer_of_clip_floors_is_exact(steps: int) -> None:
    """Numbers that no sum rounds: with as many steps as levels the spikes say the ANN's activations, bit for bit."""
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(5, 40), ClipFloor(steps, threshold=2.0), nn.Linear(40, 3))
    with torch.no_grad():
        for parameter in ann.parameters():
            parameter.copy_((parameter * 64).round() / 64)
    x = torch.randint(-8, 9, (50, 5)) / 8
    model = to_spiking(ann, [x])
    recording = spikingtorch.record(model, repeated(x, steps))
    hidden = ann[1](ann[0](x)).detach()
    assert 0.0 < float(hidden.mean()) < 2.0
    assert torch.equal(2.0 * recording["1"]["spikes"].mean(1), hidden)
    assert torch.equal(recording.out.mean(1), ann(x))


def test_steps_of_an_encoder_and_a_decoder_are_those_of_an_expanded_input() -> None:
    ann, x = made("conv2d")
    model = to_spiking(ann, [x])
    out = RateDecoder()(model(ConstantEncoder(6)(x)))
    assert torch.equal(out, model(x.unsqueeze(1).expand(-1, 6, *x.shape[1:])).mean(1))


def test_thresholds_are_one_spikes_are_zero_and_one_and_layers_keep_their_names() -> None:
    ann, x = made("residual")
    model = to_spiking(ann, [x])
    recording = spikingtorch.record(model, repeated(x, 9))
    assert list(recording) == ["1", "2.relu", "2.relu_1", "3.relu", "3.relu_1"]
    for name, found in recording.items():
        layer: Any = model.net.get_submodule(name)
        assert isinstance(layer, ShiftedIF)
        assert layer.threshold == 1.0
        assert set(found["spikes"].unique().tolist()) == {0.0, 1.0}
    assert sum(isinstance(module, Scale) for module in model.net.modules()) == 2  # the shortcuts


def test_records_of_max_pooling_are_those_of_a_run_and_membranes_those_of_neurons() -> None:
    ann, x = made("conv2d")
    model = to_spiking(ann, [x])
    recording = spikingtorch.record(model, repeated(x, 9), ("spikes", "v"))
    assert torch.equal(recording.out, model(repeated(x, 9)))
    assert list(recording["3"]) == ["spikes"]
    assert list(recording["2"]) == ["spikes", "v"]
    pooled = ann.get_submodule("3")(recording["2"]["spikes"].sum(1))
    assert torch.equal(recording["3"]["spikes"].sum(1), pooled)


def test_batch_norm_is_part_of_the_weights() -> None:
    for name in ("linear and norm", "norm without weights", "conv1d", "conv2d", "residual"):
        ann, x = made(name)
        model = to_spiking(ann, [x], method="max")
        assert not any([isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()])
        plain: Any = copy.deepcopy(model.net)
        for path, module in list(plain.named_modules()):
            if isinstance(module, IF):
                plain.set_submodule(path, nn.ReLU())
            elif type(module).__name__ == "CountMaxPool":
                plain.set_submodule(path, ann.get_submodule(path))
        torch.testing.assert_close(plain(x), ann(x), rtol=1e-10, atol=1e-12)


def test_frozen_weights_stay_frozen() -> None:
    ann, x = made("conv2d")
    ann.get_submodule("0").requires_grad_(False)
    model = to_spiking(ann, [x])
    trained = {name: parameter.requires_grad for name, parameter in model.net.named_parameters()}
    assert trained["0.weight"] is False
    assert trained["5.weight"]
    assert trained["5.bias"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_is_that_of_the_ann(dtype: torch.dtype) -> None:
    ann, x = made("residual", torch.float32)
    model = to_spiking(ann.to(dtype), [x])  # the loader may give another one
    assert {each.dtype for each in (*model.parameters(), *model.buffers())} == {dtype}
    out = mean_of(model, x.to(dtype), 64)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), ann(x.to(dtype)).float(), rtol=0.1, atol=0.1)


def test_a_loader_gives_tensors_or_tuples() -> None:
    ann, x = made("linear")
    y = torch.zeros(len(x))
    loaders: dict[str, Callable[[], Iterable[Any]]] = {
        "tensor": lambda: x,
        "list": lambda: [x[:10], x[10:]],
        "generator": lambda: (part for part in x.split(7)),
        "pairs": lambda: [(x[:10], y[:10]), (x[10:], y[10:])],
        "lists": lambda: [[x, y]],
        "DataLoader": lambda: DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True),
        "alone": lambda: DataLoader(TensorDataset(x), batch_size=8),
    }
    expected = to_spiking(ann, [x]).state_dict()
    for name, loader in loaders.items():
        found = to_spiking(ann, loader()).state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items()), name


def shared(tied: bool) -> nn.Module:
    """Return a network of one layer at two places, or of two layers with one weight."""
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    if tied:
        second.weight = first.weight
    return Lambda(lambda own, x: (own.l2 if tied else own.l1)(torch.relu(own.l1(x))), l1=first, l2=second)


def of(function: Any) -> nn.Module:
    """Return a network of a function of what a ReLU gives, and of a layer."""
    parts = {"l1": nn.Linear(6, 6), "l2": nn.Linear(6, 6), "offset": nn.Parameter(torch.zeros(6))}
    return Lambda(lambda own, x: function(own, torch.relu(own.l1(x))), **parts)


def pruned() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", 0.5)
    return net


def after(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), *modules)


def changed(change: Callable[[Any], Any]) -> nn.Module:
    change(net := after(nn.Linear(6, 3)))
    return net


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x + y)


# hooks of a network of two layers, by where they change a value
HOOKS: dict[str, Callable[[Any], Any]] = {
    "output of a weight": lambda net: net[0].register_forward_hook(lambda module, args, out: out + 1.0),
    "output of a relu": lambda net: net[1].register_forward_hook(lambda module, args, out: 2.0 * out),
    "input of a weight": lambda net: net[2].register_forward_pre_hook(lambda module, args: args[0] + 0.3),
    "output of the network": lambda net: net.register_forward_hook(lambda module, args, out: 3.0 * out),
}


ERRORS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "module": (lambda: after(nn.GELU()), r"node '2' \(GELU\) cannot be converted; train with nn.ReLU"),
    "module inside": (lambda: after(nn.Sequential(nn.Tanh())), r"node '2.0' \(Tanh\) cannot be converted"),
    "softmax": (lambda: after(nn.Softmax(1)), r"'2' \(Softmax\) cannot be converted; leave it out"),
    "layer norm": (lambda: after(nn.LayerNorm(6)), r"'2' \(LayerNorm\) .* batch norm behind a Linear"),
    "unknown": (lambda: after(nn.Softplus(), nn.Threshold(0.1, 0.0)), r"'2' \(Softplus\) .*; what can be: Linear"),
    "function": (lambda: of(lambda net, x: torch.sigmoid(x)), r"node 'sigmoid' \(sigmoid\) cannot be converted"),
    "product": (lambda: of(lambda net, x: x * x), r"'mul' \(mul\) .*; take the sum of two branches"),
    "view": (lambda: of(lambda net, x: x.view(-1, 6)), r"'view' \(view\) .*; write torch.flatten"),
    "parameter": (lambda: of(lambda net, x: x + net.offset), r"reads the tensor 'offset'"),
    "functional": (lambda: of(lambda net, x: nn.functional.linear(x, net.l2.weight)), r"(?s)reads the tensor|linear"),
    "number": (lambda: of(lambda net, x: x + 1.0), r"'add' \(add\) adds something else than two branches"),
    "scaled sum": (lambda: of(lambda net, x: torch.add(x, x, alpha=2)), r"'add' \(add\) adds something else"),
    "branch": (lambda: of(lambda net, x: x if x.sum() > 0 else -x), r"torch.fx cannot trace Lambda .*may not branch"),
    "tuple": (lambda: of(lambda net, x: (x, x)), r"something else than one tensor"),
    "twice": (lambda: shared(False), r"'l1' \(Linear\) is called twice"),
    "tied": (lambda: shared(True), r"'l1' \(Linear\) and 'l2' \(Linear\) share a parameter"),
    "no relu": (lambda: nn.Sequential(nn.Linear(6, 6)), r"has no ReLU and no ClipFloor"),
    "at first": (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.ReLU()), r"'0' \(BatchNorm1d\) does not directly follow"),
    "norm behind relu": (lambda: after(nn.BatchNorm1d(6)), r"'2' \(BatchNorm1d\) does not directly follow"),
    "norm of batches": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.ReLU()),
        r"'1' \(BatchNorm1d\) has no running statistics",
    ),
    "norm of another axis": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(3), nn.ReLU()),
        r"'1' \(BatchNorm1d\) normalises 3 channels, and '0' \(Linear\) before it has 5 outputs",
    ),
    "pruned": (pruned, r"the weight of '0' \(Linear\) is computed"),
    "parametrized": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)), nn.ReLU()),
        r"a Linear of another class",
    ),
    "two inputs": (lambda: nn.Sequential(nn.Bilinear(6, 6, 6), nn.ReLU()), r"'0' \(Bilinear\)|cannot trace"),
    **{name: (partial(changed, hook), "forward hooks that change values") for name, hook in HOOKS.items()},
    "replaced": (
        partial(changed, lambda net: setattr(net[0], "forward", lambda x: x + 1.0)),
        r"node '0' \(Linear\) cannot be converted; its forward was replaced",
    ),
    "indices": (
        lambda: after(nn.MaxPool1d(2, return_indices=True)),
        r"'2' \(MaxPool1d\) has return_indices=True",
    ),
    "several inputs": (Two, r"takes 2 inputs \(x, y\)"),
    "dropout": (lambda: of(lambda net, x: nn.functional.dropout(x, 0.5)), "computes something else than the network"),
    "dead": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6, bias=False), nn.ReLU()),
        r"'3' \(ReLU\) is zero for all inputs of the loader",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_be_converted_is_named(name: str) -> None:
    torch.manual_seed(0)
    make, message = ERRORS[name]
    ann = make()
    if name == "dead":
        nn.init.zeros_(ann[2].weight)  # type: ignore[index]
    with pytest.raises(ValueError, match=message):
        to_spiking(ann, [torch.rand(10, 6)])


LINEAR, X = made("linear")
ARGUMENTS: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
    *[(ValueError, "the loader is empty", loader, {}) for loader in ([], [X[:0]])],
    (TypeError, "pass DataLoader", TensorDataset(X), {}),
    (TypeError, "loader is a int", 3, {}),
    (TypeError, "a batch of the loader is a str", ["x"], {}),
    (TypeError, r"x\.float|loader.*float", [X.long()], {}),
    (ValueError, "NaN", [X.log().sqrt()], {}),
    (ValueError, "method='mean'", [X], {"method": "mean"}),
    (ValueError, "steps=0", [X], {"steps": 0}),
    (TypeError, "ann is a builtin_function", [X], {"ann": torch.relu}),
]


@pytest.mark.parametrize(("error", "message", "loader", "options"), ARGUMENTS)
def test_an_argument_that_is_wrong(error: type[Exception], message: str, loader: Any, options: Any) -> None:
    with pytest.raises(error, match=message):
        to_spiking(**{"ann": LINEAR, "loader": loader, **options})


def test_a_hook_that_looks_does_not_come_along() -> None:
    net, x, seen = after(nn.Linear(6, 3)), torch.rand(20, 6), list[str]()
    net[0].register_forward_hook(lambda module, args, out: seen.append("out"))
    net[1].register_forward_pre_hook(lambda module, args: seen.append("in"))
    model = to_spiking(net, [x], method="max")
    seen.clear()
    torch.testing.assert_close(mean_of(model, x, 512), net(x), rtol=0.0, atol=0.01)
    assert seen == ["out", "in"]  # of net


def test_what_an_ann_writes_on_is_not_the_data() -> None:
    x = torch.randn(10, 6)
    given = x.clone()
    to_spiking(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 6)), [x])
    assert torch.equal(x, given)


def test_a_block_of_its_own_is_converted_as_well() -> None:
    torch.manual_seed(0)
    ann, x = Block(), torch.rand(5, 4, 6, 6)
    for _ in range(30):
        ann(torch.rand(20, 4, 6, 6))
    model = to_spiking(ann.eval(), [x], method="max")
    assert isinstance(model, SpikingNet)
    torch.testing.assert_close(mean_of(model, x, 1024), ann(x), rtol=0.0, atol=0.02)
