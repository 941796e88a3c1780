"""Peak memory of one training step on a long sequence, above that of a short one, in four ways: a process for each.

.venv/bin/python -m benchmarks.long_sequences
"""

import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spikingtorch import LIF, SpikingNet, run

T, K, N = 20_000, 500, 8


def network() -> SpikingNet:
    """Return three layers of spiking neurons."""
    sizes = (16, 128, 128, 4)
    layers = [(nn.Linear(one, other), LIF(tau=8.0, threshold=0.3)) for one, other in pairwise(sizes)]
    return SpikingNet(nn.Sequential(*[module for pair in layers for module in pair]))


def in_parts(model: SpikingNet, x: Tensor) -> Tensor:
    """Return the sum over time, with a checkpoint for each part."""

    def part_of(state: dict[str, Tensor] | None, part: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        state, _, out = run(model, state, part)
        return state, out.sum(1)

    state, total = None, x.new_zeros(())
    for part in x.split(K, 1):
        state, counts = checkpoint(part_of, state, part, use_reentrant=False)
        total = total + counts
    return total


def in_chunks(model: SpikingNet, x: Tensor) -> Tensor:
    """Return the sum over time of a network that runs in chunks."""
    model.time_chunk = K
    return torch.as_tensor(model(x).sum(1))


WAYS: dict[str, Callable[[SpikingNet, Tensor], Tensor]] = {
    "one call": lambda model, x: model(x).sum(1),
    "time_chunk": in_chunks,
    "run and checkpoint of each part": in_parts,
    "checkpoint of the whole call": lambda model, x: checkpoint(lambda x: model(x).sum(1), x, use_reentrant=False),
}


def peak() -> float:
    """Return the most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(way: str) -> None:
    """Train one step, and print the memory that it took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = network(), (torch.rand(N, T, 16) < 0.3).float()
    WAYS[way](model, x[:, : 3 * K]).square().mean().backward()  # kernels are compiled, and modules imported
    before = peak()
    model.zero_grad()
    WAYS[way](model, x).square().mean().backward()
    norm = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]).norm()
    print(f"{way:32} {peak() - before:5.0f} MB   norm of the gradient {norm:.6e}")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(sys.argv[1])
    else:
        for each in WAYS:
            subprocess.run([sys.executable, "-m", "benchmarks.long_sequences", each], check=True)
