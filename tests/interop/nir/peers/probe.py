"""Small graphs by which to find out how a reader understands NIR; made with the nir package alone.

    python -m tests.interop.nir.peers.probe make FOLDER --dt 1e-4       writes NAME.nir and NAME.npz
    python -m tests.interop.nir.peers.probe unpack FOLDER               or: the fixtures of all peers, as they are
    python -m tests.interop.nir.peers.read_by_snntorch FOLDER           in the reader's environment
    python -m tests.interop.nir.peers.probe judge FOLDER --dt 1e-4      what the reader has done with the graphs
    python -m tests.interop.nir.peers.probe compare FOLDER              or: whether it gives what the peers gave

What a reader gave is compared with ways to read a graph that depart from NIR in as few points as will do.
"""

import argparse
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import nir
import numpy as np

from tests.interop.nir.peers import fixture, semantics
from tests.interop.nir.peers.fixture import Array, numbers_in, spikes_in
from tests.interop.nir.peers.probes import probes

NEURONS = (nir.LIF, nir.IF, nir.LI, nir.CubaLIF)


class Reading(NamedTuple):
    """One way to run neurons of NIR step by step; the defaults are those of NIR, by Euler's method."""

    method: str = "euler"
    kept: str = "1 - dt / tau"
    gain: str = "r"
    w_in: str = "w_in"
    reset: str = "v_reset"
    fires: str = ">"
    leak: str = "v_leak"
    start: str = "starts at 0"
    floor: str = "no least v"


# "whole": the input, or the current, is added as it is, without dt / tau
CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("euler", "exact"),
    "kept": ("1 - dt / tau", "decay clamped at 0", "decay of 0.9"),
    "gain": ("r", "r ignored", "whole r", "whole, r ignored", "least gain of all neurons"),
    "w_in": ("w_in", "w_in ignored", "whole w_in", "whole current, w_in ignored"),
    "reset": ("v_reset", "v_reset ignored, 0", "v_reset ignored, subtracts v_threshold"),
    "fires": (">", "fires at the threshold", "fires at the threshold, several times at once"),
    "leak": ("v_leak", "v_leak ignored", "v_leak pulls the current too, which starts there"),
    "start": ("starts at 0", "starts at v_leak", "starts at v_reset"),
    "floor": ("no least v", "v is kept above -v_threshold"),
}
MOST_DEPARTURES = 4
# what makes no difference to a neuron
IDLE: dict[type, tuple[str, ...]] = {
    nir.LIF: ("w_in", "floor"),
    nir.CubaLIF: ("kept", "floor"),
    nir.IF: ("method", "w_in", "leak"),
    nir.LI: ("kept", "w_in", "reset", "fires", "floor"),
}


def step(node: Any, x: Array, state: Any, *, dt: float, how: Reading) -> tuple[Array, Any]:
    """Return the output of a neuron and its next state, in float64."""
    x = np.asarray(x, np.float64)
    i, v = state or _start(node, x, how)
    leak = 0.0 if how.leak == "v_leak ignored" else getattr(node, "v_leak", 0.0)
    given = x
    if isinstance(node, nir.CubaLIF):
        kept, rise = _kept_and_rise(dt, node.tau_syn, how.method)
        i = kept * i + _share(how.w_in, rise, node.w_in) * x
        i = i + (rise * node.v_leak if how.leak.startswith("v_leak pulls") else 0.0)
        given = i
    if isinstance(node, nir.IF):
        kept, rise, leak = np.ones(1), np.full(1, dt), 0.0
    else:
        kept, rise = _kept_and_rise(dt, node.tau_mem if isinstance(node, nir.CubaLIF) else node.tau, how.method)
    kept = {"decay of 0.9": np.full(1, 0.9), "decay clamped at 0": np.maximum(kept, 0)}.get(how.kept, kept)
    u = kept * v + _share(how.gain, rise, node.r) * given + rise * leak
    if isinstance(node, nir.LI):
        return u, (i, u)
    z, v = _fire(node, u, how)
    return z, (i, v)


def _start(node: Any, x: Array, how: Reading) -> tuple[Array, Array]:
    zeros = np.zeros_like(x)
    i = zeros + node.v_leak if how.leak.startswith("v_leak pulls") else zeros
    starts = {"starts at v_leak": "v_leak", "starts at v_reset": "v_reset"}
    return i, zeros + getattr(node, starts.get(how.start, ""), 0.0)


def _kept_and_rise(dt: float, tau: Array, method: str) -> tuple[Array, Array]:
    ratio = dt / np.asarray(tau, np.float64)
    return (1 - ratio, ratio) if method == "euler" else (np.exp(-ratio), -np.expm1(-ratio))


def _share(which: str, rise: Array, factor: Array) -> Any:
    """Return by what an input is multiplied: dt / tau times r or w_in, or less."""
    if which.startswith("least"):
        return np.min(rise * factor)
    return (1.0 if which.startswith("whole") else rise) * (1.0 if which.endswith("ignored") else factor)


def _fire(node: Any, u: Array, how: Reading) -> tuple[Array, Array]:
    threshold = np.asarray(node.v_threshold, np.float64)
    if how.fires.endswith("at once"):
        z = np.maximum(np.trunc(u / threshold), 0)
    else:
        z = (u > threshold if how.fires == ">" else u >= threshold).astype(np.float64)
    if how.reset.endswith("subtracts v_threshold"):
        v = u - z * threshold
    else:
        v = np.where(z > 0, node.v_reset if how.reset == "v_reset" else 0.0, u)
    return z, np.maximum(v, -threshold) if how.floor.startswith("v is") else v


def run(graph: Any, x: Array, dt: float, how: Reading) -> Array:
    """Return what comes out of a graph, read in one way."""
    neurons = {name: partial(step, dt=dt, how=how) for name, node in graph.nodes.items() if isinstance(node, NEURONS)}
    return semantics.run(graph, x, neurons, getattr(graph, "late", None))["output"]


def make(folder: Path, dt: float) -> None:
    """Write all graphs, with weights by which each layer fires in about a fifth of its steps."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make_graph in probes(dt).items():
        graph = make_graph()
        shape = tuple(graph.nodes["input"].input_type["input"])
        noise = 0.0 if len(shape) == 3 or name.endswith("ties") else numbers_in(0, shape)
        x = (spikes_in(2, shape) + noise).astype(np.float32)
        if not name.endswith("ties"):
            _balance(graph, x, dt)
        nir.write(folder / f"{name}.nir", graph)
        np.savez_compressed(folder / f"{name}.npz", x=x, dt=dt)


def _balance(graph: Any, x: Array, dt: float) -> None:
    """Scale the weights before each neuron that fires, one layer after the other."""
    weights = [
        node for name, node in graph.nodes.items() if isinstance(node, nir.Affine | nir.Linear) and not in_cycle(name)
    ]
    spiking = [name for name, node in graph.nodes.items() if isinstance(node, NEURONS) and not isinstance(node, nir.LI)]
    neurons = {
        name: partial(step, dt=dt, how=Reading()) for name, node in graph.nodes.items() if isinstance(node, NEURONS)
    }
    for node, neuron in zip(weights, spiking, strict=False):
        drawn, misses = node.weight, {}
        for scale in 2.0 ** np.arange(-8, 16, 0.25):
            node.weight = (drawn * scale).astype(np.float32)
            misses[scale] = abs((semantics.run(graph, x, neurons)[neuron] > 0).mean() - 0.2)
        node.weight = (drawn * min(misses, key=lambda scale: misses[scale])).astype(np.float32)


def unpack(folder: Path) -> None:
    """Write the fixtures of all peers for readers of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in fixture.names("*"):
        fixture.unpack(name, folder)
        np.savez_compressed(folder / f"{name}.npz", x=fixture.load(name).x)


# ---- what a reader has done


def readings(graph: Any) -> Iterator[tuple[list[str], Reading]]:
    """Yield ways to read a graph, those with the fewest departures from NIR first, and what each departs in."""
    kinds = {type(node) for node in graph.nodes.values()} & set(IDLE)
    choices = {
        key: values[:1] if kinds and all(key in IDLE[kind] for kind in kinds) else values
        for key, values in CHOICES.items()
    }
    found = []
    for values in itertools.product(*choices.values()):
        how = Reading(*values)
        own = [value for key, value in how._asdict().items() if key != "method" and value != CHOICES[key][0]]
        if len(own) <= MOST_DEPARTURES and not (how.kept == "decay of 0.9" and nir.IF not in kinds):
            found.append((own, how))
    yield from sorted(found, key=lambda each: len(each[0]))


def wirings(graph: Any) -> Iterator[tuple[list[str], Any]]:
    """Yield a graph as it is, then as readers wire it who leave out a node, or go round a cycle in their own way."""
    yield [], graph
    for name, node in graph.nodes.items():
        if isinstance(node, (*NEURONS, nir.Linear, nir.AvgPool2d, nir.SumPool2d)) and not in_cycle(name):
            (before,) = [a for a, b in graph.edges if b == name]
            (after,) = [b for a, b in graph.edges if a == name]
            edges = [edge for edge in graph.edges if name not in edge] + [(before, after)]
            nodes = {other: each for other, each in graph.nodes.items() if other != name}
            yield [f"{type(node).__name__} is left out"], SimpleNamespace(nodes=nodes, edges=edges)
    back = "rec.w_rec"
    if back in graph.nodes:
        late = {(back, "rec.lif")}
        yield ["w_rec waits, and not the spikes"], SimpleNamespace(nodes=graph.nodes, edges=graph.edges, late=late)
        nodes = {name: node for name, node in graph.nodes.items() if name != back}
        yield ["the cycle is cut"], SimpleNamespace(nodes=nodes, edges=[e for e in graph.edges if back not in e])
        ends = [edge for edge in graph.edges if edge[1] != "output"] + [(back, "output")]
        yield ["the output is that of w_rec"], SimpleNamespace(nodes=graph.nodes, edges=ends, late=late)


def in_cycle(name: str) -> bool:
    return name.startswith("rec.")


def judge_one(graph: Any, x: Array, out: Array, dt: float) -> str:
    """Return the ways to read a graph that give what came out, of those with the fewest departures."""
    found: dict[tuple[str, ...], list[str]] = {}
    for wired, each in wirings(graph):
        for own, how in readings(each):
            if found and len(wired) + len(own) > len(next(iter(found))):
                break
            got = _tried(each, x, dt, how)
            if got is not None and got.shape == out.shape and np.allclose(got, out, rtol=1e-4, atol=1e-4):
                found.setdefault((*wired, *own), []).append(how.method)
    if not found:
        return f"none of the ways tried gives this; shape {out.shape}, nonzero in {(out != 0).mean():.0%}"
    fewest = min(map(len, found))
    ways = [
        f"{' and '.join(methods)}: {', '.join(own) or 'as NIR'}" for own, methods in found.items() if len(own) == fewest
    ]
    return "; or ".join(ways[:3]) + (f" (and {len(ways) - 3} other ways)" if len(ways) > 3 else "")


def _tried(graph: Any, x: Array, dt: float, how: Reading) -> Array | None:
    try:
        return run(graph, x, dt, how)
    except ValueError:  # shapes do not fit without the node that was left out
        return None


def answers(folder: Path) -> Iterator[tuple[str, str, dict[str, Array]]]:
    """Yield reader, name of a graph, and what the reader wrote."""
    for path in sorted(folder.glob("*.*.npz")):
        name, reader = path.stem.split(".")
        with np.load(path) as file:
            yield reader, name, {key: file[key] for key in file.files}


def _x(folder: Path, name: str) -> Array:
    with np.load(folder / f"{name}.npz") as file:
        return np.asarray(file["x"])


def judge(folder: Path, dt: float, only: str) -> None:
    """Print what each reader has done with each graph that ``make`` wrote, or those whose names begin with ``only``."""
    for reader, name, found in answers(folder):
        if not name.startswith(only):
            continue
        if "error" in found:
            said = f"refused: {str(found['error']).splitlines()[0]}"
        else:
            said = judge_one(nir.read(folder / f"{name}.nir"), _x(folder, name), found["out"], dt)
            said += "" if found["batched"] else "; only without a batch axis"
        print(f"{reader:>12} {name:<22} {said}", flush=True)


def compare(folder: Path) -> None:
    """Print in which share of its outputs each reader gives what the peer gave that wrote the file."""
    for reader, name, found in answers(folder):
        if "error" in found:
            said = f"refused: {str(found['error']).splitlines()[0]}"
        else:
            want, out = fixture.load(name).out, found["out"]
            same = out.shape == want.shape and np.isclose(out, want, rtol=1e-4, atol=1e-4)
            said = "all equal" if np.all(same) else f"{np.mean(same):.0%} equal, nonzero in {(out != 0).mean():.0%}"
            said += "" if found["batched"] else "; only without a batch axis"
        print(f"{reader:>12} {name:<26} {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make graphs that tell how a reader understands NIR, and judge it.")
    parser.add_argument("what", choices=["make", "unpack", "judge", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dt", type=float, default=1e-4, help="length of a step for which the graphs are made")
    parser.add_argument("--only", default="", help="judge graphs whose names begin with this")
    args = parser.parse_args()
    todo = {
        "make": lambda: make(args.folder, args.dt),
        "judge": lambda: judge(args.folder, args.dt, args.only),
        "unpack": lambda: unpack(args.folder),
        "compare": lambda: compare(args.folder),
    }
    todo[args.what]()


if __name__ == "__main__":
    main()
