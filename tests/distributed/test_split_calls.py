"""Calls of networks whose neurons are split over processes, in the documented ways, beside one process."""

import copy
import math
import re
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as collectives
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, parallelize_module
from torch.utils.checkpoint import checkpoint

from spikingtorch import LIF, SequenceDropout, SpikeMonitor, SpikingNet, StochasticLIF, losses, record, summary
from spikingtorch.init import to_rate_
from tests.distributed.ranks import Ranks, refusal
from tests.distributed.test_tensor_parallel import CASES, HIDDEN, IN, OUT, RIGHT, N, T, full, furthest, on_mesh, pair
from tests.every_layer import drawn
from tests.folded_layer import Coded

Plan = dict[str, ParallelStyle]


def checkpointed(parts: nn.Module) -> nn.Module:
    """Return a network that runs its hidden neurons again in the backward pass."""

    def code(net: Any, x: Tensor, init: Any) -> Any:
        linear, hidden, readout, last = net.parts
        return last(readout(checkpoint(hidden, linear(x), init, use_reentrant=False)), init)

    return Coded(code, parts=parts)


def run(model: Callable[..., Any], x: Any, **options: Any) -> list[Tensor]:
    """Return the output of a call."""
    return [full(model(x, **options))]


def learn(model: Any, x: Tensor, **options: Any) -> list[Tensor]:
    """Return the output of a call, and all gradients."""
    out = model(x, **options)
    (out * drawn(N, T, OUT, seed=9)).sum().backward()
    return [full(out), *[full(parameter.grad) for parameter in model.parameters()]]


def go_on(model: Any, x: Tensor) -> list[Tensor]:
    """Return the outputs of two calls; one sample starts anew in the second."""
    return [full(model(x)), full(model(x, init=torch.tensor([False, True, False])))]


def without_gradient(model: Any, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return run(model, x)


def split_net(name: str, plan: Plan | None = None) -> nn.Module:
    """Return the network of a case, split over all processes."""
    return parallelize_module(CASES[name].net(), init_device_mesh("cpu", (dist.get_world_size(),)), plan or pair())


def both(call: Callable[..., list[Tensor]], wrap: Callable[[Any], nn.Module] = lambda n: n, **options: Any) -> float:
    """Return how far a call of a split network is from that of one process."""
    one = SpikingNet(wrap(CASES["learnable"].net()), OUT, mode="step", **options)
    other = SpikingNet(wrap(split_net("learnable")), OUT, **options)
    found, expected = [call(net, drawn(N, T, IN)) for net in (other, one)]
    return furthest(found, expected)


def calls() -> dict[str, float]:
    """Return how far each way to call a split network is from one process."""
    return {
        "lengths": both(lambda model, x: learn(model, x, lengths=[5, 2, 3])),
        "a stream": both(go_on),
        "chunks": both(without_gradient, time_chunk=2),
        "checkpoint": both(learn, checkpointed),
        "chunks that run again": both(learn, time_chunk=2, recompute=True),
        "a copy": both(lambda model, x: learn(copy.deepcopy(model), x)),
        "an input that is a DTensor": furthest(*given_and_returned()),
        "a linear layer at the end": both(decoded, headless),
    }


def headless(parts: Any) -> nn.Module:
    """Return a network whose last layer is linear."""
    return Coded(lambda net, x, init: net.parts[2](net.parts[1](net.parts[0](x), init)), parts=parts[:3])


def decoded(model: Any, x: Tensor) -> list[Tensor]:
    """Return the loss of a network and its gradients."""
    loss = losses.rate_cross_entropy(model(x), torch.arange(N))
    loss.backward()
    return [full(loss), *[full(parameter.grad) for parameter in model.parameters()]]


def given_and_returned() -> tuple[list[Tensor], list[Tensor]]:
    """Return the outputs of a network that takes and returns DTensors, and of one process."""
    x, plan = drawn(N, T, IN), {place: ColwiseParallel(use_local_output=False) for place in ("0", "2")}
    out = SpikingNet(split_net("learnable", {**plan}), OUT)(on_mesh(x, Replicate()))
    assert isinstance(out, DTensor)
    assert out.placements == (Shard(2),)
    return [full(out)], [full(SpikingNet(CASES["learnable"].net(), OUT, mode="step")(x))]


def test_ways_to_call_a_split_network(ranks: Ranks) -> None:
    for found in ranks.run(2, calls):
        assert all(error < RIGHT for error in found.values()), found


def exchanges(mode: Any) -> int:
    """Return how many sums over the processes a call takes."""
    model = SpikingNet(split_net("constants"), OUT, mode=mode)
    with (
        mock.patch.object(collectives, "all_reduce", wraps=collectives.all_reduce) as summed,
        warnings.catch_warnings(),
    ):
        # kernels get plain tensors: they would leave others, such as a sum that has not arrived, to the loop
        warnings.filterwarnings("error", message=".*ran on the Python loop")
        model(drawn(N, T, IN))
    return summed.call_count


def test_a_fold_sends_one_sum_for_all_steps(ranks: Ranks) -> None:
    assert ranks.run(2, exchanges, "auto") == [1, 1]
    assert ranks.run(2, exchanges, "step") == [T, T]


def through_dynamo() -> float:
    warnings.simplefilter("ignore")
    return both(lambda model, x: run(torch.compile(model, backend="eager"), x))


@pytest.mark.night
def test_a_split_network_in_torch_compile(ranks: Ranks) -> None:
    assert all(error < RIGHT for error in ranks.run(2, through_dynamo))


def in_two_ways() -> tuple[float, str]:
    """Split neurons over two processes, and weights and samples over two pairs of them."""
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # that of torch returns a view
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("samples", "neurons"))

    def network() -> nn.Module:
        linear, _, readout, _ = CASES["learnable"].net().children()
        hidden = LIF(tau=torch.linspace(2.0, 4.0, HIDDEN), threshold=0.4, learnable="tau").double()
        return nn.Sequential(linear, hidden, readout, LIF())

    one, other, x = network(), network(), drawn(4, T, IN)
    parallelize_module(other, mesh["neurons"], pair())
    for layer in [*other.children()][:3]:
        fully_shard(layer, mesh=mesh["samples"])
    fully_shard(other, mesh=mesh["samples"])
    model = SpikingNet(other, OUT)
    share = x.chunk(2)[mesh.get_local_rank("samples")]
    found = 2.0 * model(share).square().sum()  # fully_shard takes the mean of the gradients
    found.backward()
    SpikingNet(one, OUT)(x).square().sum().backward()
    slopes = [[full(parameter.grad) for parameter in net.parameters()] for net in (other, one)]
    return furthest(*slopes), model.explain().mode


def test_neurons_and_weights_are_split_at_once(ranks: Ranks) -> None:
    for error, mode in ranks.run(4, in_two_ways):
        assert error < RIGHT
        assert mode == "fold"


def layers() -> None:
    """Check noise and masks of layers, and the parameters of one that has raised."""
    x = torch.ones(1, HIDDEN)
    torch.manual_seed(0)
    split = StochasticLIF()(on_mesh(x, Shard(1)), True)
    torch.manual_seed(0)
    assert torch.equal(full(split), StochasticLIF()(x, True))
    mask = full(SequenceDropout(0.5)(on_mesh(x, Shard(1)), True)).flatten().tolist()
    assert mask[: HIDDEN // 2] == mask[HIDDEN // 2 :]
    layer = LIF(tau=torch.linspace(2.0, 4.0, HIDDEN), learnable="tau")
    before = layer.tau
    with pytest.raises(ValueError, match="NaN"):
        layer(on_mesh(math.nan * x, Shard(1)), True)
    assert layer.tau is before


def test_noise_is_that_of_one_process_and_a_mask_is_that_of_each(ranks: Ranks) -> None:
    ranks.run(2, layers)


def watched() -> tuple[float, float]:
    """Return the rate of this process's neurons, and that of all; check the records."""
    x = drawn(N, T, IN)
    model, one = SpikingNet(split_net("learnable"), OUT), SpikingNet(CASES["learnable"].net(), OUT)
    with SpikeMonitor(model) as monitor, SpikeMonitor(one) as of_all:
        model(x)
        one(x)
    mine = slice(HIDDEN // 2 * dist.get_rank(), HIDDEN // 2 * (dist.get_rank() + 1))
    records, expected = record(model, x, "v"), record(one, x, "v")
    assert furthest([records["1"]["v"].detach()], [expected["1"]["v"][..., mine].detach()]) < RIGHT
    return monitor.metrics()["1/rate"], of_all.metrics()["1/rate"]


def test_records_and_monitors_have_the_neurons_of_the_process(ranks: Ranks) -> None:
    (one, of_all), (other, _) = ranks.run(2, watched)
    assert (one + other) / 2 == pytest.approx(of_all, abs=1e-15)


def refusals() -> list[str]:
    """Return what functions say that run a copy in this process, and a network whose recurrent weights are split."""
    learnable = SpikingNet(split_net("learnable"), OUT)
    recurrent = SpikingNet(split_net("gathered", {"1.recurrent": ColwiseParallel()}), OUT)
    x = drawn(N, T, IN)
    return [refusal(summary, learnable, x), refusal(to_rate_, learnable, x), refusal(recurrent, x)]


SAID = [
    "summary: .*weights of the network are split over processes.*full_state_dict=True",
    "to_rate_: .*weights of the network are split over processes.*before you split them",
    "this process has a part of the weight.*parallelize_module cannot split it",
]


def test_what_does_not_work_with_split_weights_says_so(ranks: Ranks) -> None:
    for found in ranks.run(2, refusals):
        for text, said in zip(found, SAID, strict=True):
            assert re.search(f"^ValueError: .*{said}", text, re.DOTALL), text
