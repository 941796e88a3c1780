"""Certificates: a network and an independent simulation of its graph, spike by spike."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.interop.nir import metadata
from spikingtorch.interop.nir.builder import module_names
from spikingtorch.interop.nir.discretise import Discretisation
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.importing import from_nir, reading_of
from spikingtorch.interop.nir.plan import NEURONS, plan_of
from spikingtorch.interop.nir.reference import Trace, simulate
from spikingtorch.watching import recording

# into how many parts a step is divided for what is close to the continuous solution
REFINE = 32
_SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)

Array = npt.NDArray[np.float64]


class Difference(NamedTuple):
    """Where a neuron of the network and of the graph differ first.

    Attributes:
        sample: index of the sample.
        step: index of the step.
        neuron: index of the neuron.
        fires: whether the network fires, and the graph does not; or the other way round.
        miss: distance of the graph's membrane from its threshold.
        rounding: how far rounding alone may have moved it.
    """

    sample: int
    step: int
    neuron: tuple[int, ...]
    fires: bool
    miss: float
    rounding: float


class Row(NamedTuple):
    """One neuron node, driven by what the network's layers before it gave out; or the output of the network.

    Attributes:
        name: of the node.
        kind: its class.
        neurons: how many it has.
        spikes: how many the network has given out.
        different: entries of the spikes that differ.
        first: of the neurons that differ, the first difference that rounding does not explain, or else the first one.
        error: of a node without spikes, the largest difference over what rounding may do: up to 1 it is that.
        continuous: spikes that the continuous solution has more or less, a neuron, over those of the network.
    """

    name: str
    kind: str
    neurons: int
    spikes: int
    different: int
    first: Difference | None
    error: float | None
    continuous: float | None


class Certificate(NamedTuple):
    """What ``verify_nir`` returns.

    Attributes:
        rows: the neurons of the graph.
        samples: N.
        steps: T.
        dt: length of a step, in seconds.
        discretisation: of the equations.
        dtype: in which the network ran; the simulation of the graph is in double precision.
    """

    rows: tuple[Row, ...]
    samples: int
    steps: int
    dt: float
    discretisation: str
    dtype: torch.dtype

    @property
    def equal(self) -> bool:
        """Whether all spikes are equal, and all other outputs up to rounding."""
        return all(row.different == 0 for row in self.rows) and self._readouts_agree

    @property
    def within_rounding(self) -> bool:
        """Whether each neuron's first difference is one that rounding alone can have made."""
        first = self.first
        difference: Any = None if first is None else first.first
        return self._readouts_agree and (first is None or bool(difference.miss <= difference.rounding))

    @property
    def first(self) -> Row | None:
        """The row with a difference that rounding does not explain, or else the earliest, if there is one."""
        return min([row for row in self.rows if row.first is not None], key=_rank, default=None)

    @property
    def _readouts_agree(self) -> bool:
        return all(row.error is None or row.error <= 1.0 for row in self.rows)

    def __str__(self) -> str:
        head = ("node", "kind", "neurons", "spikes", "different", "error", "continuous")
        body = [
            (
                row.name,
                row.kind,
                f"{row.neurons:,}",
                f"{row.spikes:,}" if row.error is None else "",
                f"{row.different:,}" if row.error is None else "",
                "" if row.error is None else f"{row.error:.2g}",
                "" if row.continuous is None else f"{row.continuous:.1%}",
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        sides = [str.ljust] * 2 + [str.rjust] * 5
        lines = [
            "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
            for row in (head, *body)
        ]
        dtype = str(self.dtype).removeprefix("torch.")
        ran = (
            f"{self.samples} samples of {self.steps} steps of {self.dt:g} s, {self.discretisation}, network in {dtype}"
        )
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([lines[0], rule, *lines[1:], rule, f"{self._verdict()} ({ran})"])

    def _verdict(self) -> str:
        row = self.first
        if row is None:
            if not self._readouts_agree:
                return "outputs differ by more than rounding"
            silent = [each.name for each in self.rows if each.error is None and not each.spikes]
            return "spikes equal" + (f", but {', '.join(silent)} never fired" if silent else "")
        found: Any = row.first
        does = "fires, and the graph does not" if found.fires else "does not fire, and the graph does"
        decided = "rounding decides" if self.within_rounding else f"rounding explains {found.rounding:.1e}"
        return (
            f"spikes differ first at {row.name}, neuron {found.neuron}, sample {found.sample}, step {found.step}: the "
            f"network {does}; the membrane missed the threshold by {found.miss:.1e}, {decided}"
        )


def verify_nir(
    graph: nir.NIRGraph | str | Path,
    sample: Tensor,
    *,
    dt: float | None = None,
    discretisation: Discretisation | None = None,
    surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
    dtype: torch.dtype | None = None,
    use_metadata: bool = True,
) -> Certificate:
    """Run the network that ``from_nir`` makes of a graph, and an independent simulation of it, and compare the spikes.

    The simulation is written from NIR's definitions, in numpy and double precision; membranes meet their thresholds at
    the end of each step. In a second column it looks within the steps as well, which is nearly the continuous solution.

    Args:
        graph: what ``nir.read`` returns, or the path of a file.
        sample: an input, (N, T, ...).
        dt: length of a step, in seconds; by default that of the metadata.
        discretisation: as in ``from_nir``, and so are those that follow.
        surrogate: spike function.
        dtype: of the network, which runs in that of the sample if it is wider.
        use_metadata: whether to go by what the graph says about itself.

    Returns:
        A table to be printed, with the first neuron and step that differ, if any do.

    Raises:
        NIRError: dt is not known, or what ``from_nir`` raises.

    >>> numbers = {"r": np.ones(1), "v_threshold": np.ones(1), "v_reset": np.zeros(1)}
    >>> graph = nir.NIRGraph.from_list(nir.LIF(tau=np.array([1e-3]), v_leak=np.zeros(1), **numbers))
    >>> verify_nir(graph, 3 * torch.rand(2, 100, 1), dt=1e-4).equal
    True
    """
    graph = read(graph) if isinstance(graph, str | Path) else graph
    check_sample("verify_nir", sample)
    plan, said = plan_of(graph), metadata.unpacked(graph) if use_metadata or dt is None else None
    if dt is None:
        if said is None:
            raise NIRError("verify_nir: the graph does not say how long a step is; pass dt=1e-4, for instance")
        dt = said.dt
    reading = reading_of(plan, said if use_metadata else None, dt, discretisation, surrogate, dtype)
    # the wider one of the two dtypes holds the numbers of both
    wide = torch.promote_types(sample.dtype, reading.dtype)
    way = reading.discretisation
    model = from_nir(graph, dt, way, surrogate=surrogate, dtype=wide, use_metadata=use_metadata)
    names = module_names(plan)
    paths = {name: names[name] for name, node in plan.nodes.items() if isinstance(node, (*NEURONS, nir.Delay))}
    return certified(model, graph, sample.to(wide), paths, dt, way)


def certified(
    model: Any, graph: nir.NIRGraph, sample: Tensor, paths: Mapping[str, str], dt: float, discretisation: Discretisation
) -> Certificate:
    """Return the certificate of a network and a graph.

    Args:
        model: the network, which is not changed.
        graph: the graph.
        sample: an input, (N, T, ...).
        paths: for the neurons of the graph, the layer in the network.
        dt: length of a step, in seconds.
        discretisation: of the equations.
    """
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        seen = recording.record(model, sample, "spikes") if paths else None
        out: Any = model(sample) if seen is None else seen.out
    x = _array(sample)
    here = {name: _array(seen[path]["spikes"]) for name, path in paths.items() if seen is not None and path in seen}
    trace = simulate(graph, x, dt=dt, discretisation=discretisation, hands_on=here)
    fine = simulate(graph, x, dt=dt, discretisation="exact", refine=REFINE, feed=trace.inputs)
    nodes, slack = plan_of(graph).nodes, torch.finfo(sample.dtype).eps
    rows = [_row(name, nodes[name], each, trace, fine, slack * _memory(nodes[name], dt)) for name, each in here.items()]
    outs: dict[str, Any] = out if isinstance(out, dict) else dict.fromkeys(trace.out, out)
    rows += [_output(name, nodes[name], _array(each), trace, slack) for name, each in outs.items() if name not in here]
    N, T = sample.shape[:2]
    return Certificate(tuple(rows), N, T, dt, discretisation, sample.dtype)


def _row(name: str, node: Any, here: Array, trace: Trace, fine: Trace, slack: float) -> Row:
    there = trace.values[name]
    kind, neurons = type(node).__name__, int(np.prod(here.shape[2:]))
    if not isinstance(node, _SPIKING):
        return Row(name, kind, neurons, 0, 0, None, _error(here, there, slack), None)
    different, first = here != there, None
    if different.any():
        threshold = node.threshold if isinstance(node, nir.Threshold) else node.v_threshold
        found = _differences(here, different, trace.membranes[name], threshold, slack)
        first = min(found, key=lambda each: (each.miss <= each.rounding, each.step))
    apart = abs(fine.values[name].sum((0, 1)) - there.sum((0, 1))).sum()
    total = float(here.sum())
    continuous = float(apart) / total if total else float(apart > 0)
    return Row(name, kind, neurons, int(total), int(different.sum()), first, None, continuous)


def _differences(here: Array, different: Array, u: Array, threshold: Any, slack: float) -> Iterator[Difference]:
    """Yield the first difference of each neuron and sample that has one."""
    levels = np.broadcast_to(np.asarray(threshold, np.float64), here.shape[2:])
    # what a membrane has held so far is what rounding errors are relative to
    largest = np.maximum(np.maximum.accumulate(abs(u), axis=0), abs(levels))
    for place in zip(*np.nonzero(different.any(0)), strict=True):
        step = int(np.argmax(different[(slice(None), *place)]))
        at = (step, *place)
        sample, *neuron = (int(each) for each in place)
        miss = abs(float(u[at]) - float(levels[tuple(neuron)]))
        yield Difference(sample, step, tuple(neuron), bool(here[at]), miss, slack * float(largest[at]))


def _output(name: str, node: Any, here: Array, trace: Trace, slack: float) -> Row:
    """Return the row of an Output: the sums of what leads to it, which are of this step alone."""
    there = trace.out[name]
    return Row(
        name, type(node).__name__, int(np.prod(here.shape[2:])), 0, 0, None, _error(here, there, slack * 256), None
    )


def _error(here: Array, there: Array, slack: float) -> float:
    """Return the largest difference over what rounding may do to that neuron; infinity where one side has NaN."""
    if here.shape != there.shape:
        return float("inf")
    scale = np.maximum(abs(here), abs(there)).max((0, 1), initial=0.0)
    off = np.where(here == there, 0.0, abs(here - there) / np.where(scale > 0.0, slack * scale, 1.0))
    return float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy().swapaxes(0, 1)


def _rank(row: Row) -> tuple[bool, int]:
    difference: Any = row.first
    return difference.miss <= difference.rounding, difference.step


def _memory(node: Any, dt: float) -> float:
    """Return how many errors of rounding a membrane holds: those of the sum of its inputs, and of as many steps.

    A membrane forgets within its time constant, and keeps all if it has none.
    """
    taus = [float(np.max(getattr(node, name))) for name in ("tau", "tau_mem", "tau_syn") if hasattr(node, name)]
    if isinstance(node, nir.IF | nir.I):
        return 2048.0
    return 256.0 + 2.0 * min(sum(taus) / dt, 1024.0)


def check_sample(owner: str, sample: Any) -> None:
    """Raise unless a sample is a batch of inputs, in a dtype in which rounding says something.

    Raises:
        NIRError: it is not.
    """
    if not (isinstance(sample, Tensor) and sample.ndim >= 2 and sample.is_floating_point() and sample.numel()):
        raise NIRError(f"{owner}: sample is no floating-point tensor (N, T, ...) with entries; pass a batch of inputs")
    if sample.dtype not in (torch.float32, torch.float64):
        raise NIRError(
            f"{owner}: the sample is {sample.dtype}, expected float32 or float64; convert it and the network"
        )
