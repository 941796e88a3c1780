"""``spikingtorch.jax`` has the names and the signatures of ``spikingtorch.functional``, and the twin's equations."""

import importlib
import inspect
import sys
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import jax as SJ
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax

# names of functional that JAX does not have, with the reason
TORCH_ALONE = {
    "delayed_linear": "a layer that skips zeros by a kernel of its own, for torch's tensors",
    "event_conv1d": "a layer that skips zeros by a kernel of its own, for torch's tensors",
    "event_conv2d": "a layer that skips zeros by a kernel of its own, for torch's tensors",
    "event_linear": "a layer that skips zeros by a kernel of its own, for torch's tensors",
}
TORCH_ALONE |= dict.fromkeys(("Connections", "sparse_linear"), TORCH_ALONE["event_linear"])
# gradients that run forward in time, which JAX has by a jvp of the step, as jax_reference/influence.py does
TORCH_ALONE |= dict.fromkeys(("Linearized", "OnlineState", "OnlineStep", "Partials", "with_traces"), "a jvp of a step")
# methods of torch's classes that JAX does not have, with the reason
METHODS_OF_TORCH_ALONE = {"Triangular.support": "it tells layers that skip zeros which gradients are zero"}
# arguments likewise
ARGUMENTS_OF_TORCH_ALONE = {"recompute": "jax.checkpoint and jax.lax.scan of it do that in JAX"}
# what spikingtorch.jax has of its own, in place of the twin's
OF_ITS_OWN = {"Backend", "Explanation", "explain_scan", "scan"}
SHARED = sorted({*F.__all__} - {*TORCH_ALONE})
MODULES = ("chips", "fixed_point", "plasticity", "rounding")
NAMED = [*SHARED, *[f"{module}.{name}" for module in MODULES for name in getattr(F, module).__all__]]
CALLABLE = [name for name in NAMED if inspect.isclass(attrgetter(name)(F)) or inspect.isroutine(attrgetter(name)(F))]


def test_the_names_are_those_of_functional() -> None:
    assert {*SJ.__all__} == {*SHARED}
    assert {*J.__all__} == {*SHARED} - OF_ITS_OWN
    assert all({*getattr(J, module).__all__} == {*getattr(F, module).__all__} for module in MODULES)


def test_the_equations_are_those_of_the_twin() -> None:
    copies = [name for name in SJ.__all__ if name not in OF_ITS_OWN and getattr(SJ, name) is not getattr(J, name)]
    assert copies == []


def parameters(thing: Any) -> list[tuple[str, Any, Any]]:
    """Return names, kinds and defaults, those of torch as what they are in JAX."""
    found = inspect.signature(thing).parameters.values()
    return [(each.name, each.kind, to_jax(each.default)) for each in found if each.name not in ARGUMENTS_OF_TORCH_ALONE]


def methods(kind: type[Any]) -> Iterator[str]:
    """Yield the methods that a class defines, to be called by users."""
    for name, value in vars(kind).items():
        if inspect.isfunction(value) and (name == "__call__" or not name.startswith("_")):
            yield name


@pytest.mark.parametrize("name", CALLABLE)
def test_signatures_are_those_of_functional(name: str) -> None:
    ours, theirs = attrgetter(name)(F), attrgetter(name)(SJ)
    assert parameters(theirs) == parameters(ours)
    assert inspect.getdoc(theirs)
    if not inspect.isclass(ours):
        return
    assert getattr(theirs, "_fields", None) == getattr(ours, "_fields", None)
    for method in methods(ours):
        if f"{name}.{method}" not in METHODS_OF_TORCH_ALONE:
            assert parameters(getattr(theirs, method)) == parameters(getattr(ours, method)), method


def test_it_is_a_module_of_the_library() -> None:
    assert getattr(st, "jax") is SJ  # noqa: B009
    assert "jax" in dir(st)


def test_without_jax_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "spikingtorch.jax")
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module("spikingtorch.jax")
    assert str(raised.value) == 'spikingtorch.jax needs the package jax: pip install "spikingtorch[jax]"'
    assert raised.value.name == "jax"
