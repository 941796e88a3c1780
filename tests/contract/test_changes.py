"""What a call of a network leaves changed in its layers: the state, in one entry of each."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contract.networks import NETWORKS
from tests.contract.oracle import draw

pytestmark = pytest.mark.usefixtures("one_thread")
_SIMPLE = (int, float, str, bytes, type, FunctionType, torch.dtype, torch.device)


def contents(value: Any, inside: frozenset[int] = frozenset()) -> Any:
    """Return what tells whether an object, or anything in it, has been replaced or written on."""
    if value is None or isinstance(value, _SIMPLE) or id(value) in inside:
        return repr(value) if isinstance(value, _SIMPLE) else id(value)
    if isinstance(value, Tensor):
        return id(value), value._version
    inside = inside | {id(value)}
    if isinstance(value, dict):
        return id(value), [(id(key), contents(each, inside)) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return id(value), [contents(each, inside) for each in value]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    return id(value), contents(getattr(value, "__dict__", None), inside), [id(getattr(value, name)) for name in slots]


def changed(layer: nn.Module, work: Callable[[], Any]) -> list[str]:
    """Return the names of the entries of a layer that have changed after a call."""
    kept = dict(vars(layer))  # alive, so that nothing new takes its address
    before = {name: contents(each) for name, each in kept.items()}
    work()
    after = {name: contents(each) for name, each in vars(layer).items()}
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]


@pytest.mark.parametrize("init", [True, False], ids=["new", "going on"])
@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
@pytest.mark.parametrize("name", ["two", "recurrent"])
def test_one_entry_at_most(name: str, mode: Any, init: bool) -> None:
    model: Any = NETWORKS[name].model(mode=mode)
    model(draw(0))
    for seed in range(3):
        model(draw(seed), init=init)
    for layer in (model.net.n1, model.net.n2):
        assert len(changed(layer, lambda: model(draw(4), init=init))) <= 1
    assert changed(model.net.n1, model.get_state) == []

    def fails() -> None:
        with pytest.raises(ValueError, match="NaN"):
            model(draw(5) * float("nan"), init=init)

    fails()
    for layer in (model.net.n1, model.net.n2):
        assert changed(layer, fails) == []
