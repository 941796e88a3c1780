"""Speed and memory on a GPU, beside the libraries that are installed: what ``make bench-gpu`` runs.

Everything is on one card in one process, and calls take turns. Times are medians, in brackets the fastest, measured by
events of the device; JAX, whose work is on streams of its own, is measured by the clock of the host until it is ready.
SpikingJelly takes the kernels that it finds best, Triton's on most cards; SJ_LIF_CUDA_IMPLEMENTATION names others.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks import ours
from benchmarks.card import Row, Timed, bandwidth, measured, shown
from benchmarks.networks import network_subject
from benchmarks.neurons import scanned
from benchmarks.report import number, table
from benchmarks.subject import Implementation, torch_subject
from benchmarks.suite import BOTH, DECAY, OURS, Case, Size, draw
from spikingtorch.functional import LIFState, lif_step

RESULTS = Path(__file__).parent / "results"
ROUNDS = 15
# steps that torch.compile unrolls, and takes minutes for
MOST_UNROLLED = 64
# what LIF has to read and write, forward and backward: x twice, the spikes, the gradients of both
STREAMS = 5
NEEDS = (
    "make bench-gpu needs a GPU, and torch finds none: torch.cuda.is_available() is False. It takes an NVIDIA card "
    "with a build of torch for CUDA, or an AMD card with one for ROCm, and Triton"
)


class Plan(NamedTuple):
    """What is measured: sizes of LIF alone in each dtype, of Linear + LIF, and of the deep network."""

    wide: Size
    long: Sequence[Size]
    deep: Size


FULL = Plan(Size(32, 64, 65536), [Size(500, 16, N) for N in (512, 1024, 2048, 4096, 8192, 16384)], Size(16, 32, 3072))
QUICK = Plan(Size(32, 2, 64), [Size(20, 2, 16)], Size(2, 1, 192))


def lif(backend: Any) -> Implementation:
    """Return LIF through ``scan``."""
    return Implementation(scanned(lif_step, LIFState, {"decay": DECAY}, backend))


def peer(name: str) -> Any:
    """Return the file of a library."""
    return importlib.import_module(f"benchmarks.peers.{name}")


def neuron(name: str) -> Implementation:
    """Return LIF of a library."""
    found: Implementation = peer(name).LIBRARY.neurons[name](DECAY)
    return found


def compiled(made: Implementation) -> Implementation:
    """Return an implementation by torch.compile."""
    torch._dynamo.reset()
    return made._replace(run=torch.compile(made.run))


JAX, PEERS = "jax.lax.scan", ("spikingjelly", "snntorch", "norse")
NEURONS: Mapping[str, Callable[[], Implementation]] = {
    OURS: lambda: lif("fused"),
    f"{OURS}, loop": lambda: lif("loop"),
    **{name: partial(neuron, name) for name in PEERS},
    "norse, compile": lambda: compiled(neuron("norse")),
}


def of_neuron(name: str, size: Size, dtype: torch.dtype, device: torch.device) -> Timed:
    """Return LIF with its input, forward and backward."""
    if name.endswith("compile") and size.T > MOST_UNROLLED:
        raise ValueError(f"would unroll {size.T} steps")
    if name == JAX:
        if dtype != torch.float32:
            raise ValueError("in float32 alone")
        if device.type != "cpu" and importlib.import_module("jax").default_backend() == "cpu":
            raise ImportError("jax without a GPU")
        return Timed(peer("jax").subject(Case(JAX, "lif", size), "").calls[BOTH], waits=True)
    x = torch.from_numpy(draw(size)).to(device, dtype)
    with device:
        made = NEURONS[name]()
        found = torch_subject(made, [x])
        with torch.no_grad():
            differ = (made.run(x / made.gain).float() - lif("loop").run(x).float()).abs().mean().item()
    # rounding moves a spike in so many
    if differ > (1e-4 if dtype == torch.float32 else 1e-2):
        raise ValueError(f"{differ:.2%} of the spikes differ")
    return Timed(found.calls[BOTH])


def of_network(model: str, name: str, size: Size, device: torch.device) -> Timed:
    """Return a network with spikes for its input: forward, and backward to all weights."""
    build = ours.network({}) if name == OURS else peer(name).LIBRARY.networks[name]
    with device:
        return Timed(network_subject(Case(name, model, size), build).calls[BOTH])


def first_calls(device: torch.device) -> str:
    """Return a table of the first call in a new process, with nothing compiled and with all."""
    code = (
        "import time, torch; from benchmarks import gpu; from benchmarks.suite import Size; "
        f"torch.zeros(1, device={str(device)!r}); start = time.perf_counter(); "
        f"gpu.of_neuron({OURS!r}, Size(8, 4, 256), torch.float32, torch.device({str(device)!r})).call(); "
        f"torch.cuda.is_available() and torch.cuda.synchronize(); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        variables = os.environ | {"TRITON_CACHE_DIR": folder, "SPIKINGTORCH_CACHE_DIR": folder}
        run = partial(subprocess.run, [sys.executable, "-c", code], env=variables, capture_output=True, text=True)
        lines = [[name, number(float(run(check=True).stdout.split()[-1]))] for name in ("nothing compiled", "compiled")]
    return table("First call of LIF, forward and backward, in a new process", ["", "seconds"], lines)


def figure(rows: Mapping[Size, Mapping[str, Row]], path: Path) -> None:
    """Draw the time of LIF against the number of neurons, if matplotlib is there."""
    try:
        plt = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return
    axes = plt.figure().gca()
    for name in next(iter(rows.values())):
        points = [(size.N, 1e3 * median(each[name].seconds)) for size, each in rows.items() if each[name].seconds]
        if points:
            axes.loglog(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="neurons", ylabel="milliseconds, forward and backward", title="LIF, T = 500, B = 16")
    axes.legend()
    axes.figure.savefig(path, dpi=150)


def report(plan: Plan, device: torch.device, rounds: int, folder: Path) -> str:
    """Measure all, draw the figure, and return the page."""
    card = torch.cuda.get_device_name() if device.type != "cpu" else "the CPU, to try the code"
    parts = [f"# On a GPU\n\n{card}, torch {torch.__version__}. `make bench-gpu`.\n", first_calls(device)]
    peak = bandwidth(plan.wide, device, rounds)
    for dtype in (torch.float32, torch.float16):
        makers = {name: partial(of_neuron, name, plan.wide, dtype, device) for name in (*NEURONS, JAX)}
        moved = STREAMS * dtype.itemsize * torch.Size(plan.wide).numel()
        title = f"LIF, {_text(plan.wide)}, {str(dtype).removeprefix('torch.')}"
        parts.append(shown(title, measured(makers, device, rounds), moved, peak))
    alone: dict[Size, Mapping[str, Row]] = {}
    for size in plan.long:
        makers = {name: partial(of_neuron, name, size, torch.float32, device) for name in (*NEURONS, JAX)}
        alone[size] = measured(makers, device, rounds)
        parts.append(shown(f"LIF, {_text(size)}", alone[size]))
    for model, size in [*(("linear", size) for size in plan.long), ("deep", plan.deep)]:
        nets = {name: partial(of_network, model, name, size, device) for name in (OURS, *PEERS)}
        parts.append(shown(f"{model} network, {_text(size)}", measured(nets, device, rounds)))
    figure(alone, folder / "gpu.png")
    return "\n".join(parts)


def _text(size: Size) -> str:
    return f"T = {size.T}, B = {size.B}, N = {size.N}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the figure; return 2 where there is no card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the code")
    parser.add_argument("--device", default="cuda", help="cpu tries the code, and measures nothing that counts")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the page and the figure")
    chosen = parser.parse_args(arguments)
    if chosen.device != "cpu" and not torch.cuda.is_available():
        print(NEEDS, file=sys.stderr)
        return 2
    # JAX would take most of the card's memory for itself
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    chosen.output.mkdir(parents=True, exist_ok=True)
    plan, rounds = (QUICK, 2) if chosen.quick else (FULL, ROUNDS)
    page = report(plan, torch.device(chosen.device), rounds, chosen.output)
    (chosen.output / "gpu.md").write_text(page)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
