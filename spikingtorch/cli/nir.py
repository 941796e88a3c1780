"""``python -m spikingtorch nir FILE``: show a NIR file as a table, certify it, and compare it with platforms."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikingtorch.axes import samples_first
from spikingtorch.cli import positive
from spikingtorch.interop.nir import Certificate, NIRError, metadata, platforms, read, verify_nir
from spikingtorch.interop.nir.discretise import DISCRETISATIONS
from spikingtorch.interop.nir.picture import picture, shape_text
from spikingtorch.interop.nir.plan import Plan, plan_of
from spikingtorch.interop.nir.targets import TARGETS
from spikingtorch.units import in_columns

# a file of another library does not hold the length of a step; most libraries assume this one
DT = 1e-4
# random inputs lie between zero and these limits, which grow until every neuron node fires
_DRIVES = tuple(4.0**power for power in range(8))
# parameters that are shown; time constants and delays are in seconds
_SHOWN = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in", "delay", "threshold")


def main(arguments: Sequence[str] | None = None) -> int:
    """Show and certify a file; return 0 if both sides spike alike, 1 if not, 2 if it cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (NIRError, OSError, ImportError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m spikingtorch nir", description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("file", type=Path, help="a .nir file")
    parser.add_argument("--dt", type=float, help=f"length of a step in seconds (that of the metadata, else {DT:g})")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, help="of the equations (that of the metadata)")
    parser.add_argument("--target", choices=TARGETS, help="certify for this library's reader (that of the metadata)")
    parser.add_argument("--no-metadata", action="store_true", help="go by the nodes alone")
    parser.add_argument("--steps", type=positive, default=100, help="of the random input (%(default)s)")
    parser.add_argument("--samples", type=positive, default=2, help="of the random input (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random input (%(default)s)")
    parser.add_argument("--picture", type=Path, help="draw the nodes into this file, a PNG or SVG")
    return parser


def _run(options: argparse.Namespace) -> int:
    graph = read(options.file)
    plan, said = plan_of(graph), None if options.no_metadata else metadata.unpacked(graph)
    print(_table(plan))
    if said is not None:
        whom = "" if said.target is None else f", for {TARGETS[said.target].reader}"
        print(f"\nwritten by spikingtorch: dt={said.dt:g} s, {said.discretisation}{whom}")
        for name, what in said.lost.items():
            print(f"lost in the export: {name} {what}")
    if options.picture is not None:
        _save(plan, options.picture)
        print(f"\npicture in {options.picture}")
    print("\nplatforms, by their documented limits:")
    beyond = platforms.exceeded(plan)
    for platform in platforms.PLATFORMS:
        print(f"  {platform.name:14} {'; '.join(beyond[platform.name]) or 'within them'} ({platform.notes})")
    certificate = _certified(graph, plan, said, options)
    print(f"\n{certificate}")
    return 0 if certificate.equal or certificate.within_rounding else 1


def _table(plan: Plan) -> str:
    """Return the nodes as a table."""
    head = ("node", "kind", "gives out", "from", "parameters")
    rows = []
    for name, node in plan.nodes.items():
        sources = [f"{each.source} (a step before)" if each.delayed else each.source for each in plan.incoming[name]]
        rows.append((name, type(node).__name__, shape_text(node), ", ".join(sources), _parameters(node)))
    return "\n".join(in_columns([head, *rows], left=len(head))[:-1])


def _parameters(node: Any) -> str:
    if hasattr(node, "weight"):
        return f"weights {'x'.join(map(str, np.shape(node.weight)))}"
    found = {name: np.asarray(getattr(node, name)) for name in _SHOWN if getattr(node, name, None) is not None}
    units = {name: " s" if name.startswith(("tau", "delay")) else "" for name in found}
    return ", ".join(f"{name} {_range(value)}{units[name]}" for name, value in found.items() if value.size)


def _range(value: Any) -> str:
    low, high = float(value.min()), float(value.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _save(plan: Plan, path: Path) -> None:
    try:
        picture(plan).savefig(path)
    except ValueError as error:
        raise NIRError(f"the picture cannot be written to {path}: {error}") from error


def _certified(graph: Any, plan: Plan, said: metadata.Metadata | None, options: argparse.Namespace) -> Certificate:
    """Return the certificate on random inputs with which every neuron node fires, or most of them."""
    dt = (DT if said is None else said.dt) if options.dt is None else options.dt
    how = {"dt": dt, "discretisation": options.discretisation, "target": options.target}
    shape = [int(size) for size in plan.nodes[plan.input].input_type["input"]]
    generator = torch.Generator().manual_seed(options.seed)
    drawn = torch.rand(options.samples, options.steps, *shape, generator=generator)
    best: Certificate | None = None
    for drive in _DRIVES:
        sample = samples_first(drive * drawn, said is None or said.batch_first)
        found = verify_nir(graph, sample, use_metadata=not options.no_metadata, **how)
        silent = sum(row.error is None and not row.spikes for row in found.rows)
        if best is None or silent < sum(row.error is None and not row.spikes for row in best.rows):
            best = found
        if not silent or not (found.equal or found.within_rounding):
            return found
    assert best is not None
    return best
