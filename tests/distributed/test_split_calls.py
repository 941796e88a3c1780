"""Calls of networks whose neurons are split over processes, in the documented ways, beside one process."""

import copy
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

from spikingtorch import (
    LIF,
    SequenceDropout,
    SpikeMonitor,
    SpikingNet,
    StepLayer,
    StochasticLIF,
    losses,
    record,
    summary,
)
from spikingtorch.init import to_rate_
from tests.distributed.ranks import Ranks
from tests.distributed.test_tensor_parallel import CASES, HIDDEN, IN, OUT, RIGHT, N, T, full, furthest, on_mesh, pair
from tests.every_layer import drawn

Call = Callable[..., list[Tensor]]
Plan = dict[str, ParallelStyle]


class Checkpointed(nn.Module):
    """A network that runs its hidden neurons again in the backward pass."""

    def __init__(self, parts: nn.Module) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor, init: Any) -> Tensor:
        linear, hidden, readout, last = self.parts.children()
        found: Tensor = last(readout(checkpoint(hidden, linear(x), init, use_reentrant=False)), init)
        return found


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


def compiled(model: Any, x: Tensor) -> list[Tensor]:
    return run(torch.compile(model, backend="eager"), x)


def both(
    call: Callable[..., list[Tensor]], wrap: Callable[[Any], nn.Module] = lambda net: net, **options: Any
) -> float:
    """Return how far a call of a split network is from that of one process."""
    one, other = CASES["learnable"].net(), CASES["learnable"].net()
    parallelize_module(other, init_device_mesh("cpu", (dist.get_world_size(),)), pair())
    nets = [SpikingNet(wrap(net), OUT, **options) for net in (other, one)]
    found, expected = [call(net, drawn(N, T, IN)) for net in nets]
    return furthest(found, expected)


def with_lengths(model: Any, x: Tensor) -> list[Tensor]:
    return learn(model, x, lengths=[5, 2, 3])


def calls() -> dict[str, float]:
    """Return how far each way to call a split network is from one process."""
    return {
        "lengths": both(with_lengths),
        "a stream": both(go_on),
        "chunks": both(without_gradient, time_chunk=2),
        "checkpoint": both(learn, Checkpointed),
        "chunks that run again": both(learn, time_chunk=2, recompute=True),
        "a copy": both(lambda model, x: learn(copy.deepcopy(model), x)),
        "an input that is a DTensor": furthest(*given_and_returned()),
        "a linear layer at the end": both(decoded, Headless),
    }


class Headless(nn.Module):
    """A network whose last layer is linear."""

    def __init__(self, parts: nn.Module) -> None:
        super().__init__()
        self.linear, self.hidden, self.readout, _ = parts.children()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        found: Tensor = self.readout(self.hidden(self.linear(x), init))
        return found


def decoded(model: Any, x: Tensor) -> list[Tensor]:
    """Return the loss of a network and its gradients."""
    loss = losses.rate_cross_entropy(model(x), torch.arange(N))
    loss.backward()
    return [full(loss), *[full(parameter.grad) for parameter in model.parameters()]]


def given_and_returned() -> tuple[list[Tensor], list[Tensor]]:
    """Return the outputs of a network that takes and returns DTensors, and of one process."""
    one, other, x = CASES["learnable"].net(), CASES["learnable"].net(), drawn(N, T, IN)
    plan: Plan = {"0": ColwiseParallel(use_local_output=False), "2": ColwiseParallel(use_local_output=False)}
    parallelize_module(other, init_device_mesh("cpu", (dist.get_world_size(),)), plan)
    out = SpikingNet(other, OUT)(on_mesh(x, Replicate()))
    assert isinstance(out, DTensor)
    assert out.placements == (Shard(2),)
    return [full(out)], [full(SpikingNet(one, OUT)(x))]


def test_ways_to_call_a_split_network(ranks: Ranks) -> None:
    for found in ranks.run(2, calls):
        assert all(error < RIGHT for error in found.values()), found


def exchanges(mode: Any) -> int:
    """Return how many sums over the processes a call takes."""
    net = parallelize_module(CASES["constants"].net(), init_device_mesh("cpu", (2,)), pair())
    model = SpikingNet(net, OUT, mode=mode)
    with mock.patch.object(collectives, "all_reduce", wraps=collectives.all_reduce) as summed:
        model(drawn(N, T, IN))
    return summed.call_count


def test_a_fold_sends_one_sum_for_all_steps(ranks: Ranks) -> None:
    assert ranks.run(2, exchanges, "auto") == [1, 1]
    assert ranks.run(2, exchanges, "step") == [T, T]


def kinds_of_inputs() -> set[str]:
    """Return the kinds of tensors that the kernels get."""
    net = parallelize_module(CASES["constants"].net(), init_device_mesh("cpu", (2,)), pair())
    advance, found = StepLayer._advance_all, set[str]()

    def note(self: StepLayer, inputs: Any, fold: Any) -> Any:
        found.add(type(inputs).__name__)
        return advance(self, inputs, fold)

    with mock.patch.object(StepLayer, "_advance_all", note):
        SpikingNet(net, OUT)(drawn(N, T, IN))
    return found


def test_kernels_get_plain_tensors(ranks: Ranks) -> None:
    """They would leave others, such as a sum that has not arrived, to the Python loop."""
    assert ranks.run(2, kinds_of_inputs) == [{"Tensor"}] * 2


def through_dynamo() -> float:
    warnings.simplefilter("ignore")
    return both(compiled)


@pytest.mark.night
def test_a_split_network_in_torch_compile(ranks: Ranks) -> None:
    assert all(error < RIGHT for error in ranks.run(2, through_dynamo))


def split_recurrence() -> str:
    net = CASES["gathered"].net()
    parallelize_module(net, init_device_mesh("cpu", (2,)), {"1.recurrent": ColwiseParallel()})
    with pytest.raises(ValueError, match="this process has a part of the weight") as error:
        SpikingNet(net, OUT)(drawn(N, T, IN))
    return str(error.value)


def test_recurrent_weights_are_not_split(ranks: Ranks) -> None:
    assert all("parallelize_module cannot split it" in each for each in ranks.run(2, split_recurrence))


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


def after_an_error() -> bool:
    layer = LIF(tau=torch.linspace(2.0, 4.0, HIDDEN), learnable="tau")
    before = layer.tau
    x = torch.ones(N, HIDDEN)
    x[0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        layer(on_mesh(x, Shard(1)), True)
    return layer.tau is before


def test_an_error_leaves_the_parameters_of_a_layer(ranks: Ranks) -> None:
    assert all(ranks.run(2, after_an_error))


def random_numbers() -> tuple[float, list[float]]:
    """Return how far noisy neurons are from those of one process, and the mask of each neuron."""
    x = torch.ones(1, HIDDEN)
    torch.manual_seed(0)
    split = StochasticLIF()(on_mesh(x, Shard(1)), True)
    torch.manual_seed(0)
    noisy = furthest([full(split)], [StochasticLIF()(x, True)])
    return noisy, full(SequenceDropout(0.5)(on_mesh(x, Shard(1)), True)).flatten().tolist()


def test_noise_is_that_of_one_process_and_a_mask_is_that_of_each(ranks: Ranks) -> None:
    for noisy, mask in ranks.run(2, random_numbers):
        assert noisy == 0.0
        assert mask[: HIDDEN // 2] == mask[HIDDEN // 2 :]


def watched() -> tuple[float, float]:
    """Return the rate of this process's neurons, and that of all; check the records."""
    x = drawn(N, T, IN)
    net = parallelize_module(CASES["learnable"].net(), init_device_mesh("cpu", (2,)), pair())
    model, one = SpikingNet(net, OUT), SpikingNet(CASES["learnable"].net(), OUT)
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


def of_copies() -> list[str]:
    """Return what functions say that run a copy in this process."""
    split = parallelize_module(CASES["learnable"].net(), init_device_mesh("cpu", (2,)), pair())
    found = []
    calls: tuple[Callable[..., Any], ...] = summary, to_rate_
    for call in calls:
        with pytest.raises(ValueError, match="weights of the network are split over processes") as error:
            call(SpikingNet(split, OUT), drawn(N, T, IN))
        found.append(str(error.value))
    return found


def test_functions_that_run_a_copy_say_that_weights_are_split(ranks: Ranks) -> None:
    for of_summary, of_rates in ranks.run(2, of_copies):
        assert re.search(r"summary: .*full_state_dict=True", of_summary)
        assert re.search(r"to_rate_: .*before you split them", of_rates)
