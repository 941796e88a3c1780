"""Neurons that are split over processes: ``parallelize_module`` around spiking layers, beside one process."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn.utils import parametrize

from spikingtorch import LIF, SpikingNet, StepLayer
from spikingtorch.convert import CountMaxPool
from spikingtorch.functional import Arctan, LIFState, lif_step
from tests.distributed.ranks import Ranks, refusal
from tests.every_layer import MAKERS, call, drawn

N, T, IN, HIDDEN, OUT = 3, 5, 5, 8, 4
RIGHT = 1e-12


class WithTable(StepLayer):
    """A layer with a buffer that has nothing to do with its neurons."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("table", torch.rand(13))


class Case(NamedTuple):
    """A network, and the plan that splits it."""

    hidden: Callable[[], nn.Module]
    plan: dict[str, ParallelStyle]

    def net(self) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(IN, HIDDEN), self.hidden(), nn.Linear(HIDDEN, OUT), LIF(tau=2.0, learnable="tau"))
        return net.double()


def pair(use_local_output: bool = False) -> dict[str, ParallelStyle]:
    return {"0": ColwiseParallel(use_local_output=use_local_output), "2": RowwiseParallel()}


def per_neuron(**options: Any) -> LIF:
    tau = torch.linspace(2.0, 4.0, HIDDEN)
    return LIF(tau=tau, threshold=torch.tensor(0.4), surrogate=Arctan(), **options)


def recurrent() -> LIF:
    return per_neuron(learnable=True, recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False))


GATHERED: dict[str, ParallelStyle] = {
    "0": ColwiseParallel(output_layouts=Replicate()),
    "2": ColwiseParallel(output_layouts=Replicate()),
}
CASES = {
    "plain tensors": Case(partial(LIF, threshold=0.4), pair(use_local_output=True)),
    "gathered": Case(recurrent, GATHERED),
    "gathered DTensor": Case(
        recurrent, {"0": ColwiseParallel(output_layouts=Replicate(), use_local_output=False), "2": RowwiseParallel()}
    ),
    "constants": Case(per_neuron, pair()),
    "learnable": Case(partial(per_neuron, learnable=True), pair()),
    "one for all": Case(partial(LIF, tau=2.0, threshold=0.4, learnable=True, refractory=1.0), pair()),
    "an output that is a sum to be": Case(
        partial(per_neuron, learnable=True),
        {"0": RowwiseParallel(input_layouts=Replicate(), use_local_output=False), "2": RowwiseParallel()},
    ),
    "to itself": Case(partial(per_neuron, learnable=True, recurrent=torch.linspace(-0.5, 0.5, HIDDEN)), pair()),
    "DTensors": Case(partial(per_neuron, learnable=True), pair() | {"1": SequenceParallel(sequence_dim=1)}),
    "a step of the user": Case(
        lambda: WithTable(user_step, LIFState, decay=torch.linspace(0.5, 0.9, HIDDEN), learnable="decay"), pair()
    ),
}


RUNS = [(name, "auto") for name in CASES] + [(name, "step") for name in ("plain tensors", "learnable", "to itself")]


def user_step(state: LIFState, x: Tensor, *, decay: Tensor) -> tuple[LIFState, Tensor]:
    return lif_step(state, x, decay=decay, threshold=0.4)


def whole_of(tensor: Any) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full(tensor: Any) -> Tensor:
    return whole_of(tensor).detach().clone()


def trained(model: SpikingNet) -> list[Tensor]:
    """Return outputs, gradients and weights of three steps; each sequence has two calls."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    found = []
    for step in range(3):
        for init in (True, False):
            x = drawn(N, T, IN, seed=2 * step + init).requires_grad_()
            out = model(x, init=init)
            (out * drawn(*out.shape, seed=9)).sum().backward()
            found += [full(out), full(x.grad)]
        found += [full(parameter.grad) for parameter in model.parameters()]
        optimizer.step()
        optimizer.zero_grad()
        found += [full(parameter) for parameter in model.parameters()]
    return found


def furthest(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest number of a tensor."""
    assert len(found) == len(expected)
    return max(
        [
            ((one - other).abs().max() / other.abs().max().clamp(min=1e-3)).item()
            for one, other in zip(found, expected, strict=True)
        ]
    )


def split(name: str, mode: Any) -> tuple[float, str]:
    """Return how far the network of a case is from that of one process, and the mode in which it ran."""
    case, mesh = CASES[name], init_device_mesh("cpu", (dist.get_world_size(),))
    expected = trained(SpikingNet(case.net(), OUT, mode="step"))
    model = SpikingNet(parallelize_module(case.net(), mesh, case.plan), OUT, mode=mode)
    found = trained(model)
    return furthest(found, expected), "" if mode == "step" else model.explain().mode


@pytest.mark.sampled
@pytest.mark.parametrize("key", RUNS, ids=", ".join)
def test_split_neurons_equal_those_of_one_process(key: tuple[str, str], ranks: Ranks) -> None:
    for error, ran in ranks.run(2, split, *key):
        assert error < RIGHT
        assert ran == ("fold" if key[1] == "auto" else "")


def test_four_processes(ranks: Ranks) -> None:
    for name in ("learnable", "plain tensors"):
        assert all(error < RIGHT for error, _ in ranks.run(4, split, name, "auto")), name


def on_mesh(x: Tensor, *placements: Any) -> DTensor:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return DTensor.from_local(x, mesh, [Replicate()], run_check=False).redistribute(placements=placements)


def every_layer() -> dict[str, float]:
    """Return how far each layer on 7 neurons, of which the processes hold 4 and 3, is from the layer on all."""
    found = {}
    for name, make in MAKERS.items():
        whole, mine = make().double(), make().double()
        xs = [drawn(N, 7, seed=t) for t in range(4)]
        one, other = [[x.clone().requires_grad_() for x in xs] for _ in range(2)]
        expected = [call(whole, x, init=t == 0) for t, x in enumerate(one)]
        outs = [call(mine, on_mesh(x, Shard(1)), init=t == 0) for t, x in enumerate(other)]
        assert all(isinstance(out, DTensor) for out in outs)
        torch.stack(expected).square().sum().backward()
        torch.stack([whole_of(out) for out in outs]).square().sum().backward()
        slopes = [[full(x.grad) for x in each] for each in (one, other)]
        found[name] = furthest([*map(full, outs), *slopes[1]], [*map(full, expected), *slopes[0]])
    return found


def test_every_layer_on_an_uneven_split(ranks: Ranks) -> None:
    for found in ranks.run(2, every_layer):
        assert found.keys() == MAKERS.keys()
        assert all(error < RIGHT for error in found.values()), found


def mean_step(state: LIFState, x: Tensor) -> tuple[LIFState, Tensor]:
    return lif_step(state, x - x.mean(-1, keepdim=True), decay=0.5)


def inputs(placement: Any, *shape: int) -> DTensor:
    return on_mesh(torch.rand(*shape), placement)


def parametrized() -> LIF:
    found = per_neuron(learnable="tau")
    parametrize.register_parametrization(found, "tau", nn.Softplus())
    return found


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, tuple[int, ...], str]] = {
    "recurrent": (recurrent, Shard(1), (N, HIDDEN), r"LIF: its neurons are split .* recurrent= needs .*Replicate"),
    "a convolution": (
        lambda: LIF(recurrent=nn.Conv2d(4, 4, 3, padding="same", bias=False)),
        Shard(1),
        (N, 4, 5, 5),
        "recurrent= needs",
    ),
    "samples": (LIF, Shard(0), (N, HIDDEN), r"LIF: the input is placed .*Shard\(1\).* as plain tensors"),
    "a step that mixes": (lambda: StepLayer(mean_step, LIFState), Shard(1), (N, HIDDEN), r"its step calls aten\.mean"),
    "a pool": (lambda: CountMaxPool(nn.MaxPool1d(2)), Shard(2), (N, 3, HIDDEN), "it may mix them"),
    "parametrize": (parametrized, Shard(1), (N, HIDDEN), "computes parameters from others"),
    "too many": (per_neuron, Shard(1), (N, 6), r"LIF: tau of shape \(8,\) does not broadcast .* \(3, 6\)"),
}


def refused(name: str) -> str:
    layer, placement, shape, _ = REFUSED[name]
    return refusal(lambda: layer()(inputs(placement, *shape), True))


def refusals() -> dict[str, str]:
    found = {name: refused(name) for name in REFUSED}
    plan, mesh = pair(use_local_output=True), init_device_mesh("cpu", (2,))
    model = SpikingNet(parallelize_module(CASES["constants"].net(), mesh, plan), OUT)
    return found | {"local outputs": refusal(model, drawn(N, T, IN))}


def test_refuses_neurons_that_depend_on_each_other_or_that_it_does_not_know(ranks: Ranks) -> None:
    messages = {name: text for name, (*_, text) in REFUSED.items()}
    messages["local outputs"] = "does not broadcast.*use_local_output=False"
    for found in ranks.run(2, refusals):
        for name, text in messages.items():
            assert re.search(f"^ValueError: .*{text}", found[name], re.DOTALL), f"{name}: {found[name]}"
