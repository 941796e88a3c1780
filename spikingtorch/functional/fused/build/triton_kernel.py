"""Compile Triton source texts for a device, load the kernels there and keep them for later launches.

Triton is imported when the first kernel is wanted. It reads the lines of a text from ``linecache``, as Python's
tracebacks do, so no file is written. Triton keeps compiled kernels in its own folder, which ``TRITON_CACHE_DIR`` moves.
"""

import hashlib
import importlib
import linecache
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import torch

INSTALL = (
    "It comes with the builds of PyTorch for CUDA and ROCm on Linux; 'pip install triton' adds it to other "
    "builds for CUDA"
)


# runs a kernel on all of its arguments except BLOCK; and returns such a function for a number of lanes
Run: TypeAlias = Callable[[Sequence[Any]], None]
Loaded: TypeAlias = Callable[[int], Run]


class NoKernel(RuntimeError):  # noqa: N818
    """Triton is missing, or it could not compile a text; the message says why."""


class Source(NamedTuple):
    """A kernel to compile."""

    name: str  # of the function in the text
    text: str  # the module
    # its arguments and their types, as Triton's compiler names them; the last one is BLOCK
    types: tuple[tuple[str, str], ...]
    missing: tuple[str, ...] = ()  # arguments that are None


class Settings(NamedTuple):
    """The options of the compiler, whatever the kernel computes."""

    options: Mapping[str, bool]  # of Triton's compiler
    block: int  # lanes of a program


def loaded(source: Source, index: int, settings: Callable[[str], Settings]) -> Loaded:
    """Return a kernel on a device, compiled now or earlier, which runs on torch's current stream; or raise NoKernel.

    ``settings`` returns the options for one of Triton's backends, "cuda" or "hip".
    """
    triton = _triton()
    if not torch.cuda.is_available():
        raise NoKernel("torch finds no GPU in this process (torch.cuda.is_available() is False)")
    try:
        with torch.cuda.device(index):
            gpu = triton.runtime.driver.active.get_current_target()
            chosen = settings(gpu.backend)
            kernel = compiled(source, gpu, chosen)
            kernel.run  # noqa: B018 - loads the kernel, now and not at its first launch
    except Exception as error:
        raise NoKernel(f"Triton made no kernel ({type(error).__name__}: {error})") from error

    def launcher(lanes: int) -> Run:
        run = kernel[-(-lanes // chosen.block), 1, 1]

        def launch(arguments: Sequence[Any]) -> None:
            with torch.cuda.device(index):
                run(*arguments, chosen.block)

        return launch

    return launcher


def compiled(source: Source, gpu: Any, settings: Settings) -> Any:
    """Return the result of Triton's compiler for a GPU, which may be absent from this machine.

    No size and no alignment of an address is specialised, so one kernel serves all tensors.
    """
    triton = _triton()
    constants: dict[str, int | None] = {"BLOCK": settings.block, **dict.fromkeys(source.missing)}
    types = {name: "constexpr" if name in constants else kind for name, kind in source.types}
    function = _namespace(source.text)[source.name]
    text = triton.compiler.ASTSource(function, signature=types, constexprs=constants)
    return triton.compile(text, target=gpu, options=dict(settings.options))


def run_text(text: str) -> dict[str, Any]:
    """Return the definitions of a module's text. Triton reads the lines of a function again, so they are kept."""
    name = f"<spikingtorch kernel {hashlib.sha256(text.encode()).hexdigest()[:32]}>"
    # an entry without a time of change stays when linecache checks its entries on disk
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    found: dict[str, Any] = {"__name__": "spikingtorch_kernel"}
    exec(compile(text, name, "exec"), found)
    return found


_namespace = lru_cache(maxsize=512)(run_text)


def _triton() -> Any:
    """Return Triton; raise NoKernel if it is not installed, or does not load."""
    try:
        found = importlib.import_module("triton")
        importlib.import_module("triton.compiler")
    except ImportError as error:
        raise NoKernel(f"it needs Triton, which cannot be imported ({error}). {INSTALL}") from error
    return found
