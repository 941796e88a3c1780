"""What code of a network may not do if it is to run once for all steps: print, change files, use something up."""

import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from spikingtorch.functional.core.bytecode import Reads, module_of

# what is to happen at each step
_EFFECTS = {
    *("print", "open", "input", "breakpoint", "stdout", "stderr", "system", "putenv", "environb", "warn"),
    *("save", "savez", "savez_compressed", "savetxt", "tofile", "dump", "setrecursionlimit", "write_text"),
    *("write_bytes", "touch", "mkdir", "makedirs", "rmdir", "removedirs", "rmtree", "unlink"),
}
# functions of these modules that change files or the process, under names that methods of lists and texts have as well
_SYSTEM = {"os", "posix", "nt", "shutil"}
_EFFECTS_OF_SYSTEM = {
    *("remove", "rename", "renames", "replace", "link", "symlink", "truncate", "chmod", "chown", "utime", "chdir"),
    *("write", "mkfifo", "mknod", "kill", "umask", "copy", "copy2", "copyfile", "copytree", "move"),
}
# what nobody can look behind
_OPAQUE = {"globals", "locals", "eval", "exec", "__import__", "id"}
_ASKS = {
    *("is_inference_mode_enabled", "is_inference", "environ", "getenv", "num_batches_tracked", "__globals__"),
    *("are_deterministic_algorithms_enabled", "get_num_threads", "swap_tensors"),
}
_ONCE = "which is to be called at each step"
_LEAVE_OUT = "leave that call out"


def objections_to_code(name: str, reads: Reads, outside: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield why a function lets a network step, after "it", and what would let it fold.

    Args:
        name: of the function.
        reads: what its code reads and does.
        outside: what it reads of globals, closures and defaults.
    """
    told = {*reads.names, *reads.attributes}
    if effects := told & _EFFECTS:
        yield f"calls {min(effects)}, {_ONCE}", _LEAVE_OUT
    if hidden := {*reads.names} & _OPAQUE | told & _ASKS:
        yield f"uses {min(hidden)}, behind which nobody can look", "write what it stands for"
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
    """Return which functions that change files code reads, of their module or by a name of its own."""
    if isinstance(value, types.ModuleType):
        return {*reads.attributes} & _EFFECTS_OF_SYSTEM if value.__name__ in _SYSTEM else set()
    own = isinstance(value, types.FunctionType | types.BuiltinFunctionType) and module_of(value) in _SYSTEM
    return {value.__name__} & _EFFECTS_OF_SYSTEM if own else set()
