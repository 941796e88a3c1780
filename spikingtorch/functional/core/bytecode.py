"""What code reads and changes, as its bytecode tells without running it."""

import dis
import inspect
import types
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

# what reads by a name that is in no code
_OPAQUE = {"getattr", "globals", "locals", "vars", "eval", "exec", "__import__", "__dict__", "__globals__"}
# methods of containers, and instructions, that change what they are used on
CHANGES = {
    *("append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault", "discard"),
    *("pop", "popleft", "popitem", "clear", "remove", "sort", "reverse", "__setitem__", "setattr", "__setattr__"),
    *("STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"),
}
_MAKES = {"BUILD_LIST", "BUILD_MAP", "BUILD_SET", "LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE"}
_REBINDS = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")


class Reads(NamedTuple):
    """What code reads and does.

    Attributes:
        names: of globals that it reads.
        attributes: names of the attributes that it reads.
        opaque: what hides more of what it reads.
        rebinds: a variable outside of it that it assigns to.
        changes: what it calls or does to change containers or objects, its own maybe.
    """

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    opaque: str
    rebinds: str
    changes: tuple[str, ...]


@lru_cache(maxsize=1024)
def reads_of(code: types.CodeType) -> Reads:
    """Return what code reads, that of functions inside it included."""
    names: set[str] = set()
    attributes: set[str] = set()
    opaque: set[str] = set()
    rebinds: set[str] = set()
    changes: set[str] = set()
    instructions = [each for each in dis.get_instructions(code) if each.opname not in ("EXTENDED_ARG", "NOP")]
    made = _made_here(code, instructions)
    for before, instruction in pairwise([instructions[0], *instructions]):
        operation, name = instruction.opname, instruction.argval
        if operation in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            names.add(name)
        elif operation in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            attributes.add(name)
            in_place = name.endswith("_") and not name.endswith("__")
            own = before.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and _variables(before)[-1] in made
            if (name in CHANGES or in_place) and not own:
                changes.add(name)
        elif operation == "IMPORT_NAME":
            opaque.add("import")
        elif operation in _REBINDS and (operation.endswith("GLOBAL") or name in code.co_freevars):
            rebinds.add(name)
        elif operation in CHANGES:
            changes.add("an assignment to an attribute" if "ATTR" in operation else "an assignment to an item")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = reads_of(constant)
            names.update(inner.names)
            attributes.update(inner.attributes)
            opaque.update({inner.opaque} - {""})
            rebinds.update({inner.rebinds} - {"", *code.co_cellvars})
            changes.update(inner.changes)
    changes |= names & CHANGES
    opaque |= (names | attributes) & _OPAQUE
    hidden, rebound = min(opaque, default=""), min(rebinds, default="")
    return Reads(tuple(sorted(names)), tuple(sorted(attributes)), hidden, rebound, tuple(sorted(changes)))


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
