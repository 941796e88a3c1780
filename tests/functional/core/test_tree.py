"""Trees are those of torch's pytree; what is an ordinary tensor."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.core import tree
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.fused.runtime.targets import target_of
from tests.fused_steps import Pair, draw

TREES: list[Any] = [
    1.0,
    None,
    (),
    {},
    [draw(2), (1, "a")],
    {"b": 1, "a": [2.0, {"c": None}]},
    Pair(draw(1), Pair({1: draw(2)}, ())),  # type: ignore[arg-type]
    OrderedDict(b=1, a=(2,)),
    {"x": OrderedDict(a=[1])},
    torch.Size([1, 2]),
    F.Sigmoid(2.0),
    {"rule": F.to_zero, "surrogate": F.Arctan(3.0), "kind": int},
    torch.return_types.max((draw(1), draw(1))),
]


@pytest.mark.parametrize("given", TREES, ids=range(len(TREES)))
def test_trees_are_those_of_pytree(given: Any) -> None:
    leaves, form = tree.flatten(given)
    others, spec = pytree.tree_flatten(given)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in others]
    hash(form)
    numbered = list(range(len(leaves)))
    made, want = tree.unflatten(numbered, form), pytree.tree_unflatten(numbered, spec)
    assert type(made) is type(want)
    assert repr(made) == repr(want)
    mapped = tree.tree_map(lambda leaf: [leaf], given)
    assert pytree.tree_structure(mapped) == pytree.tree_structure(pytree.tree_map(lambda leaf: [leaf], given))


def test_forms_tell_kinds_apart() -> None:
    one: Any = 1
    flat: list[Any] = [(1, 2), [1, 2], {"a": 1, "b": 2}, {"b": 1, "a": 2}, Pair(one, one), (1, 2, 3), 1]
    alike = [*flat, ((1,), 2), (1, (2,))]
    assert len({tree.flatten(each)[1] for each in alike}) == len(alike)
    nested = {"a": Pair(one, [OrderedDict(b=2)])}  # type: ignore[arg-type]
    assert set(tree.types_of(tree.flatten(nested)[1])) >= {dict, Pair, list, OrderedDict}


def test_what_is_no_ordinary_tensor() -> None:
    class Mine(Tensor):
        pass

    for other in (draw(3).as_subclass(Mine), torch.ones(3, device="meta"), torch.ones(3).to_sparse(), None):
        assert not target_of([torch.ones(3), other])
    assert target_of([torch.nn.Parameter(torch.ones(3)), torch.arange(3)])
    assert not torch.func.vmap(lambda x: x * float(target_of([x]) is not None))(draw(3)).any()
    assert not torch.func.vmap(lambda x: x * float(in_eager()))(draw(3)).any()
