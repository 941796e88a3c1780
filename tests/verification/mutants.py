"""Mutants of the equations: changes of one place in a function, installed in the running process and taken back."""

import ast
import importlib
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.verification.changes import changed, changes, table_changes

CORE = "spikingtorch.functional"
NEURONS = ("adaptive", "integrator", "leaky", "nonlinear", "resonate", "stochastic", "synaptic")
COMMON = ("firing", "reset", "spike", "surrogate")
# side of the comparison, and the modules whose functions are changed there
MODULES: dict[str, tuple[str, ...]] = {
    "torch": (
        *(f"{CORE}.{name}" for name in (*COMMON, "masked", "refractory_period")),
        *(f"{CORE}.neurons.{name}" for name in (*NEURONS, "delay", "synapses")),
    ),
    "jax": (
        *(f"{CORE}.jax_reference.{name}" for name in (*COMMON, "closed_forms", "delay", "synapses", "wrappers")),
        *(f"{CORE}.jax_reference.neurons.{name}" for name in NEURONS),
    ),
    "c": (f"{CORE}.fused.codegen.c_expressions", f"{CORE}.fused.lower.rules"),
}
# functions without an equation: names, errors, states at rest, and how rules are registered; and what these checks do
# not run, recurrent steps and those that give out their state
LEFT_OUT = (
    *("__name__", "_apart", "rule", "_overloads", "empty_delay", "closed_form", "widened", "_along"),
    *("at_rest", "inner_rest", "_zeros", "dense", "per_channel", "convolution", "Recurrent", "Returning", "Watched"),
)

# of a function: its file and its name with its class
Place = tuple[str, str]


class Mutant(NamedTuple):
    """A change of one place.

    Attributes:
        side: "torch", "jax" or "c".
        where: the function.
        line: the line of the change.
        what: the change.
        place: the function, as a profiler tells it.
        install: makes the change and returns what takes it back.
    """

    side: str
    where: str
    line: str
    what: str
    place: Place
    install: Callable[[], Callable[[], None]]


def mutants(side: str) -> Iterator[Mutant]:
    """Yield all changes of one side."""
    for name in MODULES[side]:
        module = importlib.import_module(name)
        source = inspect.getsource(module)
        for owner, function in _functions(ast.parse(source)):
            yield from _of_function(side, module, owner, function, source.splitlines())
        if side == "c":
            yield from _of_tables(module)


def place_of(code: types.CodeType) -> Place:
    """Return a function as a profiler tells it; what is defined inside of a function counts as that function."""
    return code.co_filename, code.co_qualname.partition(".<locals>")[0]


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in (node for node in tree.body if getattr(node, "name", "") not in LEFT_OUT):
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        for each in inner:
            overloads = isinstance(each, ast.FunctionDef) and "overload" in map(ast.unparse, each.decorator_list)
            if isinstance(each, ast.FunctionDef) and not overloads and each.name not in LEFT_OUT:
                yield (node.name if isinstance(node, ast.ClassDef) else ""), each


def _of_function(side: str, module: Any, owner: str, function: ast.FunctionDef, lines: list[str]) -> Iterator[Mutant]:
    found = _found(module, owner, function.name)
    if found is None:
        return
    body = function.body[1:] if ast.get_docstring(function) else function.body
    short = module.__name__.removeprefix(f"{CORE}.")
    where = f"{short}.{owner}.{function.name}" if owner else f"{short}.{function.name}"
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.expr | ast.keyword) and not _only_words(node, function):
            for what, change in changes(node, side):
                code = changed(function, node, change, module)
                line = lines[getattr(node, "lineno", function.lineno) - 1].strip()
                text = f"{ast.unparse(node)[:60]}: {what}"
                place = place_of(found[0].__code__)
                yield Mutant(side, where, line, text, place, lambda found=found, code=code: _install(found, code))  # type: ignore[misc]


def _only_words(node: ast.AST, function: ast.FunctionDef) -> bool:
    """Say whether a node is in an annotation or an error message."""
    words = [each for each in ast.walk(function) if isinstance(each, ast.Raise)]
    words += [each.annotation for each in ast.walk(function) if isinstance(each, ast.AnnAssign)]  # type: ignore[misc]
    words += [each for each in ast.walk(function) if isinstance(each, ast.arg | ast.arguments)]  # type: ignore[misc]
    return any([node is inner for each in words for inner in ast.walk(each)])


def _found(module: Any, owner: str, name: str) -> list[types.FunctionType] | None:
    """Return a function, and the closures that it has made already; None if it only raises."""
    place = getattr(module, owner) if owner else module
    found: Any = inspect.getattr_static(place, name)
    found = found.fget if isinstance(found, property) else found
    found = inspect.unwrap(found)
    if not inspect.isfunction(found):
        return None
    rules: dict[str, Any] = getattr(module, "RULES", {})
    inner = {id(rule): rule for rule in rules.values() if rule.__qualname__.startswith(f"{name}.<locals>")}
    return [found, *inner.values()]


def _install(functions: list[types.FunctionType], code: types.CodeType) -> Callable[[], None]:
    before = [(function, function.__code__) for function in functions]
    inner = {each.co_name: each for each in code.co_consts if isinstance(each, types.CodeType)}
    wanted = [inner[each.__name__] if "<locals>" in each.__qualname__ else code for each in functions]
    for function, new in zip(functions, wanted, strict=True):
        if len(new.co_freevars) != len(function.__code__.co_freevars):
            raise ValueError(f"{function.__qualname__} has other variables around it")
    for function, new in zip(functions, wanted, strict=True):
        function.__code__ = new.replace(co_qualname=function.__code__.co_qualname)

    def restore() -> None:
        for function, own in before:
            function.__code__ = own

    return restore


def _of_tables(module: Any) -> Iterator[Mutant]:
    """Yield changes of the tables of operations in C."""
    for name in ("_INFIX", "_LIBM", "_ODD"):
        table: dict[str, str] = getattr(module, name, {})
        for key, other in table_changes(table):

            def install(table: dict[str, str] = table, key: str = key, other: str = other) -> Callable[[], None]:
                own, table[key] = table[key], other
                return lambda: table.__setitem__(key, own)

            short = module.__name__.removeprefix(f"{CORE}.")
            place = (str(module.__file__), "_operation" if name != "_ODD" else "Body.odd_inputs")
            yield Mutant("c", f"{short}.{name}", f"{key}: {table[key]}", f"{key}: {other}", place, install)
