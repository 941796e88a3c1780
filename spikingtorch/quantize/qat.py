"""Training with rounded weights: find those of a model, prepare it, load float checkpoints into it, and undo it."""

from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from spikingtorch.functional.core.torch_private import AnyBatchNorm, is_shard
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.quantize.grid import RoundedInput, leave_inputs, round_inputs
from spikingtorch.quantize.weights import (
    SCALES,
    HeuristicWeight,
    LearnedWeight,
    RoundedBias,
    RoundedWeight,
    ScaleKind,
    check_dtype,
    least_error_scale,
)

M = TypeVar("M", bound=nn.Module)
_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_EXPECTED = "nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d and recurrent weights of spiking layers"


class Weight(NamedTuple):
    """A weight of a model, by its name in a layer."""

    path: str
    layer: nn.Module
    name: str
    has_bias: bool

    @property
    def rounding(self) -> RoundedWeight:
        """The parametrisation of a prepared model."""
        found: Any = self.layer.parametrizations
        return found[self.name][0]  # type: ignore[no-any-return]

    @property
    def original(self) -> Tensor:
        """The float weights of a prepared model."""
        found: Any = self.layer.parametrizations
        return found[self.name].original  # type: ignore[no-any-return]


def is_rounded(layer: nn.Module, name: str) -> bool:
    """Return True if ``prepare_qat`` rounds a weight of a layer."""
    if not parametrize.is_parametrized(layer, name):
        return False
    found: Any = layer.parametrizations
    return isinstance(found[name][0], RoundedWeight)


def rounded_weights(model: nn.Module) -> list[Weight]:
    """Return the rounded weights of a prepared model, in the order of its modules."""
    found = [weight for path, layer in model.named_modules() for weight in _of_layer(path, layer)]
    return [weight for weight in found if is_rounded(weight.layer, weight.name)]


def weights_to_round(owner: str, model: nn.Module) -> list[Weight]:
    """Return the float weights of a model, in the order of its modules.

    Raises:
        ValueError: there are none, or the model has weights that cannot be rounded, or is prepared already.
        TypeError: a weight is in half precision.
    """
    if rounded_weights(model):
        raise ValueError(f"{owner}: the weights of the model are rounded already; call remove_qat(model) first")
    if isinstance(model, DistributedDataParallel):
        raise ValueError(f"{owner}: the model is in DistributedDataParallel; round its weights first, and wrap it then")
    found: list[Weight] = []
    for path, layer in model.named_modules():
        weights = _of_layer(path, layer)
        for weight in weights:
            _check(owner, weight)
        _check_others(owner, path, layer, weights)
        found += weights
    if not found:
        raise ValueError(f"{owner}: the model has no weights to round; expected {_EXPECTED}")
    return found


def _of_layer(path: str, layer: nn.Module) -> list[Weight]:
    """Return the weights in a layer, without those of its submodules."""
    if isinstance(layer, _KINDS):
        return [Weight(path, layer, "weight", layer.bias is not None)]
    if isinstance(layer, StepLayer) and isinstance(getattr(layer, layer._recurrent_name, None), Tensor):
        return [Weight(path, layer, layer._recurrent_name, False)]
    return []


def _check(owner: str, weight: Weight) -> None:
    at = f"{owner}: the {weight.name} of {_named(weight.path, weight.layer)}"
    for name in (weight.name, "bias") if weight.has_bias else (weight.name,):
        tensor: Any = weight.layer._parameters.get(name)
        if parametrize.is_parametrized(weight.layer, name):
            raise ValueError(
                f"{at} is computed by a parametrization already. Make it plain first: "
                f"parametrize.remove_parametrizations(layer, {name!r})"
            )
        if tensor is None:
            raise ValueError(f"{at} is no parameter; after pruning, make it plain: prune.remove(layer, {name!r})")
        if is_lazy(tensor):
            raise ValueError(f"{at} has no shape yet; call the model once, and round its weights then")
        if is_shard(tensor):
            raise ValueError(f"{at} is split over processes; round the weights before you split them")
        check_dtype(at, tensor)


def _check_others(owner: str, path: str, layer: nn.Module, weights: list[Weight]) -> None:
    """Raise if a layer has weights that would stay in float."""
    if isinstance(layer, AnyBatchNorm):
        raise ValueError(
            f"{owner}: {_named(path, layer)} is a batch norm, which a chip does not compute. Merge it into the weights "
            "before it: spikingtorch.quantize.fold_norms(model)"
        )
    known = {weight.name for weight in weights} | {"bias"} if weights else set[str]()
    if isinstance(layer, StepLayer) and not isinstance(layer, DelayedLinear):
        known |= {*layer._names()}
    elif isinstance(layer, StatefulLayer) and not isinstance(layer, StepLayer):
        return
    others = [name for name, value in layer._parameters.items() if value is not None and name not in known]
    if others:
        raise ValueError(
            f"{owner}: {_named(path, layer)} has weights that cannot be rounded ({', '.join(others)}); expected "
            f"{_EXPECTED}, and learned parameters of neurons"
        )


def _named(path: str, layer: nn.Module) -> str:
    return f"{path or 'the model'!r} ({type(layer).__name__})"


def prepare_qat(
    model: M,
    weight_bits: int = 8,
    per_channel: bool = False,
    inputs: int | RoundedInput | None = None,
    scale: ScaleKind = "heuristic",
) -> M:
    """Round the weights of a model from now on, in place, and train it so: quantisation-aware training.

        W = clip(round(w / s), -h, h) s,  h = 2^(bits-1) - 1,  s = 2^k;   B = round(b / s) s

    The model computes with W and B. Its parameters stay the float weights w and b, which get the gradients of W and B
    (straight-through), and the optimizer keeps its parameters. It rounds the weights of Linear and Conv1d to Conv3d
    and the recurrent weights of spiking layers, by parametrisations of ``torch.nn.utils.parametrize``. B is on the grid
    of the sum of its layer, and is never clipped. Neurons stay as they are: take those on a grid, such as
    ``FixedPointLIF``, from the beginning.

    Prepare a model before ``DistributedDataParallel``, and after ``to_rate_`` and ``fold_norms``. A checkpoint of the
    float model loads into the prepared one, and so does that of a model that was prepared with the same arguments.
    ``copy.deepcopy`` copies it; torch saves parametrised modules by ``state_dict`` only, and not by pickle.

    Args:
        model: a SpikingNet or any other module.
        weight_bits: bits of each weight, from 2 to 8, with a symmetric range: 2 bits are -1, 0 and 1.
        per_channel: whether each output channel has a scale of its own.
        inputs: for inputs that are not spikes, the rounding in front of the model, or its bits, for inputs from 0 to 1:
            whole numbers times 2^-bits, of which the largest is just below 1. None for inputs as they are.
        scale: "heuristic": at each call s is the power of two of the least squared error of W, so that weights that
            grow are never held back. "learned": k is trained too, with the gradient of a learned step size; it starts
            at the least error.

    Returns:
        The model.

    Raises:
        TypeError: the model is no module, or a weight is in half precision.
        ValueError: weight_bits or scale is not valid. The model has been prepared before. It has no weights, or weights
            that would stay in float: those of a batch norm (``fold_norms`` merges it), a transposed convolution, an
            attention; or weights that are parametrised or pruned already, or split over processes.

    >>> import torch
    >>> from spikingtorch import LIF, SpikingNet
    >>> _ = torch.manual_seed(0)
    >>> model = prepare_qat(SpikingNet(nn.Sequential(nn.Linear(3, 2), LIF())), weight_bits=4)
    >>> (model.net[0].weight * 16).tolist()
    [[0.0, 5.0, -7.0], [-7.0, -4.0, 2.0]]
    """
    bits = _checked(model, weight_bits, scale)
    weights = weights_to_round("prepare_qat", model)
    rounding = RoundedInput(inputs) if isinstance(inputs, int) else inputs
    if not isinstance(rounding, RoundedInput | None):
        raise TypeError(f"prepare_qat: inputs is a {type(inputs).__name__}, expected bits or a RoundedInput")
    shared: dict[int, RoundedWeight] = {}  # weights that two layers share have one scale
    for weight in weights:
        w: Any = getattr(weight.layer, weight.name)
        channels = bool(per_channel) and w.ndim > 1
        if id(w) not in shared:
            shared[id(w)] = (
                HeuristicWeight(bits, channels) if scale == "heuristic" else LearnedWeight(w, bits, channels)
            )
        _round(weight, shared[id(w)].train(weight.layer.training))
    if rounding is not None:
        round_inputs(model, rounding)
    return model


def _checked(model: object, weight_bits: object, scale: object) -> int:
    if not isinstance(model, nn.Module):
        raise TypeError(f"prepare_qat: model is a {type(model).__name__}, expected a module")
    if type(weight_bits) is not int or not 2 <= weight_bits <= 8:
        raise ValueError(f"prepare_qat: weight_bits={weight_bits!r}, expected a whole number from 2 to 8")
    if scale not in SCALES:
        raise ValueError(f"prepare_qat: scale={scale!r} is not one of {', '.join(map(repr, SCALES))}")
    return weight_bits


def _round(weight: Weight, rounding: RoundedWeight) -> None:
    parametrize.register_parametrization(weight.layer, weight.name, rounding)
    if weight.has_bias:
        if isinstance(rounding, HeuristicWeight):
            rounding.has_bias = True
        parametrize.register_parametrization(weight.layer, "bias", RoundedBias(weight.layer))
    weight.layer.register_load_state_dict_pre_hook(_load_float)


def _load_float(module: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give the float weights of a checkpoint the names that they have in a prepared layer."""
    for name, roundings in getattr(module, "parametrizations", {}).items():
        inner = f"{prefix}parametrizations.{name}."
        if f"{prefix}{name}" not in state_dict or f"{inner}original" in state_dict:
            continue
        w = state_dict[f"{inner}original"] = state_dict.pop(f"{prefix}{name}")
        rounding = roundings[0]
        if isinstance(rounding, RoundedWeight):
            state_dict[f"{inner}0._extra_state"] = rounding.get_extra_state()
        if isinstance(rounding, LearnedWeight):
            state_dict[f"{inner}0.log2_scale"] = _scale_for(rounding, w)


def _scale_for(rounding: LearnedWeight, w: Tensor) -> Tensor:
    """Return the scale with which training on float weights starts."""
    own = rounding.log2_scale
    if w.is_meta:
        return own.detach()
    return torch.log2(least_error_scale(w.detach().to(own), rounding.bits, rounding.per_channel))


def remove_qat(model: M, keep: Literal["float", "rounded"] = "float") -> M:
    """Undo ``prepare_qat``, in place: the model has plain weights again, and its inputs are not rounded any more.

    The parameters stay the same objects, so that an optimizer may go on with them.

    Args:
        model: a model that was prepared.
        keep: "float": the weights become the float weights behind the rounded ones. "rounded": they become the rounded
            weights with which the model has computed.

    Returns:
        The model.

    Raises:
        ValueError: the model was not prepared, or there is no such way to keep weights.

    >>> import torch
    >>> layer = nn.Linear(2, 2)
    >>> before = layer.weight.detach().clone()
    >>> torch.equal(remove_qat(prepare_qat(layer)).weight, before)
    True
    """
    if keep not in ("float", "rounded"):
        raise ValueError(f"remove_qat: keep={keep!r}, expected 'float' or 'rounded'")
    weights = rounded_weights(model)
    if not weights:
        raise ValueError("remove_qat: the model has no rounded weights; prepare_qat(model) rounds them")
    plain = keep == "rounded"
    for weight in weights:
        _take_own_class(weight.layer)
        if weight.has_bias:  # before any weight, because its scale is that of the float weights
            parametrize.remove_parametrizations(weight.layer, "bias", leave_parametrized=plain)
    for weight in weights:
        parametrize.remove_parametrizations(weight.layer, weight.name, leave_parametrized=plain)
        parameters, hooks = weight.layer._parameters, weight.layer._load_state_dict_pre_hooks
        for name in [name for name in parameters if name != weight.name]:  # the weight comes first, as before
            parameters[name] = parameters.pop(name)
        for key in [key for key, hook in hooks.items() if getattr(hook, "hook", None) is _load_float]:
            del hooks[key]
    leave_inputs(model)
    return model


def _take_own_class(layer: Any) -> None:
    """Give a parametrised layer a class of its own, of which torch takes the weight away; copies share one class."""
    kind = type(layer)
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(kind.__name__, kind.__bases__, own)
