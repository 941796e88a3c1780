"""The commands ``python -m spikingtorch verify``, ``report`` and others, and common parts."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

USAGE = """usage: python -m spikingtorch COMMAND

  verify       check every neuron, surrogate and reset rule against its JAX twin; --help says more
  report       write one HTML page about a network: curves, cost, rates, advice, gradients; --help says more
  nir          show a NIR file, certify it, and compare it with the limits of platforms; --help says more
  onnx         write a network as a file of ONNX, and certify it; --help says more
  quantize     certify a network as integers, and write them as C, NIR or npz; --help says more
  cache        show or clear the compiled kernels on disk; --help says more
  checkpoints  convert those of 1.0.0rc1, which are pickles; --help says more
"""
# the commands, each with the packages that may be missing
COMMANDS = {"verify": ("jax", "jaxlib", "tqdm"), "report": (), "nir": ("nir",)}
COMMANDS |= {"onnx": ("onnx_ir", "onnxscript", "onnx"), "quantize": (), "cache": (), "checkpoints": ()}


class CommandError(Exception):
    """A command cannot run; the message says what is missing."""


def main(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    name, *others = arguments or [""]
    if name not in COMMANDS:
        print(USAGE, file=sys.stderr, end="")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        command = importlib.import_module(f"spikingtorch.cli.{name}")
    except ImportError as error:
        if error.name not in COMMANDS[name]:
            raise
        # interop.nir and interop.onnx themselves say which packages they need
        needs = error if name in ("nir", "onnx") else f"{name} needs {error.name}: pip install 'spikingtorch[jax]'"
        print(needs, file=sys.stderr)
        return 2
    code: int = command.main(others)
    return code


def positive(text: str) -> int:
    """Read a whole number above zero, for ``type=`` of an argument."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def function_of(text: str, takes: str, ending: str = "") -> tuple[Any, Callable[..., Any]]:
    """Return the module and the function of ``module:function``, from the current folder or installed.

    Otherwise raise a CommandError, which says what the command ``takes``, or lists names with the ``ending``.
    """
    module_name, colon, name = text.partition(":")
    if not (module_name and colon and name.isidentifier()):
        raise CommandError(f"{takes}, and got {text!r}")
    module = _imported(module_name)
    found = getattr(module, name, None)
    if not callable(found):
        there = [each for each in vars(module) if ending and each.endswith(ending)]
        listed = f"; there are {', '.join(there)}" if there else ""
        raise CommandError(f"{module_name} has no function {name}{listed}")
    return module, found


def _imported(name: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name and (name == missing.name or name.startswith(f"{missing.name}.")):
            raise CommandError(
                f"there is no module {name} in {Path.cwd()} or installed; run from its folder"
            ) from missing
        raise CommandError(f"{name} needs a module that is not there: {missing.name}") from missing
    except Exception as failure:
        raise CommandError(f"{name} cannot be imported: {type(failure).__name__}: {failure}") from failure
