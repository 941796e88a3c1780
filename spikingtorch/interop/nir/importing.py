"""from_nir: import a graph of NIR as a SpikingNet."""

from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from spikingtorch import functional as F
from spikingtorch.interop.nir import metadata
from spikingtorch.interop.nir.builder import Builder
from spikingtorch.interop.nir.dialects import Dialect, dialect_of
from spikingtorch.interop.nir.discretise import Discretisation, check_time
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.from_nodes import WEIGHTED, Reading, weights_of
from spikingtorch.interop.nir.metadata import Metadata
from spikingtorch.interop.nir.plan import Plan, plan_of
from spikingtorch.interop.nir.targets import target_of
from spikingtorch.spikingnet import SpikingNet


def from_nir(
    graph: nir.NIRGraph | str | Path,
    dt: float | None = None,
    discretisation: Discretisation | None = None,
    *,
    surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
    dtype: torch.dtype | None = None,
    use_metadata: bool = True,
    dialect: str | Dialect = "nir",
) -> SpikingNet:
    """Return the network of a graph.

    NIR's neurons are differential equations. A step of the network is a time of dt, during which the input is constant.
    Neurons start at zero, and fire above their threshold but not at it. In a cycle, the edge back towards the input
    takes a step (see ``plan_of``). A neuron with weights back to itself becomes a recurrent layer. A network with
    another cycle runs step by step.

    Args:
        graph: a graph from ``nir.read``, or the path of a file.
        dt: length of a step, in seconds. NIR does not store it, but a graph of this library does, in its metadata. With
            another dt or discretisation, its equations are discretised anew. An input then lasts as long as the new
            step. A graph that was written for the reader of a library is read in the steps of this reader only.
        discretisation: the method. "exact" takes the solution at the end of each step. "exponential" solves a neuron's
            current and membrane one after the other. "euler" does as most simulators do. By default it is taken from
            the metadata, or "exact" without them.
        surrogate: spike function for the training of neurons, if the metadata name none.
        dtype: of the network; by default the widest dtype of the graph's weights, or torch's default without weights.
        use_metadata: whether to use the metadata of a graph of this library.
        dialect: "nir", or the writer of the graph, if its neurons must equal the writer's and not NIR's. "snntorch",
            "norse", "sinabs" and "spikingjelly" take the defaults of their layers. One of ``dialects`` adds what the
            file does not store, such as ``dialects.SnnTorch(reset="zero")``. dt is then the writer's.

    Returns:
        The network; its modules have the names of the nodes.

    Raises:
        NIRError: a node is unknown, or its numbers are not valid or do not fit together. The file is damaged, or the
            metadata contradict the nodes. dt is not known, or the graph was written for a reader with other steps.

    >>> import numpy as np
    >>> numbers = {"r": np.ones(1), "v_threshold": np.ones(1), "v_reset": np.zeros(1)}
    >>> neuron = nir.LIF(tau=np.array([1e-3]), v_leak=np.zeros(1), **numbers)
    >>> model = from_nir(nir.NIRGraph.from_list(neuron), dt=1e-4)
    >>> model(torch.full((1, 12, 1), 1.5)).flatten().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    graph = read(graph) if isinstance(graph, str | Path) else graph
    plan, written = plan_of(graph), metadata.unpacked(graph) if use_metadata or dt is None else None
    dt, said = step_length("from_nir", dt, written), written if use_metadata else None
    if said is not None and (dt != said.dt or discretisation not in (None, said.discretisation)):
        said = _in_other_steps(said, dt, discretisation)
    reading, spoken = reading_of(plan, said, dt, discretisation, surrogate, dtype), dialect_of(dialect)
    if spoken is not None and (discretisation is not None or surrogate != F.Sigmoid(beta=5.0)):
        raise NIRError(
            "from_nir: with a dialect, the layers have a discretisation and a surrogate of their own; leave both out"
        )
    return Builder(plan, reading, said, spoken).network()


def step_length(owner: str, dt: float | None, said: Metadata | None) -> float:
    """Return the length of a step, by the caller or by the metadata; raise NIRError if neither says it."""
    if dt is not None:
        return dt
    if said is None:
        raise NIRError(f"{owner}: the graph does not say how long a step is; pass dt=1e-4, for instance")
    return said.dt


def _in_other_steps(said: Metadata, dt: float, discretisation: Discretisation | None) -> Metadata:
    """Return metadata for another dt or discretisation; raise NIRError if the graph is for a reader with its own."""
    target = target_of("from_nir", said.target)
    if target is None:
        return said._replace(nodes={})
    asked = f"dt={dt!r}" if discretisation is None else f"dt={dt!r}, discretisation={discretisation!r}"
    # the time constants for a reader that counts are numbers of steps, whose equations have no other step
    anew = "" if target.counts else ", or pass use_metadata=False to discretise its equations anew"
    raise NIRError(
        f"from_nir: {asked} came, but the graph was written for {target.reader}, in steps of {said.dt:g} s by "
        f"{said.discretisation!r}; leave both out{anew}"
    )


def reading_of(
    plan: Plan,
    said: Metadata | None,
    dt: float,
    discretisation: Discretisation | None,
    surrogate: F.Surrogate,
    dtype: torch.dtype | None,
) -> Reading:
    """Return how to read the nodes of a graph: by the caller, by the metadata, or by default; or raise NIRError."""
    way: Any = discretisation or ("exact" if said is None else said.discretisation)
    check_time("from_nir", dt, way)
    target = None if said is None else target_of("from_nir", said.target)
    at_threshold = target is not None and target.at_threshold
    return Reading(dt, way, dtype or (_dtype_of(plan) if said is None else said.dtype), surrogate, at_threshold)


def _dtype_of(plan: Plan) -> torch.dtype:
    """Return the widest dtype of the weights."""
    found = [weights_of(node).dtype for node in plan.nodes.values() if isinstance(node, WEIGHTED)]
    kinds = [dtype for dtype in found if dtype.kind == "f" and dtype.itemsize >= 4]
    if not kinds:
        return torch.get_default_dtype()
    return torch.float64 if np.result_type(*kinds).itemsize > 4 else torch.float32
