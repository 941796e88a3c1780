"""Mutants of the equations: a sign, a dropped term, another comparison or swapped arguments at one place of a function.

They are installed in the running process and taken back.
"""

import ast
import copy
import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

Found = Iterator[tuple[str, Callable[[Any], ast.AST]]]

BINARY: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
ORDERED = (ast.Sub, ast.Div, ast.Pow)
COMPARED: dict[type, tuple[type, ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
# methods and functions that a value can do without
DROPPED = (
    *("detach", "abs", "clamp", "round", "floor", "exp", "expm1", "sqrt", "relu", "sigmoid", "atan", "erf", "arctan"),
    *("stop_gradient", "hold", "maximum", "minimum", "clip", "inexact", "cast", "_limited", "_finite_above"),
)
# names of operations of the kernels
OPERATIONS = {
    **{"add": "sub", "sub": "add", "mul": "div", "div": "mul", "lt": "le", "le": "lt", "gt": "ge", "ge": "gt"},
    **{"eq": "ne", "ne": "eq", "max": "min", "min": "max", "and": "or", "or": "and", "sqrt": "abs", "exp": "expm1"},
}
# those whose two values may come in either order: the same bits, but for those that tell one NaN from another
COMMUTING = {"add", "mul", "and", "or", "eq", "ne"}
# parts of C expressions
IN_C = {
    " == ": " != ",
    " != ": " == ",
    " > ": " >= ",
    " < ": " <= ",
    " || ": " && ",
    " - ": " + ",
    " ? -": " ? ",
    "-": "",
}
INFIX = {
    **{"+": "-", "-": "+", "*": "/", "/": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"&": "|", "|": "&", "^": "|"},
}
LIBM = {"fabs": "sqrt", "sqrt": "fabs", "floor": "ceil", "ceil": "floor", "rint": "trunc", "trunc": "floor"}


def changes(node: ast.AST, side: str) -> Found:
    """Yield what a node can be changed to, in words and as a function of the node."""
    if isinstance(node, ast.BinOp):
        yield from _of_binary(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield f"without {type(node.op).__name__}", lambda n: n.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARED.get(type(node.ops[0]), ()):
            yield f"compares with {other.__name__}", lambda n, o=other: ast.Compare(n.left, [o()], n.comparators)  # type: ignore[misc]
    elif isinstance(node, ast.BoolOp):
        joined = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"joined by {joined.__name__}", lambda n: ast.BoolOp(joined(), n.values)
    elif isinstance(node, ast.IfExp):
        for kept in ("body", "orelse"):
            yield f"always the {kept}", lambda n, k=kept: getattr(n, k)  # type: ignore[misc]
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.JoinedStr):
        yield from _of_text(node)
    elif isinstance(node, ast.Constant) and type(node.value) in (float, int):
        yield "+ 1", lambda n: ast.Constant(n.value + 1)
    elif side == "c" and isinstance(node, ast.Constant) and node.value in OPERATIONS:
        yield OPERATIONS[node.value], lambda n: ast.Constant(OPERATIONS[n.value])


def table_changes(table: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield a key of a table of C expressions, and another entry for it."""
    for key, entry in table.items():
        for own, other in {**INFIX, **LIBM}.items():
            if entry == own:
                yield key, other


def _of_binary(node: ast.BinOp) -> Found:
    other = BINARY.get(type(node.op))
    if other is None:
        return
    yield f"{other.__name__} for {type(node.op).__name__}", lambda n: ast.BinOp(n.left, other(), n.right)
    if isinstance(node.op, ORDERED):
        yield "operands swapped", lambda n: ast.BinOp(n.right, n.op, n.left)
    yield "left operand alone", lambda n: n.left
    yield "right operand alone", lambda n: n.right


def _of_call(node: ast.Call) -> Found:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    plain = not any([isinstance(each, ast.Starred) for each in node.args])
    if plain:
        for k in range(len(node.args) - 1):
            same = ast.dump(node.args[k]) == ast.dump(node.args[k + 1]) or _commute(node, name, k)
            if not same and name not in ("isinstance", "getattr"):
                yield f"arguments {k} and {k + 1} swapped", partial(_swapped, "args", k, k + 1)
    for k in range(len(node.keywords) - 1):
        if node.keywords[k].arg and node.keywords[k + 1].arg:
            yield f"keywords {k} and {k + 1} swapped", partial(_exchanged, k)
    if name not in DROPPED:
        return
    module = isinstance(node.func, ast.Name) or (
        isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in ("torch", "jnp", "jax.lax", "b")
    )
    for k in range(len(node.args) if module else 0):
        yield f"argument {k} alone", lambda n, k=k: n.args[k]  # type: ignore[misc]
    if not module:
        yield f"without {name}", lambda n: n.func.value


def _commute(node: ast.Call, name: str, k: int) -> bool:
    """Return True for the two values of an operation of a kernel that may come in either order."""
    words = {each.value for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)} - {"bool"}
    return name in ("emit", "compare") and k == 2 and bool(words) and words <= COMMUTING


def _of_text(node: ast.JoinedStr) -> Found:
    for k, part in enumerate(node.values):
        text = part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else ""
        for own, other in IN_C.items():
            if own in text:
                changed = text.replace(own, other, 1)
                yield f"{own!r} to {other!r}", lambda n, k=k, changed=changed: _text(n, k, changed)  # type: ignore[misc]
    places = [k for k, part in enumerate(node.values) if isinstance(part, ast.FormattedValue)]
    for first, second in pairwise(places):
        if ast.dump(node.values[first]) != ast.dump(node.values[second]):
            yield f"places {first} and {second} swapped", partial(_swapped, "values", first, second)


def _swapped(field: str, i: int, j: int, node: ast.AST) -> ast.AST:
    items = [*getattr(node, field)]
    items[i], items[j] = items[j], items[i]
    return type(node)(**{**dict(ast.iter_fields(node)), field: items})


def _exchanged(k: int, node: ast.Call) -> ast.Call:
    a, b = node.keywords[k : k + 2]
    pair = [ast.keyword(a.arg, b.value), ast.keyword(b.arg, a.value)]
    return ast.Call(node.func, node.args, [*node.keywords[:k], *pair, *node.keywords[k + 2 :]])


def _text(node: ast.JoinedStr, k: int, text: str) -> ast.JoinedStr:
    return ast.JoinedStr([*node.values[:k], ast.Constant(text), *node.values[k + 1 :]])


class _Change(ast.NodeTransformer):
    def __init__(self, node: ast.AST, change: Callable[[Any], ast.AST]) -> None:
        self.node, self.change = node, change

    def visit(self, node: ast.AST) -> Any:
        return self.change(node) if node is self.node else super().visit(node)


def changed(function: ast.FunctionDef, node: ast.AST, change: Callable[[Any], ast.AST], module: Any) -> types.CodeType:
    """Return the code of a function of a module with a change of one of its nodes."""
    copied = copy.deepcopy(function, {id(node): node})  # but for the node, which is found by identity
    whole: ast.FunctionDef = _Change(node, change).visit(copied)
    whole.decorator_list = []
    tree = ast.fix_missing_locations(ast.Module([whole], []))
    space: dict[str, Any] = dict(vars(module))
    exec(compile(tree, module.__file__, "exec"), space)
    return space[function.name].__code__


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
