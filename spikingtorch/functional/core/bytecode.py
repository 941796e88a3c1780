"""What code reads and changes, as its bytecode tells without running it."""

import dis
import inspect
import types
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

# what reads by a name that is in no code
OPAQUE = {
    *("getattr", "hasattr", "globals", "locals", "vars", "eval", "exec", "__import__", "__dict__", "__globals__"),
    *("__getattribute__", "_getframe", "f_globals", "f_locals"),
}
# methods of containers, and instructions, that change what they are used on
CHANGES = {
    *("append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault", "discard"),
    *("pop", "popleft", "popitem", "clear", "remove", "sort", "reverse", "__setitem__", "setattr", "__setattr__"),
    *("STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"),
}
ASSIGNS = "an assignment to an attribute"
# what these packages define stays what it is, so that the function or class itself is its identity
FIXED = {"torch", "numpy", "math", "builtins", "typing", "collections", "functools", "operator", "enum", "spikingtorch"}
DEFINITIONS = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    np.ufunc,
)
# what reads attributes by a name that may be computed: of one of them, of all
_READ_ONE = {"getattr", "hasattr"}
_READ_ALL = {"vars", "__dict__", "dir", "setattr", "delattr", "__getattribute__", "attrgetter", "getattr_static"}
_CONTAINERS = (list, dict, set, bytearray, deque, np.ndarray, torch.Tensor)
_MAKES = {"BUILD_LIST", "BUILD_MAP", "BUILD_SET", "LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE"}
# what tells one number from another by more than its value, or by its value without arithmetic: by its type, its text,
# its hash, or as a key
_LOOKS = {
    *("isinstance", "issubclass", "type", "__class__", "callable", "hasattr", "is_tensor", "hash", "id", "repr", "str"),
    *("format", "set", "frozenset", "get", "setdefault", "contains", "is_integer", "as_integer_ratio", "hex"),
}
_LOOKING = ("CONTAINS_OP", "FORMAT_", "MATCH_", "BUILD_SET", "BUILD_STRING")
_LOOKING_OPERATIONS = {"CONTAINS": "in", "FORMAT": "a text", "MATCH": "a pattern", "BUILD": "a set or a text"}
_FROM_OUTSIDE = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
_REBINDS = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")


class Reads(NamedTuple):
    """What code reads and does.

    Attributes:
        names: of globals that it reads.
        attributes: names of the attributes that it reads.
        stores: names of the attributes that it assigns to.
        texts: strings in it, which may be names of attributes as well.
        imports: modules that it imports.
        opaque: what hides more of what it reads.
        rebinds: a variable outside of it that it assigns to.
        changes: what it calls or does to change containers or objects, its own maybe.
        catches: whether it goes on after an error.
        computes_names: whether it may read attributes whose names are no constants of it.
        looks: how it looks at numbers other than by arithmetic, possibly at others' numbers.
        identity: names of variables outside of it that it compares with something by identity, "" for its own.
    """

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    stores: tuple[str, ...]
    texts: tuple[str, ...]
    imports: tuple[str, ...]
    opaque: str
    rebinds: str
    changes: tuple[str, ...]
    catches: bool
    computes_names: bool
    looks: tuple[str, ...]
    identity: tuple[str, ...]


@lru_cache(maxsize=1024)
def reads_of(code: types.CodeType) -> Reads:
    """Return what code reads, that of functions inside it included."""
    instructions = [each for each in dis.get_instructions(code) if each.opname not in ("EXTENDED_ARG", "NOP")]
    found = _Found(
        code.co_freevars,
        _made_here(code, instructions),
        _catches(instructions),
        _computes_names(instructions),
        *_looked_at(code, instructions),
    )
    for before, instruction in pairwise([instructions[0], *instructions]):
        found.note(before, instruction)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.include(reads_of(constant), code.co_cellvars)
    return found.reads(_texts_of(code))


class _Found:
    """What has been found in code so far.

    Args:
        outside: variables of functions around it.
        made: variables that hold what it has made.
        catches: whether it goes on after an error.
        computes: whether it may read attributes whose names are no constants of it.
        looks: how it looks at numbers other than by arithmetic.
        identity: what it compares by identity.
    """

    def __init__(
        self,
        outside: tuple[str, ...],
        made: set[str],
        catches: bool,
        computes: bool,
        looks: set[str],
        identity: set[str],
    ) -> None:
        self._outside, self._made, self._catches, self._computes = outside, made, catches, computes
        self._looks, self._identity = looks, identity
        self._names: set[str] = set()
        self._attributes: set[str] = set()
        self._stores: set[str] = set()
        self._imports: set[str] = set()
        self._opaque: set[str] = set()
        self._rebinds: set[str] = set()
        self._changes: set[str] = set()

    def note(self, before: dis.Instruction, instruction: dis.Instruction) -> None:
        """Note what an instruction does; ``before`` is the one before it."""
        operation, name = instruction.opname, instruction.argval
        if operation in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            self._names.add(name)
        elif operation in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            self._attributes.add(name)
            in_place = name.endswith("_") and not name.endswith("__")
            own = before.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and _variables(before)[-1] in self._made
            if (name in CHANGES or in_place) and not own:
                self._changes.add(name)
        elif operation == "IMPORT_FROM":
            self._attributes.add(name)
        elif operation == "IMPORT_NAME":
            self._opaque.add("import")
            self._imports.add(name)
        elif operation in _REBINDS and (operation.endswith("GLOBAL") or name in self._outside):
            self._rebinds.add(name)
        elif operation in CHANGES:
            self._stores.update({name} if operation == "STORE_ATTR" else ())
            self._changes.add(ASSIGNS if "ATTR" in operation else "an assignment to an item")

    def include(self, inner: Reads, shared: tuple[str, ...]) -> None:
        """Include what a function inside the code does, which shares some variables with it."""
        self._names.update(inner.names)
        self._attributes.update(inner.attributes)
        self._stores.update(inner.stores)
        self._imports.update(inner.imports)
        self._changes.update(inner.changes)
        self._opaque.update({inner.opaque} - {""})
        self._looks.update(inner.looks)
        self._identity.update(inner.identity)
        self._rebinds.update({inner.rebinds} - {"", *shared})
        self._catches = self._catches or inner.catches
        self._computes = self._computes or inner.computes_names

    def reads(self, texts: Iterable[str]) -> Reads:
        """Return all of it; ``texts`` are the strings in the code."""
        used = self._names | self._attributes
        looks = self._looks | used & _LOOKS | ({"except"} if self._catches else set())
        return Reads(
            names=tuple(sorted(self._names)),
            attributes=tuple(sorted(self._attributes)),
            stores=tuple(sorted(self._stores)),
            texts=tuple(sorted(texts)),
            imports=tuple(sorted(self._imports)),
            opaque=min((self._opaque | used & OPAQUE) - (set() if self._computes else _READ_ONE), default=""),
            rebinds=min(self._rebinds, default=""),
            changes=tuple(sorted(self._changes | self._names & CHANGES)),
            catches=self._catches,
            computes_names=self._computes,
            looks=tuple(sorted(looks)),
            identity=tuple(sorted(self._identity)),
        )


def _looked_at(code: types.CodeType, instructions: list[dis.Instruction]) -> tuple[set[str], set[str]]:
    """Return how code looks at values otherwise than by arithmetic, and what it compares with something by identity."""
    if code.co_qualname == "__create_fn__.<locals>.__eq__":  # of dataclasses, where what is itself is equal to itself
        return set(), set()
    looks: set[str] = set()
    identity: set[str] = set()
    first = instructions[0]
    rows = zip([first, first, *instructions], [first, *instructions], instructions, strict=False)
    for earlier, before, instruction in rows:
        if instruction.opname == "IS_OP" and not _is_constant(before):
            identity.add(_name_of(earlier, before))
        elif instruction.opname == "IS_OP" and type(before.argval) is bool:
            looks.add("is")
        elif instruction.opname.startswith(_LOOKING):
            looks.add(_LOOKING_OPERATIONS[instruction.opname.partition("_")[0]])
    return looks, identity


def _name_of(earlier: dis.Instruction, before: dis.Instruction) -> str:
    """Return the name of what was loaded if it is a variable outside of the code, or an attribute of one; else ""."""
    if before.opname in _FROM_OUTSIDE:
        return str(before.argval)
    inside = before.opname == "LOAD_ATTR" and earlier.opname in _FROM_OUTSIDE
    return f"{earlier.argval}.{before.argval}" if inside else ""


def _is_constant(instruction: dis.Instruction) -> bool:
    """Say whether what is compared by identity is None or the like, or a class."""
    return instruction.opname == "LOAD_CONST" or instruction.argval == "__class__"


def _catches(instructions: list[dis.Instruction]) -> bool:
    """Say whether code has an ``except``; what a ``with`` or a ``finally`` does with an error, it raises again."""
    names = [each.opname for each in instructions]
    handlers = [names[place + 1] for place, name in enumerate(names) if name == "PUSH_EXC_INFO"]
    return "CHECK_EXC_MATCH" in names or "JUMP_IF_NOT_EXC_MATCH" in names or "POP_TOP" in handlers


def _computes_names(instructions: list[dis.Instruction]) -> bool:
    """Say whether code reads attributes by more than ``x.name`` and ``getattr(x.y, "name")``."""
    if any(each.argval in _READ_ALL for each in instructions if each.opname.startswith("LOAD_")):
        return True
    rows = [place for place, each in enumerate(instructions) if each.argval in _READ_ONE]
    return not all(_is_named(instructions[place + 1 :]) for place in rows)


def _is_named(rest: list[dis.Instruction]) -> bool:
    """Say whether what follows ``getattr`` or ``hasattr`` is a call whose second argument is a constant."""
    operations = iter([each for each in rest[:16] if each.opname != "PUSH_NULL"])

    def loaded() -> dis.Instruction | None:
        """Pass over one argument, ``x`` or ``x.y.z``, and return what follows it."""
        first = next(operations, None)
        if first is None or not first.opname.startswith("LOAD_") or isinstance(first.argval, tuple):
            return None
        return next((each for each in operations if each.opname != "LOAD_ATTR"), None)

    name = loaded()
    if name is None or name.opname != "LOAD_CONST" or type(name.argval) is not str:
        return False
    after, given = next(operations, None), 2
    if after is not None and after.opname.startswith("LOAD_"):
        operations, given = chain([after], operations), 3
        after = loaded()
    return after is not None and after.opname in ("PRECALL", "CALL") and after.arg == given


def _texts_of(code: types.CodeType) -> set[str]:
    """Return the strings of code, those in tuples and in functions inside it included."""
    found: set[str] = set()
    for constant in code.co_consts:
        found.update([each for each in (constant if isinstance(constant, tuple) else (constant,)) if type(each) is str])
        if isinstance(constant, types.CodeType):
            found |= _texts_of(constant)
    return found


def _made_here(code: types.CodeType, instructions: list[dis.Instruction]) -> set[str]:
    """Return the variables of code that hold nothing but lists, dicts and sets that it has made itself."""
    made: set[str] = set()
    several = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    others = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + several]}
    for before, instruction in pairwise(instructions):
        if instruction.opname.startswith(("STORE_FAST", "STORE_DEREF")):
            first, *rest = _variables(instruction)
            (made if before.opname in _MAKES else others).add(first)
            others.update(rest if instruction.opname == "STORE_FAST_STORE_FAST" else ())
    return made - others - {*code.co_freevars}


def _variables(instruction: dis.Instruction) -> tuple[str, ...]:
    """Return the variables of an instruction, of which Python 3.13 joins two."""
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def changes_of(value: Any, changes: Iterable[str]) -> list[str]:
    """Return which of the changes that a function makes can be to a value."""
    if isinstance(value, types.BuiltinFunctionType):  # log.append, kept under another name
        return [value.__name__] if isinstance(value.__self__, _CONTAINERS) and value.__name__ in CHANGES else []
    if isinstance(value, _CONTAINERS):
        return [change for change in changes if " " in change or hasattr(value, change)]
    if isinstance(value, types.FunctionType | type | types.ModuleType) and module_of(value) not in FIXED:
        return [change for change in changes if change == ASSIGNS]
    if isinstance(value, (*DEFINITIONS, types.ModuleType)) or module_of(type(value)) in FIXED:
        return []
    # an object may hold a container, on which the names of tensors' own methods say nothing
    return [c for c in changes if not hasattr(torch.Tensor, c)] if hasattr(value, "__dict__") else []


def changes_by_methods(value: Any, called: Iterable[str]) -> list[str]:
    """Return the changes that an object makes to itself where it is called, or one of these methods is."""
    if isinstance(value, (*DEFINITIONS, types.ModuleType)) or not hasattr(value, "__dict__"):
        return []
    found: list[str] = []
    ahead, seen = ["__call__", "forward", *called], set[str]()
    while ahead:
        name = ahead.pop()
        method: Any = getattr(type(value), name, None)
        method = method.fget if isinstance(method, property) else method
        if name not in seen and isinstance(method, types.FunctionType) and module_of(method) not in FIXED:
            reads = reads_of(method.__code__)
            found += reads.changes
            ahead += reads.attributes
        seen.add(name)
    return found


def module_of(value: Any) -> str:
    """Return the package that defines a value."""
    if isinstance(value, types.ModuleType):
        name: Any = value.__name__
    elif isinstance(value, types.FunctionType):
        name = value.__globals__.get("__name__")  # a wrapper says that it is from where what it wraps is from
    else:
        name = getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def cells_of(value: Any) -> list[Any]:
    """Return what a function closes over."""
    return [_content(cell) for cell in value.__closure__ or ()] if isinstance(value, types.FunctionType) else []


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is empty yet
        return None
