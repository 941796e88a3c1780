"""What code says: actions that have to happen at each step, such as printing; attributes that torch's modules read."""

import types
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from spikingtorch.functional.core.bytecode import Reads, module_of, reads_of
from spikingtorch.functional.core.torch_private import AnyDropout, AnyNorm

# actions that must happen at each step
_EFFECTS = {
    *("print", "open", "input", "breakpoint", "stdout", "stderr", "system", "putenv", "environb", "warn"),
    *("save", "savez", "savez_compressed", "savetxt", "tofile", "dump", "setrecursionlimit", "write_text"),
    *("write_bytes", "touch", "mkdir", "makedirs", "rmdir", "removedirs", "rmtree", "unlink"),
}
# functions of these modules that change files or the process; lists and texts have methods of the same names
_SYSTEM = {"os", "posix", "nt", "shutil"}
_EFFECTS_OF_SYSTEM = {
    *("remove", "rename", "renames", "replace", "link", "symlink", "truncate", "chmod", "chown", "utime", "chdir"),
    *("write", "mkfifo", "mknod", "kill", "umask", "copy", "copy2", "copyfile", "copytree", "move"),
}
# functions whose effects cannot be analysed
_OPAQUE = {"globals", "locals", "eval", "exec", "__import__", "id"}
_ASKS = {
    *("is_inference_mode_enabled", "is_inference", "environ", "getenv", "num_batches_tracked", "__globals__"),
    *("are_deterministic_algorithms_enabled", "get_num_threads", "swap_tensors"),
}
_ONCE = "which is to be called at each step"
_LEAVE_OUT = "leave that call out"


def objections_to_code(name: str, reads: Reads, outside: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the reasons why a function makes a network step, as "it ...", and the changes that would let it fold.

    ``outside`` are the globals, closure variables and defaults that the function reads.
    """
    told = {*reads.names, *reads.attributes}
    if effects := told & _EFFECTS:
        yield f"calls {min(effects)}, {_ONCE}", _LEAVE_OUT
    if hidden := {*reads.names} & _OPAQUE | told & _ASKS:
        yield f"uses {min(hidden)}, whose effects cannot be analysed", "write the code that it stands for"
    if reads.catches or "suppress" in told:
        yield (
            f"goes on after an error that it catches in {name}, which one sample may raise for all steps",
            "compute with what raises none, such as torch.linalg.cholesky_ex or torch.where",
        )
    for key, value in outside.items():
        if isinstance(value, Iterator):
            yield f"uses up {key}, a {type(value).__name__} outside of the network", "keep a list"
        if isinstance(value, nn.Module):
            yield f"closes over {key}, a module", "hand it to the function, or make that a method"
        if effects := _effects_of_system(reads, value):
            yield f"calls {min(effects)} of {key}, {_ONCE}", _LEAVE_OUT


def _effects_of_system(reads: Reads, value: Any) -> set[str]:
    """Return the functions that change files and that code reads, from their module or under their own names."""
    if isinstance(value, types.ModuleType):
        return {*reads.attributes} & _EFFECTS_OF_SYSTEM if value.__name__ in _SYSTEM else set()
    own = isinstance(value, types.FunctionType | types.BuiltinFunctionType) and module_of(value) in _SYSTEM
    return {value.__name__} & _EFFECTS_OF_SYSTEM if own else set()


# numbers of torch's modules, and the part that decides which operations run: dropout with p = 0 or 1 draws nothing
SETTINGS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (AnyDropout, "p", lambda p: "some" if type(p) is float and 0.0 < p < 1.0 else p),
    (AnyNorm, "momentum", type),
    (AnyNorm, "eps", type),
)


@lru_cache(maxsize=256)
def attributes_read_by(kind: type) -> frozenset[str] | None:
    """Return the attributes that the forward of a torch class reads; None if they are not known."""
    if not kind.__module__.startswith("torch.nn.modules."):
        return None
    bases = kind.__mro__[: kind.__mro__.index(nn.Module)]
    found: set[str] = set()
    ahead = {"forward", "__iter__", "__len__", "__getitem__"}
    while ahead - found:
        name = min(ahead - found)
        found.add(name)
        item = next((vars(base)[name] for base in bases if name in vars(base)), None)
        for member in (item.fget,) if isinstance(item, property) else (getattr(item, "__func__", item),):
            reads = reads_of(member.__code__) if isinstance(member, types.FunctionType) else None
            if reads is not None and reads.computes_names:
                return None
            ahead.update((*reads.attributes, *reads.texts) if reads is not None else ())
    return frozenset(found)
