"""``python -m spikingtorch quantize MODULE:FACTORY``: a network as integers, certified, and written as files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikingtorch.cli import CommandError
from spikingtorch.cli.report import ReportInputs, loaded, make
from spikingtorch.quantize import IntegerError, IntegerModel, certify, quantize, to_integer

_DESCRIPTION = """Turn a network of fixed-point neurons into integers, or say which layer, rule and bound is against it;
compare every spike and membrane of both on the first batch, and write the integers as C, NIR or npz."""
_FACTORY = """FACTORY() returns (model, loader), or (model, loader, options), as for the command report: a SpikingNet,
its input batches, and a dict that may have an "encoder" of them. The exit code is 0 if all numbers are equal, 1 if
some differ, and 2 if the network cannot become integers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Certify a network as integers and write these; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spikingtorch quantize", description=_DESCRIPTION, epilog=_FACTORY)
    parser.add_argument("factory", metavar="MODULE:FACTORY", help="the function that makes the network and its batches")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to load into the network")
    parser.add_argument("--bits", type=int, metavar="B", help="round float weights to B bits first, without training")
    parser.add_argument("--c", type=Path, metavar="NET.C", help="write C99 and a header")
    parser.add_argument("--main", action="store_true", help="with --c: add a main for tests")
    parser.add_argument("--nir", type=Path, metavar="NET.NIR", help="write a NIR file")
    parser.add_argument("--approximate", action="store_true", help="with --nir: the nearest of what NIR cannot say")
    parser.add_argument("--npz", type=Path, metavar="NET.NPZ", help="write a file for IntegerModel.load")
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except IntegerError as refused:
        print(f"refused: {refused}", file=sys.stderr)
    except (CommandError, ImportError, OSError, TypeError, ValueError) as error:
        print(f"python -m spikingtorch quantize: {error}", file=sys.stderr)
    return 2


def _run(given: argparse.Namespace) -> int:
    for option, with_it in (("main", "c"), ("approximate", "nir")):
        if getattr(given, option) and getattr(given, with_it) is None:
            raise CommandError(f"--{option} says how --{with_it} writes its file; pass --{with_it} FILE as well")
    made = make(given.factory, "quantize")
    if given.checkpoint is not None:
        made = loaded(made, given.checkpoint)
    x = _first(made)
    model = made.model if given.bits is None else quantize(made.model, x, weight_bits=given.bits)
    integer = to_integer(model, x)
    print(integer.report())
    certificate = certify(model, integer, x)
    print(f"\n{certificate}")
    for path in _written(integer, x, given):
        print(f"Written to {path} ({path.stat().st_size / 1000:,.1f} kB).")
    return 0 if certificate.equal else 1


def _first(made: ReportInputs) -> Tensor:
    """Return the first batch as the network takes it."""
    batch = next(iter(made.loader), None)
    x: Any = batch[0] if isinstance(batch, tuple | list) else batch
    if not isinstance(x, Tensor):
        raise CommandError(f"the loader gives a {type(x).__name__}, expected batches of tensors (N, T, ...)")
    with torch.no_grad():
        encoded: Tensor = made.options["encoder"](x) if "encoder" in made.options else x
    return encoded


def _written(integer: IntegerModel, x: Tensor, given: argparse.Namespace) -> list[Path]:
    """Return the files that are asked for, written."""
    paths: list[Path] = []
    if given.c is not None:
        paths += integer.to_c(given.c, main=given.main)[:2]
    if given.nir is not None:
        import nir

        nir.write(given.nir, integer.to_nir(x, approximate=given.approximate))
        paths.append(given.nir)
    if given.npz is not None:
        integer.save(given.npz)
        paths.append(given.npz)
    return paths
