"""Find the weights of a model that can be rounded, by layer; refuse all others in words."""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from spikingtorch.functional.core.torch_private import AnyBatchNorm, is_shard
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.quantize.weights import RoundedWeight, check_dtype

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
    if isinstance(layer, StepLayer):
        known |= {*layer._names()}
    elif isinstance(layer, StatefulLayer):
        return
    others = [name for name, value in layer._parameters.items() if value is not None and name not in known]
    if others:
        raise ValueError(
            f"{owner}: {_named(path, layer)} has weights that cannot be rounded ({', '.join(others)}); expected "
            f"{_EXPECTED}, and learned parameters of neurons"
        )


def _named(path: str, layer: nn.Module) -> str:
    return f"{path or 'the model'!r} ({type(layer).__name__})"
