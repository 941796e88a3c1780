"""Calls of networks sharded by ``fully_shard``: how often they exchange weights, and which of them agree."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close

import spikingtorch as st
from spikingtorch.fold import policy
from tests.distributed.nets import Blocks, batch, network, plain, shard, whole
from tests.distributed.ranks import RankError, Ranks


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count the collectives and the proofs within."""
    counts = {"gathers": 0, "reductions": 0, "proofs": 0}

    def counting(what: str, owner: Any, *names: str) -> Any:
        name = next(name for name in names if hasattr(owner, name))  # one name after the other in releases of torch
        function = getattr(owner, name)

        def count(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            return function(*args, **kwargs)

        return mock.patch.object(owner, name, count)

    with (
        counting("gathers", dist, "all_gather_single", "all_gather_into_tensor"),
        counting("reductions", dist, "reduce_scatter_single", "reduce_scatter_tensor"),
        counting("proofs", policy, "prove"),
    ):
        yield counts


def exchanges(T: int, reshard: bool, grad: bool) -> tuple[int, int]:
    model = network("learning")
    shard(model, "layers", reshard_after_forward=reshard)
    x, _ = batch(0, T=T)
    with counted() as counts, torch.set_grad_enabled(grad):
        out = model(x)
        if grad:
            out.sum().backward()
    return counts["gathers"], counts["reductions"]


@pytest.mark.parametrize("T", [2, 5])
def test_weights_are_gathered_once_a_sequence(ranks: Ranks, T: int) -> None:
    sharded = 3  # two linear layers, and the neurons that learn
    assert ranks.run(2, exchanges, T, True, True) == [(2 * sharded, sharded)] * 2  # forward and backward
    assert ranks.run(2, exchanges, T, False, True) == [(sharded, sharded)] * 2
    assert ranks.run(2, exchanges, T, True, False) == [(sharded, 0)] * 2


def proofs(where: str) -> int:
    model = network("learning")
    shard(model, where)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with counted() as counts:
        for seed in range(4):
            x, target = batch(seed, N=4 + seed)
            (model(x) - target).pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    return counts["proofs"]


@pytest.mark.parametrize("where", ["layers", "layers, root"])
def test_is_proven_once(ranks: Ranks, where: str) -> None:
    assert ranks.run(2, proofs, where) == [1, 1]


def explained_on_one(_: int) -> tuple[str, list[str]]:
    model = network("learning")
    shard(model, "layers, root")
    found = ("", [""])
    if dist.get_rank() == 0:
        report = model.explain(batch(0)[0])
        found = report.mode, [str(layer.backend) for layer in report.layers]
    model(batch(0)[0])
    return found


def test_explain_exchanges_nothing(ranks: Ranks) -> None:
    (mode, backends), _ = ranks.run(2, explained_on_one, 0)
    assert mode == "fold"
    assert all(backend.startswith("fused") for backend in backends)


def with_modes(where: str) -> list[tuple[Tensor, list[Tensor]]]:
    found = []
    for mode in ("step", "fold", "auto"):
        model = network("learning", mode=mode)
        shard(model, where)
        out = model(batch(dist.get_rank())[0])
        out.pow(2).sum().backward()
        found.append((out.detach(), [whole(weight.grad) for weight in model.parameters()]))
    return found


@pytest.mark.parametrize("where", ["layers", "layers, root", "net"])
def test_modes_agree(ranks: Ranks, where: str) -> None:
    for step, fold, auto in ranks.run(2, with_modes, where):
        assert_close(fold, step, rtol=1e-12, atol=1e-13)
        assert_close(auto, fold, rtol=0.0, atol=0.0)


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
def test_processes_with_other_numbers_of_samples_and_steps(
    ranks: Ranks, name: str, sizes: list[tuple[int, int]]
) -> None:
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


def by_size(N: int) -> str:
    model = st.SpikingNet(BySize(*plain()).double(), warn_silent=False)
    shard(model, "layers")
    try:
        model(batch(0, N=N, T=1)[0])
    except ValueError as error:
        return str(error)
    return model.explain().mode


def test_a_network_that_steps_for_some_numbers_of_samples_alone(ranks: Ranks) -> None:
    assert ranks.run(2, by_size, 8) == ["fold", "fold"]
    assert all("or pass mode='step'" in each for each in ranks.run(2, by_size, 2))


def recurrent_by_itself(_: int) -> None:
    model = network("recurrent")
    fully_shard(model.net.get_submodule("1.recurrent"))
    model(batch(0)[0])


def test_recurrent_weights_are_sharded_with_their_layer(ranks: Ranks) -> None:
    with pytest.raises(RankError, match=r"Shard the layer that holds it: fully_shard\(layer\)"):
        ranks.run(2, recurrent_by_itself, 0)


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
    with pytest.raises(RankError, match=r"Shard the layer: fully_shard\(layer\), without fully_shard\(layer.norm\)"):
        ranks.run(2, of_time_norms, True)


def with_weights(model: st.SpikingNet, factor: float) -> None:
    """Multiply the weights of the layer in the middle of a network, each process its own part."""
    weight: Any = model.net.get_submodule("block.linear").get_parameter("weight")
    weight.to_local().detach().mul_(factor)


def fails_everywhere(_: int) -> tuple[int, Tensor | None]:
    """Raise within a fold, because of a number, and then go on."""
    model = network("blocks")
    shard(model, "layers, root")
    model(batch(0)[0]).sum().backward()
    with_weights(model, 1e308)
    with counted() as counts, pytest.raises(ValueError, match="infinite"):
        model(batch(0)[0])
    with_weights(model, 1e-308)
    if not hasattr(model, "reset_iter_state"):  # torch 2.12
        return counts["gathers"], None
    model.reset_iter_state()  # type: ignore[operator]
    return counts["gathers"], model(batch(0)[0]).detach()


def test_goes_on_after_an_error(ranks: Ranks) -> None:
    expected = network("blocks")(batch(0)[0]).detach()
    for gathers, out in ranks.run(2, fails_everywhere, 0):
        assert gathers == 3  # the network is not run once more in steps
        assert out is None or torch.allclose(out, expected, rtol=1e-12, atol=1e-13)


def fails_on_one(rank: int) -> None:
    model = network("blocks")
    shard(model, "layers, root")
    if dist.get_rank() == rank:
        x = torch.full((8, 5, 6), 1e308, dtype=torch.float64)  # its products with the weights are infinite
    else:
        x, _ = batch(0)
    model(x).sum().backward()


def test_an_error_on_one_process_ends_the_others(ranks: Ranks) -> None:
    with pytest.raises(RankError) as found:
        ranks.run(2, fails_on_one, 1, collective=2)
    assert "LIF: x holds NaN or infinite values" in found.value.errors[1]
    assert 0 in found.value.errors


def leaves_its_range(where: str) -> Tensor:
    """Train with steps so long that the time constants leave their range."""
    model = st.SpikingNet(Blocks().double(), warn_silent=False)
    shard(model, where)
    return leaving(model)


def leaving(model: st.SpikingNet) -> Tensor:
    tau = dict(model.named_parameters())["net.block.neurons.tau"]
    optimizer = torch.optim.SGD([tau], lr=1e3)
    for seed in range(4):
        x, target = batch(seed)
        optimizer.zero_grad()
        (model(x) - target).pow(2).sum().backward()
        optimizer.step()
    return torch.cat([whole(weight).flatten() for weight in model.state_dict().values()])


def seeded(function: Callable[..., Any], *args: Any) -> Any:
    torch.manual_seed(0)
    return function(*args)


def test_parameters_that_leave_their_range_are_put_back(ranks: Ranks) -> None:
    expected = seeded(lambda: leaving(st.SpikingNet(Blocks().double(), warn_silent=False)))
    assert (expected == 2.0**-20).any()
    for found in ranks.run(2, seeded, leaves_its_range, "layers"):
        assert_close(found, expected, rtol=1e-12, atol=1e-13)


class Rewriting(nn.Sequential):
    """A network that writes on the input of a layer, but only from its second sequence on."""

    again = False

    def forward(self, input: Tensor) -> Any:
        current = self[0](input)
        spikes = self[1](current)
        if self.again:
            current.mul_(2.0)
        return self[3](self[2](spikes))


def fails_to_fold(_: int) -> str:
    model = st.SpikingNet(Rewriting(*plain()).double(), warn_silent=False)
    shard(model, "layers")
    model(batch(0)[0])
    versions = model._policy._versions
    with mock.patch.object(policy.FoldPolicy, "known", return_value=versions[0]):  # the change is not noticed
        model.net.again = True  # type: ignore[assignment]
        with pytest.raises(ValueError, match="Pass mode='step'") as found:
            model(batch(0)[0])
    return str(found.value)


def test_a_fold_that_ends_after_its_proof(ranks: Ranks) -> None:
    for text in ranks.run(2, fails_to_fold, 0):
        assert text.startswith("SpikingNet: Rewriting writes in place on the input of a LIF layer")
