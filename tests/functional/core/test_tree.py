"""Trees are those of torch's pytree; what is an ordinary tensor; the cache in which what was compiled is found."""

import importlib
import pkgutil
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional
from spikingtorch import functional as F
from spikingtorch.functional.core import tree
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.fused.runtime.targets import target_of
from tests.fused_steps import Pair, draw
from tests.processes import at_once

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


class Key:
    """A key whose comparison, which the cache asks for while it holds its lock, does something else as well."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        self._meanwhile()
        return self is other


def test_what_was_used_last_stays() -> None:
    cache: LRUCache[int] = LRUCache(2)
    cache.keep("a", 1)
    cache.keep("b", 2)
    assert cache.get("a") == 1
    cache.keep("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.clear()
    assert cache.get("a") is None


def test_an_entry_is_kept_anew_after_it_was_dropped() -> None:
    cache: LRUCache[int] = LRUCache(2)
    cache.keep("a", 1)
    cache.drop("a")
    assert cache.get("a") is None
    cache.drop("a")
    cache.keep("a", 2)
    assert cache.get("a") == 2


def test_entries_are_dropped_while_the_cache_is_at_work() -> None:
    """As the garbage collector does, which may run anywhere."""
    cache: LRUCache[int] = LRUCache(4)
    cache.keep("gone", 1)
    cache.keep(Key(lambda: cache.drop("gone")), 2)

    def look() -> None:
        assert cache.get(Key(lambda: cache.drop("gone"))) is None

    at_once(look)  # which fails if it hangs
    assert cache.get("gone") is None


def test_every_cache_of_the_package_is_bounded() -> None:
    found = {}
    for module in pkgutil.walk_packages(functional.__path__, f"{functional.__name__}."):
        for name, item in vars(importlib.import_module(module.name)).items():
            if hasattr(item, "cache_info") and item.__module__.startswith("spikingtorch"):
                code = item.__wrapped__.__code__
                found[name] = item.cache_info().maxsize if code.co_argcount else 1
    assert {"forward_kernel", "backward_kernel"} <= found.keys()
    assert all(found.values()), found
