"""What the scripts that read by a peer share: arguments, the loop over steps, and the file that they write."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.interop.nir.peers.fixture import Array

Step = Callable[[Array], Array]
# from the path of a graph, the number of samples N and dt, to a function that makes a step, (N, ...) to (N, ...)
Start = Callable[[Path, int, float], Step]


def main(peer: str, start: Start, dt: float) -> None:
    """Read a graph, or each of a folder, run it on x of its NPZ file step by step, and write what came out.

    Args:
        peer: its name.
        start: reads a graph; the network that it returns is in its initial state.
        dt: what the peer takes by itself.
    """
    parser = argparse.ArgumentParser(description=f"Read NIR files by {peer}, and run them.")
    parser.add_argument("graph", type=Path, help="FILE.nir, or a folder, of which each X.nir and X.npz is read")
    parser.add_argument("input", type=Path, nargs="?", help="FILE.npz with x, shape (T, N, ...)")
    parser.add_argument("out", type=Path, nargs="?", help="file to write: out, or error if the peer refused")
    parser.add_argument("--dt", type=float, default=dt, help=f"length of a step, {dt} unless given")
    args = parser.parse_args()
    if not args.graph.is_dir():
        read(start, args.graph, args.input, args.out, args.dt)
        return
    for graph in sorted(args.graph.glob("*.nir")):
        read(start, graph, graph.with_suffix(".npz"), graph.with_name(f"{graph.stem}.{peer}.npz"), args.dt)


def read(start: Start, graph: Path, x: Path, out: Path, dt: float) -> None:
    """Write out and whether the samples went through together, as a batch; or what the peer said."""
    with np.load(x) as file:
        xs = file["x"]
    try:
        found = run(start, graph, xs, dt)
    except Exception as error:  # of any kind: that it fails is what there is to find out
        text = f"{type(error).__name__}: {error}"
        try:
            found = alone(start, graph, xs, dt)
        except Exception:
            np.savez_compressed(out, error=text)
            print(f"{graph.stem}: {text.splitlines()[0]}")
            return
        np.savez_compressed(out, out=found, batched=False)
    else:
        np.savez_compressed(out, out=found, batched=True)
    print(f"{graph.stem}: shape {found.shape}, nonzero in {(found != 0).mean():.0%}")


def start_of(peer: str) -> Start:
    """Return how a peer reads a graph; it has to be installed."""
    start: Start = importlib.import_module(f"tests.interop.nir.peers.read_by_{peer}").start
    return start


def step_of(net: Any) -> Step:
    """Return the step of a network that takes its state, and gives it back."""
    state: Any = None

    def step(x: Array) -> Array:
        nonlocal state
        with torch.no_grad():
            out, state = net(torch.from_numpy(x), state)
        return (out[0] if isinstance(out, tuple) else out).numpy()  # type: ignore[no-any-return]

    return step


def run(start: Start, graph: Path, xs: Array, dt: float) -> Array:
    """Return the outputs of a network over time, shape (T, N, ...)."""
    step = start(graph, xs.shape[1], dt)
    return np.stack([step(x) for x in xs])


def alone(start: Start, graph: Path, xs: Array, dt: float) -> Array:
    """Return the same for one sample after the other, each without a batch axis."""
    return np.stack([run(start, graph, xs[:, n], dt) for n in range(xs.shape[1])], axis=1)
