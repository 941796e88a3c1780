"""Certificates: a network and an independent simulation of its graph, spike by spike."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.interop.nir import metadata
from spikingtorch.interop.nir.discretise import Discretisation
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.importing import from_nir, module_names, reading_of
from spikingtorch.interop.nir.plan import NEURONS, plan_of
from spikingtorch.interop.nir.reference import Trace, simulate
from spikingtorch.watching import recording

# into how many parts a step is divided for what is close to the continuous solution
REFINE = 32
_SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)

Array = npt.NDArray[np.float64]


class Difference(NamedTuple):
    """Where network and graph differ first.

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
    """One neuron node.

    Attributes:
        name: of the node.
        kind: its class.
        neurons: how many it has.
        spikes: how many the network has given out.
        different: entries of the spikes that differ.
        first: the first of them.
        error: largest difference of a node without spikes, relative to its largest value.
        continuous: spikes that the continuous solution has more or less, a neuron, over those of the network; for a
            node with spikes, driven by the inputs that it had here.
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
        """Whether all spikes are equal, and other outputs up to rounding."""
        return all(row.different == 0 for row in self.rows) and self._readouts_agree

    @property
    def within_rounding(self) -> bool:
        """Whether the first difference is one that rounding alone can have made."""
        first = self.first
        if first is None:
            return self._readouts_agree
        difference: Any = first.first
        return bool(difference.miss <= difference.rounding)

    @property
    def first(self) -> Row | None:
        """The row with the earliest difference of spikes, if there is one."""
        found = [row for row in self.rows if row.first is not None]
        return min(found, key=_step, default=None)

    @property
    def _readouts_agree(self) -> bool:
        # what comes behind a spike that differs differs too
        if any(row.different for row in self.rows):
            return True
        return all(row.error is None or row.error <= _slack(self.dtype, self.steps) for row in self.rows)

    def __str__(self) -> str:
        head = ("node", "kind", "neurons", "spikes", "different", "error", "continuous")
        body = [
            (
                row.name,
                row.kind,
                f"{row.neurons:,}",
                f"{row.spikes:,}" if row.error is None else "",
                f"{row.different:,}" if row.error is None else "",
                "" if row.error is None else f"{row.error:.1e}",
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
            return "spikes equal" if self._readouts_agree else "outputs differ by more than rounding"
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
    plan, said = plan_of(graph), metadata.unpacked(graph)
    if dt is None:
        if said is None:
            raise NIRError("verify_nir: the graph does not say how long a step is; pass dt=1e-4, for instance")
        dt = said.dt
    reading = reading_of(plan, said, dt, discretisation, surrogate, dtype)
    # the wider one of the two dtypes holds the numbers of both
    wide = torch.promote_types(sample.dtype, reading.dtype)
    model = from_nir(graph, dt, discretisation, surrogate=surrogate, dtype=wide, use_metadata=use_metadata)
    names = module_names(plan)
    paths = {name: names[name] for name, node in plan.nodes.items() if isinstance(node, (*NEURONS, nir.Delay))}
    return certified(model, graph, sample.to(wide), paths, dt, reading.discretisation)


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
        seen = recording.record(model, sample, "spikes")
    x = sample.detach().double().cpu().numpy().swapaxes(0, 1)
    trace = simulate(graph, x, dt=dt, discretisation=discretisation)
    fine = simulate(graph, x, dt=dt, discretisation="exact", refine=REFINE, feed=trace.inputs)
    nodes = plan_of(graph).nodes
    rows = [
        _row(name, nodes[name], seen[path]["spikes"].double().cpu().numpy().swapaxes(0, 1), trace, fine, sample.dtype)
        for name, path in paths.items()
        if path in seen
    ]
    N, T = sample.shape[:2]
    return Certificate(tuple(rows), N, T, dt, discretisation, sample.dtype)


def _row(name: str, node: Any, here: Array, trace: Trace, fine: Trace, dtype: torch.dtype) -> Row:
    there = trace.values[name]
    kind, neurons = type(node).__name__, int(np.prod(here.shape[2:]))
    if not isinstance(node, _SPIKING):
        scale = float(abs(there).max(initial=0.0)) or 1.0
        return Row(name, kind, neurons, 0, 0, None, float(abs(here - there).max(initial=0.0)) / scale, None)
    differs = here != there
    first = None
    if differs.any():
        at = tuple(int(each) for each in np.argwhere(differs)[0])
        threshold = node.threshold if isinstance(node, nir.Threshold) else node.v_threshold
        level = float(np.broadcast_to(threshold, here.shape[2:])[at[2:]])
        u = trace.membranes[name]
        scale = max(abs(level), float(abs(u[: at[0] + 1, at[1]]).max()))
        rounding = _slack(dtype, here.shape[0]) * scale
        first = Difference(at[1], at[0], at[2:], bool(here[at]), abs(float(u[at]) - level), rounding)
    apart = abs(fine.values[name].sum((0, 1)) - there.sum((0, 1))).sum()
    total = float(here.sum())
    continuous = float(apart) / total if total else float(apart > 0)
    return Row(name, kind, neurons, int(total), int(differs.sum()), first, None, continuous)


def _step(row: Row) -> int:
    difference: Any = row.first
    return int(difference.step)


def _slack(dtype: torch.dtype, steps: int) -> float:
    """Return how far rounding may move a membrane over some steps, relative to it: an error of half an ulp each."""
    return (64 + steps) * torch.finfo(dtype).eps
