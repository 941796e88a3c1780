"""Several processes train one network: ``DistributedDataParallel`` wraps a ``SpikingNet`` as it does any module.

    .venv/bin/torchrun --standalone --nproc-per-node 2 -m examples.distributed

Each process reads its own share of the digits; the gradients are averaged before each step of the optimizer. First the
processes check, in float64, that the gradient of a batch that they share is that of one process which has all of it, to
1e-12. Then they train for an epoch, which reaches 92 % of the test digits.
"""

import argparse
import copy
import itertools

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from tqdm import tqdm

from examples import data
from examples.training import accuracy, positive
from spikingtorch import LI, LIF, SpikingNet, losses
from spikingtorch.functional import Arctan
from spikingtorch.spikeio import ConstantEncoder, RateDecoder

encoder = ConstantEncoder(8)


def network() -> SpikingNet:
    """Return the network, images (N, T, 1, 28, 28) to membranes (N, T, 10)."""
    hidden = LIF(tau=torch.full((256,), 4.0), threshold=0.5, surrogate=Arctan(), learnable="tau")
    return SpikingNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 256), hidden, nn.Linear(256, 10), LI(tau=8.0)))


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the loss by all parameters, one after the other."""
    model.zero_grad()
    losses.rate_cross_entropy(model(encoder(images)), labels).backward()
    return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


def check(model: SpikingNet, images: Tensor, labels: Tensor) -> float:
    """Return how far the gradient of all processes is from that of one, relative to its norm."""
    model, images = copy.deepcopy(model).double(), images.double()
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    whole = gradient(model, images, labels)
    shared = gradient(DistributedDataParallel(model), images[mine], labels[mine])
    error: float = ((shared - whole).norm() / whole.norm()).item()
    return error


def train(model: SpikingNet, batches: int | None) -> None:
    """Train for an epoch on the share of this process, under a progress bar in the first one."""
    digits, _ = data.load("digits")
    loader = DataLoader(digits, batch_size=32, sampler=DistributedSampler(digits))
    together = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(together.parameters(), lr=0.005)
    bar = tqdm(
        itertools.islice(loader, batches),
        "training",
        len(loader),
        leave=False,
        disable=True if dist.get_rank() else None,
    )
    for images, labels in bar:
        loss = losses.rate_cross_entropy(together(encoder(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    """Check the gradient, train, and let the first process say what is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=positive, help="stop after so many batches of 32 (default: all)")
    options = parser.parse_args()
    if not dist.is_torchelastic_launched():
        raise SystemExit("start it with .venv/bin/torchrun --standalone --nproc-per-node 2 -m examples.distributed")
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = network()
    digits, tested = data.load("digits")
    images, labels = digits[: 32 * dist.get_world_size()]
    error = check(model, images, labels)
    if error > 1e-12:
        raise SystemExit(f"the gradient of {dist.get_world_size()} processes differs from that of one by {error:.1e}")
    train(model, options.batches)
    if dist.get_rank() == 0:
        reached = accuracy(nn.Sequential(encoder, model, RateDecoder()), tested)
        print(f"gradient of {dist.get_world_size()} processes: that of one, to {error:.1e}")
        print(f"test accuracy {reached:6.1%}")
    dist.barrier()  # none goes while another one is still at work
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
