"""Mutants of the rules and of the judging part of the proof, and which of them the tests of the rules let live.

Run: python -m tests.fold.rules.mutate [part of the name of a function]
"""

import ast
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from spikingtorch.fold import judge, operations, proof, rules
from spikingtorch.fold.trace import Objection
from tests.fold.rules.by_hand import KEPT, MERGED, MIXING, TOLD_KEPT, TOLD_MIXING, judged, merged, outer_of, told
from tests.fold.rules.cases import APART, MIXED, SUBTLE
from tests.fold.rules.equivalent import SAME, WORDS
from tests.fold.rules.gradients import FOLDED, REFUSED, SUMS_APART, SUMS_MIXED
from tests.fold.rules.hidden import HIDDEN
from tests.fold.rules.oracle import Code, decide
from tests.fold.test_rules import ROWS
from tests.verification.changes import COMPARED, changed

JUDGING = ("_judge_all", "_placed", "_judge", "_judge_text", "_is_sum", "_merged_call", "_merged")
NO_JUDGES = ("taught_rules", "values_in", "need")
SWAPPED = {"axis": "last", "last": "axis", "k": "outer", "outer": "k", "all": "any", "any": "all"}
MEMBERSHIP: dict[type, tuple[type, ...]] = {ast.In: (ast.NotIn,), ast.NotIn: (ast.In,)}


class Check(NamedTuple):
    """A call, and whether it is to be refused.

    Attributes:
        name: what it is a call of.
        refused: whether it is.
        judge: judges it; raises if it is refused.
        reached: the code of the functions that judging it calls.
        operations: names of what it calls.
    """

    name: str
    refused: bool
    judge: Callable[[], object]
    reached: set[types.CodeType]
    operations: set[str]

    def fails(self) -> bool:
        """Say whether the verdict is another."""
        try:
            self.judge()
        except Objection:
            return not self.refused
        except Exception:
            return True
        return self.refused


class Mutant(NamedTuple):
    """A change of one function."""

    where: str
    line: str
    what: str
    install: Callable[[], Callable[[], None]]
    touches: Callable[[Check], bool]


def checks() -> list[Check]:
    """Return the calls of the tests whose traces come as far as to be judged; the traces are kept."""
    codes: list[tuple[str, Code, tuple[int, ...], bool, bool]] = []
    hard = SUBTLE | {name: case for name, (case, _) in HIDDEN.items()}
    seen = {name: case for name, case in hard.items() if decide(case.code, case.shape, case.gradients).reason}
    for refused, cases in ((False, APART | SUMS_APART), (True, MIXED | SUMS_MIXED), (True, seen)):
        codes += [(name, case.code, case.shape, refused, case.gradients) for name, case in cases.items()]
    for name, row in ROWS.items():
        codes += [(name, code, row.shape, False, True) for code in row.keeps]
        codes += [(name, code, row.shape, True, True) for code in row.mixes]
    codes += [(name, code, (6,), name in REFUSED, True) for name, code in (FOLDED | REFUSED).items()]
    found = []
    for name, code, shape, refused, gradients in codes:
        with torch.set_grad_enabled(gradients):
            replayed = _judging(code, shape, gradients)
        if replayed is not None:
            found.append(_checked(name, refused, *replayed))
    for refused, calls in ((False, KEPT), (True, MIXING)):
        for call in calls:

            def by_hand(call: tuple[Any, ...] = call) -> None:
                if judged(*call) != outer_of(call[1]):
                    raise ValueError("another outer factor")

            found.append(_checked(call[0], refused, by_hand, {call[0].partition(".")[0]}))
    for refused, texts in ((False, TOLD_KEPT), (True, TOLD_MIXING)):
        found += [_checked(call[0], refused, functools.partial(told, *call), set()) for call in texts]
    for sizes, size in MERGED.items():

        def by_sizes(sizes: tuple[int, int] = sizes, size: Any = size) -> None:
            if merged(*sizes) != size:
                raise ValueError("another size")

        found.append(_checked("sizes", False, by_sizes, set()))
    return found


def _judging(code: Code, shape: tuple[int, ...], gradients: bool) -> tuple[Callable[[], object], set[str]] | None:
    kept: list[Any] = []
    judge_all = proof._Proof._judge_all

    def keep(self: Any, first: Any, second: Any) -> None:
        kept.append((self, first, second))
        judge_all(self, first, second)

    proof._Proof._judge_all = keep  # type: ignore[method-assign]
    try:
        decide(code, shape, gradients)
    finally:
        proof._Proof._judge_all = judge_all  # type: ignore[method-assign]
    if not kept:
        return None
    own, first, second = kept[0]

    def judge() -> None:
        own.outer, own.poison, own.sums, own.expected = {}, {}, set(), []
        own._judge_all(first, second)

    return judge, {call.func._opname for call in first if not isinstance(call.func, str)}


def _checked(name: str, refused: bool, judge: Callable[[], object], operations: set[str]) -> Check:
    reached: set[types.CodeType] = set()
    check = Check(name, refused, judge, reached, operations)
    sys.setprofile(lambda frame, event, argument: reached.add(frame.f_code))
    try:
        fails = check.fails()
    finally:
        sys.setprofile(None)
    if fails:
        raise ValueError(f"a call of {name} is judged otherwise than it should be, without any mutant")
    return check


def changes(node: ast.AST, same: list[ast.AST]) -> Iterator[tuple[str, Callable[[Any], ast.AST]]]:
    """Yield what a node can be changed to."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node).startswith("op.need"):
        yield "dropped", lambda node: ast.Pass()
    if isinstance(node, ast.Raise):
        yield "dropped", lambda node: ast.Pass()
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in (COMPARED | MEMBERSHIP).get(type(node.ops[0]), ()):
            yield f"compares with {other.__name__}", lambda n, o=other: ast.Compare(n.left, [o()], n.comparators)  # type: ignore[misc]
    if isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"joined by {other.__name__}", lambda n, o=other: ast.BoolOp(o(), n.values)  # type: ignore[misc]
        for i, value in enumerate(node.values):
            yield f"without {ast.unparse(value)}", lambda n, i=i: _joined(n.op, n.values[:i] + n.values[i + 1 :])  # type: ignore[misc]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "without not", lambda n: n.operand
    if isinstance(node, ast.If | ast.IfExp):
        for answer in (True, False):
            yield f"if {answer}", lambda n, v=answer: type(n)(ast.Constant(v), n.body, n.orelse)  # type: ignore[misc]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in SWAPPED and node not in same:
        yield f"{SWAPPED[node.attr]} for {node.attr}", lambda n: ast.Attribute(n.value, SWAPPED[n.attr], n.ctx)
    if isinstance(node, ast.Name) and node.id in SWAPPED:
        yield f"{SWAPPED[node.id]} for {node.id}", lambda n: ast.Name(SWAPPED[n.id], n.ctx)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "+ 1", lambda n: ast.Constant(n.value + 1)
    if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant) and type(node.value.value) is bool:
        yield "the other way", lambda n: ast.keyword(n.arg, ast.Constant(not n.value.value))
    if isinstance(node, ast.Return) and node.value is not None and "outer" in ast.unparse(node.value):
        yield "returns 1", lambda n: ast.Return(ast.Constant(1))
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Call) and "op" in ast.unparse(node.value):
        yield "returns 1", lambda n: ast.Return(ast.Constant(1))


def _joined(op: ast.boolop, values: list[ast.expr]) -> ast.expr:
    return ast.BoolOp(op, values) if len(values) > 1 else values[0]


def mutants() -> Iterator[Mutant]:
    """Yield all changes of functions, then those of the table."""
    for module in (operations, rules, judge, proof):
        tree = ast.parse(inspect.getsource(module))
        lines = inspect.getsource(module).splitlines()
        owners: list[ast.Module | ast.ClassDef] = [
            tree,
            *[each for each in tree.body if isinstance(each, ast.ClassDef)],
        ]
        for owner in owners:
            for function in [each for each in owner.body if isinstance(each, ast.FunctionDef)]:
                if (module is proof and function.name not in JUDGING) or function.name in NO_JUDGES:
                    continue
                place = getattr(module, owner.name) if isinstance(owner, ast.ClassDef) else module
                yield from _of_function(module, place, function, lines)
    for name, rule in rules.RULES.items():
        for other in (rules.pointwise, rules.rows):
            if rule is not other:
                yield _of_table(name, other)


def _of_function(module: Any, place: Any, function: ast.FunctionDef, lines: list[str]) -> Iterator[Mutant]:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    nodes = [node for statement in body for node in ast.walk(statement)]
    # axis and last are None for the same tensors
    same: list[ast.AST] = [
        node.left for node in nodes if isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "None"
    ]
    for node in nodes:
        for what, change in changes(node, same):
            code = changed(function, node, change, module)
            line = lines[getattr(node, "lineno", getattr(getattr(node, "value", None), "lineno", 1)) - 1].strip()
            olds = _functions(place, function.name)
            reached = {old.__code__ for old, _ in olds}
            yield Mutant(
                f"{module.__name__.rpartition('.')[2]}.{function.name}",
                line,
                f"{ast.unparse(node)[:60]}: {what}",
                lambda olds=olds, code=code: _install(olds, code),  # type: ignore[misc]
                lambda check, reached=reached: bool(reached & check.reached),  # type: ignore[misc]
            )


def _functions(place: Any, name: str) -> list[tuple[Any, bool]]:
    """Return a function, and what it has returned already; the second says whether it is such a one."""
    found = inspect.getattr_static(place, name)
    found = found.fget if isinstance(found, property) else found
    inner = [rule for rule in rules.RULES.values() if rule.__qualname__ == f"{name}.<locals>.rule"]
    return [(found, False), *[(rule, True) for rule in {id(rule): rule for rule in inner}.values()]]


def _install(olds: list[tuple[Any, bool]], code: types.CodeType) -> Callable[[], None]:
    before = [(old, old.__code__) for old, _ in olds]
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType) and each.co_name == "rule"]
    for old, is_inner in olds:
        new = inner[0] if is_inner else code
        if len(new.co_freevars) == len(old.__code__.co_freevars):
            old.__code__ = new

    def restore() -> None:
        for old, own in before:
            old.__code__ = own

    return restore


def _of_table(name: str, other: Any) -> Mutant:
    def install() -> Callable[[], None]:
        before, rules.RULES[name] = rules.RULES[name], other
        return lambda: rules.RULES.__setitem__(name, before)

    return Mutant(
        "RULES",
        name,
        f"{rules.RULES[name].__name__}: {other.__name__}",
        install,
        lambda check: any(each.removesuffix("_") == name or each == name for each in check.operations),
    )


def main(part: str = "") -> None:
    torch.set_num_threads(1)
    known, total, lived = checks(), 0, []
    print(f"{len(known)} calls")
    for mutant in mutants():
        if part not in mutant.where:
            continue
        total += 1
        restore = mutant.install()
        try:
            killed = any(check.fails() for check in known if mutant.touches(check))
        finally:
            restore()
        if not killed:
            lived.append(mutant)
            if not _listed(mutant, SAME) and not _listed(mutant, WORDS):
                print(f"lives: {mutant.where}: {mutant.what}    [{mutant.line}]", flush=True)
    _report(part, total, lived)


def _listed(mutant: Mutant, table: Mapping[str, Mapping[str, str]]) -> bool:
    return mutant.what in table.get(mutant.where, {})


def _report(part: str, total: int, lived: list[Mutant]) -> None:
    same, words = ([mutant for mutant in lived if _listed(mutant, table)] for table in (SAME, WORDS))
    killed, others = total - len(lived), total - len(same) - len(words)
    if total == 0:
        raise SystemExit(f"no function of a mutant has {part!r} in its name")
    print(f"{killed} of {total} killed, {100 * killed / total:.1f} %")
    print(f"without {len(same)} that judge every call alike and {len(words)} that differ in words: ", end="")
    print(f"{killed} of {others}, {100 * killed / others:.1f} %")
    listed = [(where, what) for table in (SAME, WORDS) for where, found in table.items() for what in found]
    for where, what in listed:
        if part in where and (where, what) not in [(mutant.where, mutant.what) for mutant in lived]:
            print(f"listed, and does not live: {where}: {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
