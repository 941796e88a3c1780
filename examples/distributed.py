"""One script for one process, for the cores or GPUs of a machine, and for many machines.

    .venv/bin/python -m examples.distributed
    .venv/bin/torchrun --standalone --nproc-per-node 2 -m examples.distributed --fsdp
    .venv/bin/torchrun --standalone --nproc-per-node 2 --max-restarts 3 -m examples.distributed

First the processes check, in float64, that the gradient of a batch that they share is that of one process which has all
of it, to 1e-12. Then they train for an epoch, which reaches 92 % of the test digits. Every batch has 32 digits, cut
among the processes, so that the number of processes changes the losses by rounding alone.

Every 20 batches, a checkpoint is written into ``--out``, and a run goes on from the newest one there: after torchrun
has started processes anew because one was killed, or in another run, on another number of processes.
"""

import argparse
import copy
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from tqdm import tqdm

from examples import data
from examples.processes import peak_memory, together
from examples.training import accuracy, positive
from spikingtorch import LI, LIF, SpikingNet, losses
from spikingtorch.checkpoints import Checkpoints
from spikingtorch.functional import Arctan
from spikingtorch.spikeio import ConstantEncoder, RateDecoder

BATCH = 32  # digits of all processes
encoder = ConstantEncoder(8)


def network() -> SpikingNet:
    """Return the network, images (N, T, 1, 28, 28) to membranes (N, T, 10)."""
    hidden = LIF(tau=torch.full((256,), 4.0), threshold=0.5, surrogate=Arctan(), learnable="tau")
    return SpikingNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 256), hidden, nn.Linear(256, 10), LI(tau=8.0)))


def shared(model: SpikingNet, device: torch.device, fsdp: bool) -> nn.Module:
    """Return the network with copies of its weights, or shards of them, on all processes."""
    if not fsdp:
        return DistributedDataParallel(model)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)  # what no layer has taken
    return model


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the loss by all parameters, one after the other."""
    losses.rate_cross_entropy(model(encoder(images)), labels).backward()
    grads: list[Any] = [each.grad for each in model.parameters()]
    return torch.cat([(each.full_tensor() if hasattr(each, "full_tensor") else each).flatten() for each in grads])


def check(model: SpikingNet, device: torch.device, fsdp: bool) -> float:
    """Return how far the gradient of all processes is from that of one, relative to its norm."""
    digits, _ = data.load("digits")
    images, labels = (each.to(device) for each in digits[: BATCH * 2])
    model, images = copy.deepcopy(model).double(), images.double()
    whole = gradient(copy.deepcopy(model), images, labels)
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    error: float = (
        (gradient(shared(model, device, fsdp), images[mine], labels[mine]) - whole).norm() / whole.norm()
    ).item()
    return error


def train(model: nn.Module, device: torch.device, options: argparse.Namespace) -> tuple[int, float]:
    """Train from the newest checkpoint on, and return the number of batches and of seconds."""
    digits, _ = data.load("digits")
    rank, mine, batches = dist.get_rank(), BATCH // dist.get_world_size(), len(digits) // BATCH
    sampler: DistributedSampler[Any] = DistributedSampler(digits, drop_last=True)
    last = min(options.batches or batches * options.epochs, batches * options.epochs)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches * options.epochs)
    checkpoints = Checkpoints(options.out, model, optimizer, timeout=options.timeout, scheduler=scheduler)
    start = step = checkpoints.resume()
    begin = time.perf_counter()
    label, hidden = "training", True if rank else None
    with checkpoints, tqdm(total=last, initial=step, desc=label, unit="batch", leave=False, disable=hidden) as bar:
        while step < last:
            epoch, done = divmod(step, batches)
            sampler.set_epoch(epoch)
            left = [*sampler][done * mine : (done + last - step) * mine]
            # with a generator of its own, because a loader that starts anew draws a number
            loader = DataLoader(digits, mine, sampler=left, drop_last=True, generator=torch.Generator())
            for images, labels in loader:
                loss = losses.rate_cross_entropy(model(encoder(images.to(device))), labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                step += 1
                bar.update()
                if step % options.every == 0 or step == last:
                    checkpoints.save(step)
    return step - start, time.perf_counter() - begin


def report(model: nn.Module, device: torch.device, batches: int, seconds: float, out: Path) -> None:
    """Let the first process write the weights to a file, and say what is reached."""
    peak = peak_memory(device)
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if dist.get_rank() == 0:
        plain = network()
        plain.load_state_dict(weights)
        torch.save(weights, out / "weights.pt")
        _, tested = data.load("digits")
        print(f"test accuracy {accuracy(nn.Sequential(encoder, plain, RateDecoder()), tested):6.1%}")
        speed = f"{batches * BATCH / seconds:,.0f} sequences a second, " if batches else "no batch was left, "
        print(f"{batches} batches: {speed}at most {peak / 2**20:,.0f} MiB a process")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--ddp", action="store_true", help="copy the weights to every process (default)")
    kind.add_argument("--fsdp", action="store_true", help="shard the weights of each layer among the processes")
    parser.add_argument("--epochs", type=positive, default=1)
    parser.add_argument("--batches", type=positive, help="stop after so many batches of 32 (default: all)")
    parser.add_argument("--every", type=positive, default=20, help="batches between two checkpoints")
    parser.add_argument("--out", type=Path, default=Path("runs/distributed"), help="folder of the checkpoints")
    parser.add_argument("--timeout", type=positive, default=600, help="seconds that a process waits for another")
    return parser.parse_args(arguments)


def main() -> None:
    """Check the gradient, train, and let the first process say what is reached."""
    options = parse()
    with together(timedelta(seconds=options.timeout)) as device:
        size = dist.get_world_size()
        if BATCH % size:
            raise SystemExit(f"{size} processes cannot share {BATCH} digits equally: start 1, 2, 4, 8, 16 or 32")
        torch.manual_seed(0)
        model = network().to(device)
        error = check(model, device, options.fsdp)
        if error > 1e-12:
            raise SystemExit(f"the gradient of {size} processes differs from that of one by {error:.1e}")
        if dist.get_rank() == 0:
            print(f"gradient of {size} processes: that of one, to {error:.1e}", flush=True)
        together_model = shared(model, device, options.fsdp)
        batches, seconds = train(together_model, device, options)
        report(together_model, device, batches, seconds, options.out)


if __name__ == "__main__":
    main()
