"""What a place in an equation can be changed to: signs, dropped terms, other comparisons, swapped arguments."""

import ast
import copy
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

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
