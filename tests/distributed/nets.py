"""Networks that several processes train, and their training in one process and in several."""

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

import spikingtorch as st

N, T, FEATURES, CLASSES = 8, 5, 6, 3


class Block(nn.Module):
    """Two layers and what they share, in a module of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.neurons = st.LIF(tau=torch.full((8,), 6.0), learnable="tau")

    def forward(self, x: Tensor, init: Any) -> Any:
        return x + self.neurons(self.linear(x), init)


class Blocks(nn.Module):
    """A network in a forward of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Linear(FEATURES, 8), Block(), nn.Linear(8, CLASSES)
        self.neurons = st.LIF()

    def forward(self, x: Tensor, init: Any) -> Any:
        return self.neurons(self.last(self.block(self.first(x), init)), init)


def _recurrent() -> nn.Module:
    within = st.LIF(recurrent=nn.Linear(8, 8, bias=False))
    return nn.Sequential(nn.Linear(FEATURES, 8), within, nn.Linear(8, CLASSES), st.LIF())


def _learning() -> nn.Module:
    taus = torch.linspace(3.0, 9.0, 8)
    first = st.LIF(tau=taus, threshold=torch.tensor([0.8]), learnable=("tau", "threshold"))
    return nn.Sequential(nn.Linear(FEATURES, 8), first, nn.Linear(8, CLASSES), st.LIF())


def _leaving() -> nn.Module:
    """Return a network whose thresholds are so small that they leave their range."""
    first = st.LIF(threshold=torch.full((8,), 0.01), learnable="threshold")
    return nn.Sequential(nn.Linear(FEATURES, 8), first, nn.Linear(8, CLASSES), st.LIF())


def _normed() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.BatchNorm1d(4), st.LIF(), nn.Flatten()),
        *(nn.Linear(8, CLASSES), st.LIF()),
    )


def _frozen() -> nn.Module:
    net = plain()
    net[0].requires_grad_(False)
    return net


def plain() -> nn.Sequential:
    """Return two linear layers and their neurons."""
    return nn.Sequential(nn.Linear(FEATURES, 8), st.LIF(v0=0.1), nn.Linear(8, CLASSES), st.LIF())


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "blocks": Blocks,
    "recurrent": _recurrent,
    "learning": _learning,
    "leaving": _leaving,
    "normed": _normed,
    "frozen": _frozen,
}


def network(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> st.SpikingNet:
    """Return a network with the same weights on each process."""
    torch.manual_seed(0)
    net = NETS[name]()
    for weight in net.parameters():
        if weight.ndim > 1:  # so that neurons fire
            weight.data.mul_(2.0)
    return st.SpikingNet(net.to(dtype), (CLASSES,), warn_silent=False, **options)


def batch(seed: int, N: int = N, T: int = T, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of the whole batch."""
    generator = torch.Generator().manual_seed(seed)
    x = 2.0 * torch.rand(N, T, FEATURES, generator=generator, dtype=dtype)
    return x, torch.rand(N, T, CLASSES, generator=generator, dtype=dtype)


def shard(model: st.SpikingNet, where: str, **options: Any) -> None:
    """Shard a network: its "layers", the "net" inside, all of it as the "root", or the layers and the "root"."""
    if "layers" in where:
        shard_layers(model.net.modules(), **options)
    if "net" in where:
        fully_shard(model.net, **options)
    if "root" in where:
        fully_shard(model, **options)


def shard_layers(modules: Iterable[nn.Module], **options: Any) -> None:
    """Shard modules that have weights of their own, but for recurrent weights, which go with their layer."""
    held = [*modules]
    inside = {child for module in held if isinstance(module, st.StepLayer) for child in module.children()}
    for module in held:
        if [*module.parameters(recurse=isinstance(module, st.StepLayer))] and module not in inside:
            fully_shard(module, **options)


class Trained(NamedTuple):
    """What a few steps of training leave."""

    outputs: list[Tensor]  # of each step, those of this process's samples
    gradients: dict[str, Tensor]  # of the last step
    weights: dict[str, Tensor]
    mode: tuple[str, str]  # how the network ran, and why
    norm: float  # that clip_grad_norm_ returned at the last step


def whole(tensor: Any) -> Tensor:
    """Return all of a tensor, on each process."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def train(model: st.SpikingNet, parts: int = 1, accumulate: int = 1, clip: float = 1e9, **form: Any) -> Trained:
    """Train for three steps, on this process's part of each batch; ``form`` are arguments of ``batch``.

    The processes agree on gradients at the last of ``accumulate`` batches.
    """
    mine = dist.get_rank() if parts > 1 else 0
    optimizer, outputs, norm = torch.optim.Adam(model.parameters(), lr=0.02), [], torch.zeros(())
    for step in range(3):
        optimizer.zero_grad()
        for turn in range(accumulate):
            for module in model.modules():
                if isinstance(module, FSDPModule):
                    module.set_requires_gradient_sync(turn == accumulate - 1, recurse=False)
            x, target = (each.chunk(parts)[mine] for each in batch(accumulate * step + turn, **form))
            out = model(x)
            ((out - target).pow(2).mean() / accumulate).backward()
            outputs.append(out.detach())
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    report = model.explain()
    return trained(model, outputs, (report.mode, report.reason), whole(norm).item())


def trained(
    model: nn.Module, outputs: list[Tensor], mode: tuple[str, str] = ("fold", ""), norm: float = 0.0
) -> Trained:
    gradients = {name: whole(weight.grad) for name, weight in model.named_parameters() if weight.grad is not None}
    weights = {name: whole(weight) for name, weight in model.named_parameters()}
    return Trained(outputs, gradients, weights, mode, norm)


def train_halves(model: st.SpikingNet, precision: torch.dtype | None = None, **form: Any) -> Trained:
    """Train for three steps in one process, on the two halves of each batch by themselves, as two processes do.

    Outputs and gradients of a half are computed in ``precision``; ``form`` are arguments of ``batch``.
    """
    optimizer, outputs = torch.optim.Adam(model.parameters(), lr=0.02), []
    kept = copy.deepcopy(model)
    for step in range(3):
        x, target = batch(step, **form)
        found = []
        for half, wanted in zip(x.chunk(2), target.chunk(2), strict=True):
            half_model = kept if precision is None else kept.to(precision)
            half_model.load_state_dict(model.state_dict())
            half_model.zero_grad()
            out = half_model(half if precision is None else half.to(precision))
            (out.to(wanted.dtype) - wanted).pow(2).mean().backward()
            outputs.append(out.detach())
            found.append([weight.grad.to(x.dtype) for weight in half_model.parameters() if weight.grad is not None])
        for weight, one, other in zip(model.parameters(), *found, strict=True):
            weight.grad = (one + other) / 2
        optimizer.step()
    return trained(model, outputs)
