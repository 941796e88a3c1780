"""verify_nir: compare a network with an independent simulation of its graph, spike by spike."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nir
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.axes import samples_first
from spikingtorch.functional.core.sharing import copied
from spikingtorch.interop.nir import metadata, readers
from spikingtorch.interop.nir.builder import module_names
from spikingtorch.interop.nir.discretise import Discretisation
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.importing import from_nir, reading_of, step_length
from spikingtorch.interop.nir.plan import NEURONS, plan_of
from spikingtorch.interop.nir.reference import Trace, simulate
from spikingtorch.interop.nir.targets import Target, target_of
from spikingtorch.interop.verdict import Certificate, Difference, Row
from spikingtorch.watching import recording

# how the other side computes, if it is no library's reader: NIR itself has no steps
_EQUATIONS = {
    "exact": "by the exact solution of NIR's equations",
    "exponential": "by NIR's equations, each solved exactly in turn",
    "euler": "by NIR's equations in steps of Euler's method",
}
# the number of parts of a step for the nearly continuous solution
REFINE = 32
_SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)

Array = npt.NDArray[np.float64]


def verify_nir(
    graph: nir.NIRGraph | str | Path,
    sample: Tensor,
    *,
    dt: float | None = None,
    discretisation: Discretisation | None = None,
    surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
    dtype: torch.dtype | None = None,
    use_metadata: bool = True,
    target: str | None = None,
) -> Certificate:
    """Run the network of ``from_nir`` and an independent simulation of a graph, and compare the spikes.

    The simulation is written from NIR's definitions, in numpy and double precision; membranes are compared with
    thresholds at the end of each step. The last column also compares within the steps, which is nearly the continuous
    solution. For a graph that was written for the reader of a library, or with a target, the simulation is a model of
    this reader.

    Args:
        graph: a graph from ``nir.read``, or the path of a file.
        sample: an input, (N, T, ...), or (T, N, ...) if the metadata say that the network takes time first.
        dt: length of a step, in seconds; by default taken from the metadata.
        discretisation: as in ``from_nir``, like the arguments that follow.
        surrogate: spike function.
        dtype: of the network, which runs in the sample's dtype if that is wider.
        use_metadata: whether to use the metadata of the graph.
        target: the library whose reader is modelled, as in ``to_nir``; by default taken from the metadata.

    Returns:
        A table to print, with the first neuron and step that differ, if any do.

    Raises:
        NIRError: dt is not known, or the reader of the target does not compute the graph; and the errors of
            ``from_nir``.

    >>> numbers = {"r": np.ones(1), "v_threshold": np.ones(1), "v_reset": np.zeros(1)}
    >>> graph = nir.NIRGraph.from_list(nir.LIF(tau=np.array([1e-3]), v_leak=np.zeros(1), **numbers))
    >>> verify_nir(graph, 3 * torch.rand(2, 100, 1), dt=1e-4).equal
    True
    """
    graph = read(graph) if isinstance(graph, str | Path) else graph
    check_sample("verify_nir", sample)
    plan, said = plan_of(graph), metadata.unpacked(graph) if use_metadata or dt is None else None
    named = target if target is not None or said is None or not use_metadata else said.target
    reader = target_of("verify_nir", named)
    dt = step_length("verify_nir", dt, said)
    reading = reading_of(plan, said if use_metadata else None, dt, discretisation, surrogate, dtype)
    # the wider of the two dtypes holds the numbers of both
    wide = torch.promote_types(sample.dtype, reading.dtype)
    way = reading.discretisation
    model = from_nir(graph, dt, discretisation, surrogate=surrogate, dtype=wide, use_metadata=use_metadata)
    names = module_names(plan)
    paths = {name: names[name] for name, node in plan.nodes.items() if isinstance(node, (*NEURONS, nir.Delay))}
    return certified(model, graph, sample.to(wide), paths, dt, way, reader)


def certified(
    model: Any,
    graph: nir.NIRGraph,
    sample: Tensor,
    paths: Mapping[str, str],
    dt: float,
    discretisation: Discretisation,
    reader: Target | None = None,
) -> Certificate:
    """Return the certificate of a network, which is not changed, and a graph, for a sample as the network takes it.

    ``paths`` names the layer in the network of each neuron node of the graph. The library ``reader`` must spike alike;
    None stands for NIR's own equations.
    """
    batch_first = model.batch_first
    sample, model = samples_first(sample, batch_first), copied(model).eval()
    model.batch_first = True
    with torch.no_grad():
        seen = recording.record(model, sample, "spikes") if paths else None
        out: Any = model(sample) if seen is None else seen.out
    x = _array(sample)
    here = {name: _array(seen[path]["spikes"]) for name, path in paths.items() if seen is not None and path in seen}
    if reader is None:
        trace = simulate(graph, x, dt=dt, discretisation=discretisation, hands_on=here)
        fine = simulate(graph, x, dt=dt, discretisation="exact", refine=REFINE, feed=trace.inputs)
    else:
        trace, fine = _read(graph, x, dt, here, reader), None
    # readers compute in float32
    nodes, slack = plan_of(graph).nodes, torch.finfo(sample.dtype if reader is None else torch.float32).eps
    outs: dict[str, Any] = out if isinstance(out, dict) else dict.fromkeys(trace.out, out)
    given = here | {name: _array(each) for name, each in outs.items() if name not in here}
    rows = [
        _row(name, nodes[name], each, trace, fine, slack * _memory(nodes[name], dt)) for name, each in given.items()
    ]
    N, T = sample.shape[:2]
    title = None if reader is None else reader.title
    names = ("the graph", _EQUATIONS[discretisation]) if reader is None else (reader.reader, f"in {reader.reader}")
    settings = f" of {dt:g} s, {discretisation}"
    return Certificate(tuple(rows), N, T, sample.dtype, *names, settings, batch_first, title)


def _read(graph: nir.NIRGraph, x: Array, dt: float, here: Mapping[str, Array], reader: Target) -> Trace:
    """Return a reader's model of a graph; raise NIRError if the reader does not compute it."""
    readers.check(reader, graph)
    try:
        return simulate(graph, x, dt=dt, hands_on=here, build=partial(readers.build, reader))
    except ValueError as error:
        raise NIRError(str(error)) from error


def _row(name: str, node: Any, here: Array, trace: Trace, fine: Trace | None, slack: float) -> Row:
    there = trace.values[name]
    kind, neurons = type(node).__name__, int(np.prod(here.shape[2:]))
    if not isinstance(node, _SPIKING):
        return Row(name, kind, neurons, error=_error(here, there, slack))
    different, first = here != there, None
    if different.any():
        threshold = node.threshold if isinstance(node, nir.Threshold) else node.v_threshold
        found = _differences(here, different, trace.membranes[name], threshold, slack)
        first = min(found, key=lambda each: (each.miss <= each.rounding, each.step))
    total = float(here.sum())
    continuous = None if fine is None else _apart(fine.values[name], there, total)
    return Row(name, kind, neurons, int(total), int(different.sum()), first, None, continuous)


def _apart(fine: Array, there: Array, total: float) -> float:
    """Return the difference in the number of spikes per neuron, divided by the total number."""
    apart = float(abs(fine.sum((0, 1)) - there.sum((0, 1))).sum())
    return apart / total if total else float(apart > 0)


def _differences(here: Array, different: Array, u: Array, threshold: Any, slack: float) -> Iterator[Difference]:
    """Yield the first difference of each neuron and sample with one."""
    levels = np.broadcast_to(np.asarray(threshold, np.float64), here.shape[2:])
    # rounding errors are relative to the largest value of the membrane so far
    largest = np.maximum(np.maximum.accumulate(abs(u), axis=0), abs(levels))
    for place in zip(*np.nonzero(different.any(0)), strict=True):
        step = int(np.argmax(different[(slice(None), *place)]))
        at = (step, *place)
        sample, *neuron = (int(each) for each in place)
        miss = abs(float(u[at]) - float(levels[tuple(neuron)]))
        yield Difference(sample, step, tuple(neuron), bool(here[at]), miss, slack * float(largest[at]))


def _error(here: Array, there: Array, slack: float) -> float:
    """Return the largest difference, divided by the rounding bound of that neuron; infinity if one side has NaN."""
    if here.shape != there.shape:
        return float("inf")
    scale = np.maximum(abs(here), abs(there)).max((0, 1), initial=0.0)
    off = np.where(here == there, 0.0, abs(here - there) / np.where(scale > 0.0, slack * scale, 1.0))
    return float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy().swapaxes(0, 1)


def _memory(node: Any, dt: float) -> float:
    """Return the number of rounding errors in a membrane: of the sum of its inputs, and of the steps that it holds.

    A membrane forgets within its time constant; without one it keeps everything.
    """
    taus = [float(np.max(getattr(node, name))) for name in ("tau", "tau_mem", "tau_syn") if hasattr(node, name)]
    if isinstance(node, nir.IF | nir.I):
        return 2048.0
    return 256.0 + 2.0 * min(sum(taus) / dt, 1024.0)


def check_sample(owner: str, sample: Any) -> None:
    """Raise NIRError unless a sample is a batch of inputs in float32 or float64."""
    if not (isinstance(sample, Tensor) and sample.ndim >= 2 and sample.is_floating_point() and sample.numel()):
        raise NIRError(f"{owner}: sample is no floating-point tensor (N, T, ...) with entries; pass a batch of inputs")
    if sample.dtype not in (torch.float32, torch.float64):
        raise NIRError(
            f"{owner}: the sample is {sample.dtype}, expected float32 or float64; convert it and the network"
        )
