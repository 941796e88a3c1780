"""``python -m spikingtorch onnx MODULE:FUNCTION``: write a network as a file of ONNX, and certify it."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from spikingtorch.cli import CommandError, function_of
from spikingtorch.cli.report import ReportInputs, loaded
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.interop.onnx import ONNXError, export
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.units import in_columns, quantity

_FUNCTION = """FUNCTION() returns a SpikingNet, or (SpikingNet, x) with an example input. A checkpoint is a file of
torch.save: a state_dict, or a dict with one as "model" or "state_dict". The network is put into evaluation."""
SAMPLES, STEPS = 2, 20
# random inputs lie between zero and one of these, the first for which an output is not zero
_DRIVES = tuple(4.0**power for power in range(5))


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a network and print its certificate; return 0, or 2 if it cannot be exported."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (CommandError, ImportError, ONNXError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"python -m spikingtorch onnx: {error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    what = (__doc__ or "").split(": ", 1)[1]
    parser = argparse.ArgumentParser(prog="python -m spikingtorch onnx", description=what, epilog=_FUNCTION)
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="the function that makes the network")
    parser.add_argument("--shape", type=_shape, help="of one sample at one step, such as 100 or 1x28x28")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to load into the network")
    parser.add_argument("--out", type=Path, default=Path("net.onnx"), help="the file to write (%(default)s)")
    parser.add_argument("--no-state", action="store_true", help="each call of the file starts at rest")
    parser.add_argument("--no-nan", action="store_true", help="leave out what carries a NaN on")
    return parser


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if not all(size.isdigit() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write sizes above zero, such as 100 or 1x28x28")
    return tuple(map(int, sizes))


def _run(options: argparse.Namespace) -> int:
    model, x = _made(options.function, options.shape)
    if options.checkpoint is not None:
        loaded(ReportInputs(model, (), {}), options.checkpoint)
    model.eval()
    x = _example(model, options.shape) if x is None else x
    certificate = export(model, x, options.out, state=not options.no_state, nan=not options.no_nan)
    print(_described(options.out))
    if certificate is not None:
        print(f"\n{certificate}")
    return 0


def _made(text: str, shape: tuple[int, ...] | None) -> tuple[SpikingNet, Tensor | None]:
    """Return the network of ``module:function``, and its example input if there is one."""
    _, function = function_of(text, "onnx takes module:function, such as my_network:make")
    name = f"{text.partition(':')[2]}()"
    try:
        found = function()
    except Exception as error:
        raise CommandError(f"{name} fails: {type(error).__name__}: {error}") from error
    parts = [*found] if isinstance(found, tuple | list) else [found]
    fit = [isinstance(each, kind) for each, kind in zip(parts, (SpikingNet, Tensor), strict=False)]
    if not parts or fit != [True] * len(parts):
        what = ", ".join(type(each).__name__ for each in parts)
        raise CommandError(f"{name} returned ({what}), expected a SpikingNet, or (SpikingNet, tensor)")
    if len(parts) == 1 and shape is None:
        raise CommandError(f"{name} returned no input; pass --shape, of one sample at one step, such as 1x28x28")
    if len(parts) == 2 and shape is not None:
        raise CommandError(f"{name} returned an input, whose shape it has; leave out --shape")
    return parts[0], parts[1] if len(parts) == 2 else None


def _example(model: SpikingNet, shape: tuple[int, ...]) -> Tensor:
    """Return a random input of a network at which it fires, if there is one."""
    like = next(model.parameters(), torch.empty(()))
    first = (SAMPLES, STEPS) if model.batch_first else (STEPS, SAMPLES)
    noise = torch.rand(*first, *shape, generator=torch.Generator().manual_seed(0)).to(like)
    for drive in _DRIVES:
        with torch.no_grad():
            outs = leaves_of(model(drive * noise))
        model.reset()
        if any(out.any() for out in outs):
            return drive * noise
    return noise


def _described(path: Path) -> str:
    """Return what a file takes and gives out, as a table, its layers and its size."""
    import onnx_ir  # here, so that interop.onnx says first which package is missing

    made = onnx_ir.load(path)
    values = [("input", each) for each in made.graph.inputs] + [("output", each) for each in made.graph.outputs]
    rows = [(kind, str(value.name), ", ".join(map(str, value.shape or ()))) for kind, value in values]
    layers = json.loads(made.metadata_props["spikingtorch"])["layers"]
    table = in_columns([("", "name", "axes"), *rows], left=3)[:-1]
    named = ", ".join(f"{name} {kind}" for name, kind in layers.items())
    return "\n".join([*table, "", f"layers: {named}", f"{path}, {quantity(path.stat().st_size, 'B')}"])
