"""Find out from bytecode what code reads, without running it."""

import dis
import types
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

# definitions in these packages do not change, so the function or class itself is its key
FIXED = {"torch", "numpy", "math", "builtins", "typing", "collections", "functools", "operator", "enum", "spikingtorch"}
DEFINITIONS = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    np.ufunc,
)
# functions that read attributes by a name that may be computed: one attribute, all attributes
READ_ONE = {"getattr", "hasattr"}
_READ_ALL = {"vars", "__dict__", "dir", "setattr", "delattr", "__getattribute__", "attrgetter", "getattr_static"}
# functions that tell numbers apart by more than their value, or by their value without arithmetic: by type, text, hash,
# or as a key
_LOOKS = {
    *("isinstance", "issubclass", "type", "__class__", "callable", "hasattr", "is_tensor", "hash", "id", "repr", "str"),
    *("format", "set", "frozenset", "get", "setdefault", "contains", "is_integer", "as_integer_ratio", "hex"),
}
_LOOKING = {
    "CONTAINS": "in",
    "FORMAT": "a text",
    "MATCH": "a pattern",
    "BUILD_SET": "a set or a text",
    "BUILD_STRING": "a set or a text",
}
_FROM_OUTSIDE = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")


class Reads(NamedTuple):
    """The reads and writes of code, including the functions inside it."""

    names: tuple[str, ...]  # names of globals that it reads
    attributes: tuple[str, ...]  # names of the attributes that it reads
    stores: tuple[str, ...]  # names of the attributes that it assigns to
    rebinds: tuple[str, ...]  # names of globals that it assigns to
    texts: tuple[str, ...]  # strings in it, which may also be names of attributes
    imports: tuple[str, ...]  # modules that it imports
    looks: tuple[str, ...]  # how it inspects numbers other than by arithmetic, possibly numbers of other code
    identity: tuple[str, ...]  # names of outside variables that it compares by identity, "" for its own variables
    catches: bool  # whether it continues after an error
    computes_names: bool  # whether it may read attributes whose names are not constants in it


@lru_cache(maxsize=1024)
def reads_of(code: types.CodeType) -> Reads:
    """Return the reads of code."""
    instructions = [each for each in dis.get_instructions(code) if each.opname not in ("EXTENDED_ARG", "NOP")]

    def named(*operations: str) -> set[Any]:
        return {each.argval for each in instructions if each.opname in operations}

    names = named("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    attributes = named("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM")
    catches = _catches(instructions)
    looks, identity = _looked_at(code, instructions)
    looks |= (names | attributes) & _LOOKS | ({"except"} if catches else set())
    sets = names, attributes, named("STORE_ATTR"), named("STORE_GLOBAL", "DELETE_GLOBAL"), _texts_of(code.co_consts)
    own = (*sets, named("IMPORT_NAME"), looks, identity, catches, _computes_names(instructions))
    inner = [reads_of(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    rows: Any = zip(own, *inner, strict=True)
    merged: Any = [any(row) if type(row[0]) is bool else tuple(sorted({*chain(*row)})) for row in rows]
    return Reads(*merged)


def _looked_at(code: types.CodeType, instructions: list[dis.Instruction]) -> tuple[set[str], set[str]]:
    """Return how code inspects values other than by arithmetic, and what it compares by identity."""
    if code.co_qualname == "__create_fn__.<locals>.__eq__":  # of dataclasses: an object equals itself
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
        looks.update(word for start, word in _LOOKING.items() if instruction.opname.startswith(start))
    return looks, identity


def _name_of(earlier: dis.Instruction, before: dis.Instruction) -> str:
    """Return the name of the loaded value if it is an outside variable or an attribute of one; else ""."""
    if before.opname in _FROM_OUTSIDE:
        return str(before.argval)
    inside = before.opname == "LOAD_ATTR" and earlier.opname in _FROM_OUTSIDE
    return f"{earlier.argval}.{before.argval}" if inside else ""


def _is_constant(instruction: dis.Instruction) -> bool:
    """Return True if a comparison by identity is with None or a similar constant, or with a class."""
    return instruction.opname == "LOAD_CONST" or instruction.argval == "__class__"


def _catches(instructions: list[dis.Instruction]) -> bool:
    """Return True if code has an ``except``; a ``with`` or a ``finally`` raises the error again."""
    names = [each.opname for each in instructions]
    handlers = [names[place + 1] for place, name in enumerate(names) if name == "PUSH_EXC_INFO"]
    return "CHECK_EXC_MATCH" in names or "JUMP_IF_NOT_EXC_MATCH" in names or "POP_TOP" in handlers


def _computes_names(instructions: list[dis.Instruction]) -> bool:
    """Return True if code reads attributes in other ways than ``x.name`` and ``getattr(x.y, "name")``."""
    if any(each.argval in _READ_ALL for each in instructions if each.opname.startswith("LOAD_")):
        return True
    rows = [place for place, each in enumerate(instructions) if each.argval in READ_ONE]
    return not all(_is_named(instructions[place + 1 :]) for place in rows)


def _is_named(rest: list[dis.Instruction]) -> bool:
    """Return True if ``getattr`` or ``hasattr`` is called with a constant as its second argument."""
    operations = iter([each for each in rest[:16] if each.opname != "PUSH_NULL"])

    def loaded() -> dis.Instruction | None:
        """Skip one argument, ``x`` or ``x.y.z``, and return the next instruction."""
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


def _texts_of(constants: tuple[Any, ...]) -> set[str]:
    """Return the strings among constants, those in tuples included."""
    inner = [_texts_of(each) for each in constants if isinstance(each, tuple)]
    return {each for each in constants if type(each) is str}.union(*inner)


def module_of(value: Any) -> str:
    """Return the package that defines a value."""
    if isinstance(value, types.ModuleType):
        name: Any = value.__name__
    elif isinstance(value, types.FunctionType):
        name = value.__globals__.get("__name__")  # a wrapper names the module of the function that it wraps
    else:
        name = getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def cells_of(value: Any) -> list[Any]:
    """Return the variables that a function closes over."""
    return [content_of(cell) for cell in value.__closure__ or ()] if isinstance(value, types.FunctionType) else []


def content_of(cell: types.CellType, empty: Any = None) -> Any:
    """Return the content of a cell, or a placeholder if it is still empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return empty


def slots_of(kind: type) -> list[str]:
    """Return the names of the slots of a class's objects."""
    found: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{slot}" if private else slot)
    return [slot for slot in found if slot not in ("__dict__", "__weakref__")]
