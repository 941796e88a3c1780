"""Models that are prepared for training with rounded weights: values, checkpoints, the way back, refusals."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import spikingtorch as st
from spikingtorch.init import to_rate_
from spikingtorch.like import norse
from spikingtorch.quantize import RoundedInput, prepare_qat, remove_qat
from tests.drawn import trains

pytestmark = pytest.mark.usefixtures("one_thread")
X = trains(3, 5, 2, 8, 8, seed=1, rate=0.4)
WAYS: list[dict[str, Any]] = [
    {"scale": scale, "per_channel": channels} for scale in ("heuristic", "learned") for channels in (False, True)
]
ids = ["heuristic", "heuristic per channel", "learned", "learned per channel"]


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    own = st.LIF(tau=4.0, recurrent=nn.Parameter(torch.randn(4, 1, 1)), threshold=0.3)
    dense = st.LIF(tau=3.0, recurrent=nn.Linear(6, 6, bias=False), threshold=0.3)
    around = st.LIF(tau=2.0, recurrent=nn.Conv2d(5, 5, 3, padding=1, bias=False), threshold=0.3)
    layers = [nn.Conv2d(2, 4, 3), own, nn.Conv2d(4, 5, 3, stride=2, bias=False), around, nn.Flatten(), nn.Linear(20, 6)]
    return st.SpikingNet(nn.Sequential(*layers, dense), mode="fold")


def by_hand(model: Any) -> Any:
    """Return a model with plain weights that are those of a prepared one."""
    plain = network()
    for path, module in plain.named_modules():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            parameter.data.copy_(getattr(model.get_submodule(path), name))
    return plain


# the rounded weights of the network
PATHS = dict.fromkeys(("0", "2", "3.recurrent", "5", "6.recurrent"), "weight") | {"1": "recurrent"}


def rounded(model: Any) -> dict[str, tuple[Any, Tensor, Tensor]]:
    """Return the layer of each rounded weight, its float weight, and the scale."""
    found = {}
    for path, name in PATHS.items():
        layer = model.net.get_submodule(path)
        parametrized = layer.parametrizations[name]
        found[path] = layer, parametrized.original, parametrized[0].scale(parametrized.original)
    return found


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_every_weight_is_on_its_grid_and_every_bias_on_that_of_the_sum(way: dict[str, Any], bits: int) -> None:
    for path, (layer, original, s) in rounded(prepare_qat(network(), bits, **way)).items():
        whole = getattr(layer, PATHS[path]) / s
        assert torch.equal(whole, whole.round())
        assert whole.abs().max() <= 2 ** (bits - 1) - 1
        assert torch.equal(s, torch.exp2(s.log2().round()))
        assert (s == s.max()).all() or way["per_channel"]
        assert original.requires_grad
        if getattr(layer, "bias", None) is not None:
            bias = layer.parametrizations.bias.original / s.flatten()
            assert torch.equal(layer.bias, bias.round() * s.flatten())


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_a_prepared_model_computes_with_its_rounded_weights(way: dict[str, Any], mode: Any) -> None:
    model, x = prepare_qat(network(), 3, **way), X
    plain = by_hand(model)
    model.mode = plain.mode = mode
    for event_driven in ("off", "on"):
        model.event_driven = plain.event_driven = event_driven
        out = model(x)
        assert 0.02 < out.mean() < 0.98
        assert torch.equal(out, plain(x))
        cotangent = torch.randn(out.shape)
        out.backward(cotangent)
        plain(x).backward(cotangent)
    if mode == "auto":
        assert str(model.explain()).startswith("fold")
    if way["scale"] == "heuristic":  # straight through
        for path, (_, original, _) in rounded(model).items():
            expected: Any = plain.net.get_submodule(path).get_parameter(PATHS[path]).grad
            assert original.grad is not None
            assert torch.equal(original.grad, expected)


def test_a_bias_beyond_the_bits_of_the_weights_is_not_clipped() -> None:
    layer = nn.Linear(3, 2)
    layer.bias.data.copy_(torch.tensor([1e5, -1234.5678]))
    prepare_qat(layer, 2)
    assert (layer.bias - torch.tensor([1e5, -1234.5678])).abs().max() <= 0.5


@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_checkpoints_of_the_float_model_and_of_a_prepared_one_load(way: dict[str, Any]) -> None:
    given, x = network(seed=5), X
    saved = copy.deepcopy(given.state_dict())
    expected = prepare_qat(given, 4, **way)(x)
    for checkpoint in (saved, given.state_dict()):
        before = {name: value.clone() for name, value in checkpoint.items()}
        model = prepare_qat(network(seed=6), 4, **way)
        assert not torch.equal(model(x), expected)
        model.load_state_dict(checkpoint)
        assert torch.equal(model(x), expected)
        assert checkpoint.keys() == before.keys()
        layer = prepare_qat(network(seed=6), 4, **way).net
        layer.load_state_dict({name.removeprefix("net."): value for name, value in checkpoint.items()})
        assert torch.equal(st.SpikingNet(layer, mode="fold")(x), expected)
    other = prepare_qat(network(), 5, **way)
    with pytest.raises(RuntimeError, match=r"net\.0: the weights of the checkpoint were trained with bits=4.*bits=5"):
        other.load_state_dict(given.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        prepare_qat(nn.Linear(2, 3), **way).load_state_dict(nn.Linear(3, 3).state_dict())


@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_remove_qat_gives_the_float_model_back(way: dict[str, Any]) -> None:
    model, x = network(), X
    saved, parameters, kinds = copy.deepcopy(model.state_dict()), [*model.parameters()], [*map(type, model.modules())]
    expected = model(x)
    prepare_qat(model, 4, inputs=3, **way)
    rounded = model(x)
    kept = remove_qat(copy.deepcopy(model), keep="rounded")
    for each in (remove_qat(model), kept):
        assert [*map(type, each.modules())] == kinds
        assert each.state_dict().keys() == saved.keys()
        assert not any(module._load_state_dict_pre_hooks for module in each.modules())
        assert not each._forward_pre_hooks
        assert not each._forward_pre_hooks_with_kwargs
        pickle.loads(pickle.dumps(each))
    assert [*map(id, model.parameters())] == [*map(id, parameters)]
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(x), expected)
    assert torch.equal(kept(x * 0.875), rounded)  # as inputs of three bits, 1 is 7/8


@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_a_copy_lives_by_itself(way: dict[str, Any]) -> None:
    model, x = prepare_qat(network(), 4, **way), X
    expected = model(x)
    copied = copy.deepcopy(model)
    assert torch.equal(copied(x), expected)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(-3.0)
    assert torch.equal(model(x), expected)
    assert torch.equal(copied.net[0].bias, by_hand(copied).net[0].bias)
    remove_qat(copied)  # torch would take the weight of both away
    assert torch.equal(model(x), expected)
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(model)


@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_weights_that_two_layers_share_are_rounded_alike(way: dict[str, Any]) -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    model = prepare_qat(nn.Sequential(first, nn.ReLU(), second), 3, **way)
    assert torch.equal(first.weight, second.weight)
    rounded = first.weight.detach(), second.bias.detach()
    remove_qat(model, keep="rounded")
    assert first.weight is second.weight
    assert torch.equal(first.weight, rounded[0])
    assert torch.equal(second.bias, rounded[1])


def test_frozen_weights_are_rounded_and_stay_frozen() -> None:
    for way in WAYS:
        layer = nn.Linear(4, 4).requires_grad_(False)
        prepare_qat(layer, 3, **way)
        assert not any(each.requires_grad for each in layer.parameters())
        assert torch.equal(layer.weight * 64, (layer.weight * 64).round())


def test_graded_inputs_are_rounded_in_front_of_the_model() -> None:
    x = torch.rand(3, 5, 2, 8, 8) * 1.4 - 0.2
    expected = torch.round(x * 8).clamp(0, 7) / 8
    model, plain = prepare_qat(network(), 4, inputs=3), prepare_qat(network(), 4)
    model.mode = "auto"
    assert torch.equal(model(x), plain(expected))
    assert torch.equal(model(x=x), plain(expected))
    assert str(model.explain()).startswith("fold")
    signed = prepare_qat(network(), 4, inputs=RoundedInput(4, 2, signed=True))
    assert torch.equal(signed(x * 3), plain(torch.round(x * 12).clamp(-8, 7) / 4))
    x.requires_grad_()
    cotangent = torch.randn(x.shape)
    (found,) = torch.autograd.grad(RoundedInput(3)(x), x, cotangent)
    assert torch.equal(found, torch.where((x * 8 >= 0) & (x * 8 <= 7), cotangent, 0.0))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 1)


def pruned() -> Any:
    return prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "twice": (lambda: prepare_qat(nn.Linear(2, 2)), "are rounded already; call remove_qat"),
    "nothing": (lambda: nn.Sequential(nn.ReLU()), "has no weights to round; expected nn.Linear"),
    "batch norm": (lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), r"'1\.1' \(BatchNorm1d\).*fold_norms"),
    "norm over time": (lambda: nn.Sequential(nn.Linear(2, 2), st.TimeBatchNorm1d(2)), r"'1\.1\.norm'.*fold_norms"),
    "transposed": (lambda: nn.ConvTranspose2d(2, 2, 3), r"\(ConvTranspose2d\) has weights that cannot be rounded"),
    "attention": (Attention, r"'1\.inner' \(MultiheadAttention\) has weights that cannot be rounded \(in_proj_weight"),
    "own weights": (lambda: norse.LIFRecurrentCell(2, 2), r"cannot be rounded \(input_weights\)"),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(2, 2)), "by a parametrization already"),
    "a parametrized bias": (
        lambda: parametrize.register_parametrization(nn.Linear(2, 2), "bias", nn.ReLU()),
        "by a parametrization already",
    ),
    "pruned": (pruned, r"is no parameter; after pruning.*prune\.remove"),
    "lazy": (lambda: nn.LazyLinear(2), "has no shape yet; call the model once"),
    "half": (lambda: nn.Linear(2, 2).half(), "is float16, expected float32 or float64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rounded_is_refused_and_nothing_changes(name: str) -> None:
    make, message = REFUSED[name]
    model = nn.Sequential(nn.Linear(3, 3), make())
    keys = model.state_dict().keys()
    with pytest.raises((ValueError, TypeError), match=f"prepare_qat: .*{message}"):
        prepare_qat(model if name not in ("nothing",) else make(), 4)
    assert model.state_dict().keys() == keys


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight_bits": 1}, "weight_bits=1, expected a whole number from 2 to 8"),
        ({"weight_bits": 9}, "weight_bits=9"),
        ({"weight_bits": 4.0}, r"weight_bits=4\.0"),
        ({"weight_bits": True}, "weight_bits=True"),
        ({"scale": "best"}, "scale='best' is not one of 'heuristic', 'learned'"),
        ({"inputs": "4"}, "inputs is a str, expected bits or a RoundedInput"),
        ({"inputs": 0}, "RoundedInput: bits=0, expected a whole number from 1 to 16"),
        ({"inputs": True}, "bits=True"),
    ],
)
def test_wrong_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        prepare_qat(nn.Linear(2, 2), **given)


def test_wrong_calls_of_the_way_back() -> None:
    with pytest.raises(TypeError, match="model is a str"):
        prepare_qat("model")  # type: ignore[type-var]
    with pytest.raises(ValueError, match="has no rounded weights; prepare_qat"):
        remove_qat(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="keep='both', expected 'float' or 'rounded'"):
        remove_qat(prepare_qat(nn.Linear(2, 2)), keep="both")  # type: ignore[arg-type]


def test_to_rate_comes_first() -> None:
    with pytest.raises(ValueError, match=r"Call to_rate_ before you register a parametrization"):
        to_rate_(prepare_qat(network(), 4), X)


@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_half_precision_after_preparation_is_refused(way: dict[str, Any]) -> None:
    layer = prepare_qat(nn.Linear(2, 2), **way).half()
    with pytest.raises(TypeError, match=r"is float16.*torch\.autocast"):
        layer(torch.ones(1, 2, dtype=torch.float16))
