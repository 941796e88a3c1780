"""Calls of networks sharded by ``fully_shard``: how often they exchange weights, and which of them agree.

The collectives are counted by benchmarks/collectives.py, with its formulas.
"""

import re
import sys
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close

import spikingtorch as st
from benchmarks import collectives
from spikingtorch.fold import policy
from tests.distributed.nets import Blocks, batch, network, plain, shard, whole
from tests.distributed.ranks import Ranks, refusal

PARAMETERS = 4 * 5 * (32 * 32 + 32)  # bytes: weights are gathered once a sequence, forward and backward


FOUND = {
    "plain": {},
    "DDP": {"all-reduce": (1, PARAMETERS)},
    "FSDP": {"all-gather": (10, 2 * PARAMETERS), "reduce-scatter": (5, PARAMETERS)},
    "FSDP, reshard_after_forward=False": {"all-gather": (5, PARAMETERS), "reduce-scatter": (5, PARAMETERS)},
}


def counted() -> dict[str, dict[str, tuple[int, int]]]:
    """Count a step of a smaller network, of each kind."""
    with mock.patch.multiple(collectives, WIDTH=32, T=4):
        found = collectives.steps([*FOUND], 2, rounds=1)
    assert all(seconds > 0 for _, seconds in found.values())
    return {
        kind: {name: (step.calls[name], step.sizes[name]) for name in step.calls} for kind, (step, _) in found.items()
    }


def test_a_step_sends_what_the_page_says(ranks: Ranks) -> None:
    assert ranks.run(2, counted) == [FOUND] * 2


def test_the_formulas() -> None:
    """Around a ring of 3, each of 2 x 2 messages has a third of 6 bytes."""
    assert collectives.all_reduce(6, 3, latency=1, bandwidth=2) == 2 * 2 * (1 + 2 / 2)
    assert collectives.one_way(6, 3, latency=1, bandwidth=2) == 2 * (1 + 2 / 2)
    assert [row[:2] for row in collectives.predicted(1e-5, 25e9)] == [["8", "35.0"], ["64", "39.4"], ["512", "40.0"]]


def calls_of_the_net(where: str) -> list[int]:
    """Return how often each call of a model calls its network, while it is trained on other numbers of samples."""
    model, found = network("blocks"), [0]
    shard(model, where)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def note(frame: Any, event: str, _: Any) -> None:
        found[-1] += event == "call" and frame.f_code is Blocks.forward.__code__

    for seed in range(4):
        x, target = batch(seed, N=4 + seed)
        sys.setprofile(note)
        out = model(x)
        sys.setprofile(None)
        found.append(0)
        (out - target).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return found[:-1]


def test_is_proven_once(ranks: Ranks) -> None:
    for where in ("layers", "layers, root"):
        for first, *others in ranks.run(2, calls_of_the_net, where):
            assert first > 1, where
            assert others == [1, 1, 1], where


def explained_on_one() -> tuple[str, list[str]]:
    model = network("learning")
    shard(model, "layers, root")
    found = ("", [""])
    if dist.get_rank() == 0:
        report = model.explain(batch(0)[0])
        found = report.mode, [str(layer.backend) for layer in report.layers]
    model(batch(0)[0])
    return found


def test_explain_exchanges_nothing(ranks: Ranks) -> None:
    (mode, backends), _ = ranks.run(2, explained_on_one)
    assert mode == "fold"
    assert all(backend.startswith("fused") for backend in backends)


def of_sizes(name: str, sizes: list[tuple[int, int]]) -> tuple[Tensor, list[Tensor], str]:
    """Train a step on as many samples and steps as a rank has, and then look at the same without gradients."""
    model = network(name)
    shard(model, "layers")
    N, T = sizes[dist.get_rank()]
    x, _ = batch(dist.get_rank(), N=N, T=T)
    model(x).pow(2).sum().backward()
    gradients = [whole(weight.grad) for weight in model.parameters()]
    model.eval()
    with torch.no_grad():
        return model(x), gradients, model.explain().mode


@pytest.mark.parametrize("sizes", [[(8, 5), (3, 5)], [(8, 5), (1, 5)], [(4, 3), (4, 7)], [(8, 5), (0, 5)]])
@pytest.mark.parametrize("name", ["blocks", "recurrent"])
def test_processes_of_other_numbers_of_samples_and_steps(ranks: Ranks, name: str, sizes: list[tuple[int, int]]) -> None:
    found, model = ranks.run(2, of_sizes, name, sizes), network(name)
    for rank, (N, T) in enumerate(sizes):
        x, _ = batch(rank, N=N, T=T)
        out = model(x)
        (out.pow(2).sum() / 2).backward()  # FSDP takes the mean
        assert_close(found[rank][0], out.detach(), rtol=1e-12, atol=1e-13)
    for _, gradients, mode in found:
        assert mode == "fold"
        assert_close(gradients, [weight.grad for weight in model.parameters()], rtol=1e-12, atol=1e-13)


class BySize(nn.Sequential):
    """A network that computes something else for a few samples."""

    def forward(self, input: Tensor) -> Any:
        out = nn.Sequential.forward(self, input)  # type: ignore[no-untyped-call]
        return out if input.shape[0] > 3 else out.flip(0)


def of_time_norms(inside: bool) -> tuple[Tensor, Tensor]:
    """Return the outputs of a network with a norm over time, and with its layer or the norm inside sharded."""
    found = []
    for is_sharded in (False, True):
        torch.manual_seed(0)
        norm = st.ThresholdDependentBatchNorm(8, threshold=0.5)
        model = st.SpikingNet(nn.Sequential(nn.Linear(6, 8), norm, st.LIF(v0=0.2)).double(), warn_silent=False)
        if is_sharded:
            fully_shard(norm.norm if inside else norm)
        found.append(model(batch(0)[0]).detach())
    return found[0], found[1]


def test_a_scaled_norm_is_sharded_with_its_layer(ranks: Ranks) -> None:
    for expected, out in ranks.run(2, of_time_norms, False):
        assert out.sum() > 0
        assert_close(out, expected, rtol=1e-12, atol=1e-13)


def beyond_its_limits(where: str) -> Tensor:
    """Return the outputs of a network whose optimizer has moved thresholds below their least value."""
    torch.manual_seed(0)
    model = st.SpikingNet(nn.Sequential(nn.Linear(6, 8), st.LIF(v0=torch.full((8,), 0.1), learnable="threshold")))
    shard(model.double(), where)
    with torch.no_grad():
        model.net.get_submodule("1").get_parameter("threshold").sub_(0.2)
    return model(batch(0)[0]).detach()


def test_thresholds_that_have_left_their_limits_are_clamped_in_each_way_of_sharding(ranks: Ranks) -> None:
    expected = beyond_its_limits("")
    assert 0 < expected.mean() < 1
    for where in ("layers", "root"):
        for out in ranks.run(2, beyond_its_limits, where):
            assert_close(out, expected, rtol=0.0, atol=0.0)


def refusals() -> list[str]:
    by_size = st.SpikingNet(BySize(*plain()).double(), warn_silent=False)
    shard(by_size, "layers")
    recurrent, again = network("recurrent"), network("learning", time_chunk=2, recompute=True)
    fully_shard(recurrent.net.get_submodule("1.recurrent"))
    shard(again, "net")
    x, _ = batch(0)
    by_size(x[:, :1])
    assert by_size.explain().mode == "fold"
    return [
        *(refusal(model, given) for model, given in ((by_size, x[:2, :1]), (recurrent, x), (again, x))),
        refusal(of_time_norms, True),
    ]


SAID = [
    "or pass mode='step'",
    "Shard the layer that holds it: fully_shard(layer)",
    "recompute=True does not work if fully_shard has sharded net as one module",
    "Shard the layer: fully_shard(layer), without fully_shard(layer.norm)",
]


def test_refusals(ranks: Ranks) -> None:
    for found in ranks.run(2, refusals):
        for text, said in zip(found, SAID, strict=True):
            assert said in text
            assert text.startswith("ValueError")


def with_weights(model: st.SpikingNet, factor: float) -> None:
    """Multiply the weights of the layer in the middle of a network, each process its own part."""
    weight: Any = model.net.get_submodule("block.linear").get_parameter("weight")
    weight.to_local().detach().mul_(factor)


def fails_everywhere() -> tuple[int, Tensor | None]:
    """Raise within a fold, because of a number, and then go on."""
    model = network("blocks")
    shard(model, "layers, root")
    model(batch(0)[0]).sum().backward()
    with_weights(model, 1e308)
    with collectives.Counted() as counted, pytest.raises(ValueError, match="infinite"):
        model(batch(0)[0])
    with_weights(model, 1e-308)
    if not hasattr(model, "reset_iter_state"):  # torch 2.12
        return counted.calls["all-gather"], None
    model.reset_iter_state()  # type: ignore[operator]
    return counted.calls["all-gather"], model(batch(0)[0]).detach()


def test_goes_on_after_an_error(ranks: Ranks) -> None:
    expected = network("blocks")(batch(0)[0]).detach()
    for gathers, out in ranks.run(2, fails_everywhere):
        assert gathers == 3  # the network is not run once more in steps
        assert out is None or torch.allclose(out, expected, rtol=1e-12, atol=1e-13)


class Rewriting(nn.Sequential):
    """A network that writes on the input of a layer, but only from its second sequence on."""

    again = False

    def forward(self, input: Tensor) -> Any:
        current = self[0](input)
        spikes = self[1](current)
        if self.again:
            current.mul_(2.0)
        return self[3](self[2](spikes))


def fails_to_fold() -> str:
    model: Any = st.SpikingNet(Rewriting(*plain()).double(), warn_silent=False)
    shard(model, "layers")
    model(batch(0)[0])
    version = model._policy._versions[0]
    with mock.patch.object(policy.FoldPolicy, "known", return_value=version):  # no public change is overlooked
        model.net.again = True
        return refusal(model, batch(0)[0])


def test_a_fold_that_ends_after_its_proof(ranks: Ranks) -> None:
    for text in ranks.run(2, fails_to_fold):
        assert re.match("ValueError: SpikingNet: Rewriting writes in place on the input of a LIF layer", text)
        assert "Pass mode='step'" in text
