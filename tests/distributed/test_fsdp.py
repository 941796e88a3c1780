"""Networks in parts on several processes: they fold, and train as in one process.

By ``fully_shard``, also with records and with chunks that run again, in the wrapper of FSDP, and by ``pipelining``.
"""

import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import spikingtorch as st
from tests.distributed.nets import NETS, Trained, batch, network, plain, shard, train, train_halves, whole
from tests.distributed.ranks import Ranks

WHERE = ("root", "layers", "layers, root", "net")


def trained(name: str, where: str, options: dict[str, Any], parts: int = 2, mode: str = "auto", **form: Any) -> Trained:
    """Train a sharded network, as one of several processes."""
    model = network(name, mode=mode)
    shard(model, where, **options)
    return train(model, parts, **form)


def halves(name: str, wheres: tuple[str, ...], options: dict[str, Any]) -> list[Trained]:
    return [trained(name, where, options) for where in wheres]


def assert_as_one(found: list[Trained], expected: Trained, mode: str = "fold") -> None:
    """Check that the processes have the outputs, gradients and weights of one process."""
    for out, *mine in zip(expected.outputs, *(each.outputs for each in found), strict=True):
        assert_close(torch.cat(mine), out, rtol=1e-12, atol=1e-13)
    for each in found:
        assert each.mode[0] == mode, each.mode[1]
        assert each.gradients.keys() == expected.gradients.keys()
        for key, value in expected.gradients.items():
            assert_close(each.gradients[key], value, rtol=1e-12, atol=1e-13)
        for key, value in expected.weights.items():
            assert_close(each.weights[key], value, rtol=1e-12, atol=1e-13)
        assert each.norm == pytest.approx(expected.norm, rel=1e-12)


@pytest.mark.sampled
@pytest.mark.parametrize("reshard", [True, False])
@pytest.mark.parametrize("name", [name for name in NETS if name not in ("normed", "leaving")])
def test_trains_as_one_process(ranks: Ranks, name: str, reshard: bool) -> None:
    expected = train(network(name))
    assert expected.outputs[0].sum() > 0
    for found in zip(*ranks.run(2, halves, name, WHERE, {"reshard_after_forward": reshard}), strict=True):
        assert_as_one([*found], expected)


def settings(name: str) -> list[Trained]:
    """Train with what else FSDP offers: accumulated gradients, their norm clipped, offload to the CPU's memory.

    Then in other modes, and with thresholds that leave their range.
    """
    offload = {"offload_policy": CPUOffloadPolicy(pin_memory=False)}
    return [
        trained(name, "layers, root", {}, accumulate=2),
        trained(name, "layers", {}, clip=0.01),
        trained(name, "layers, root", offload),
        trained(name, "layers", {}, mode="fold"),
        *[trained(name, where, {}, mode="step") for where in ("layers", "layers, root", "net")],
        trained("leaving", "layers", {}),
    ]


def test_accumulates_clips_offloads_steps_and_stays_within_limits(ranks: Ranks) -> None:
    accumulated, clipped, offloaded, folded, *stepped, left = zip(*ranks.run(2, settings, "learning"), strict=True)
    assert_as_one([*accumulated], train(network("learning"), accumulate=2))
    assert_as_one([*clipped], train(network("learning"), clip=0.01))
    expected = train(network("learning"))
    for each in (offloaded, folded):
        assert_as_one([*each], expected)
    for each in stepped:
        assert_as_one([*each], expected, "step")
    leaving = train(network("leaving"))
    assert (leaving.weights["net.1.v0"] < 0.0).any()
    assert_as_one([*left], leaving)


def test_four_processes(ranks: Ranks) -> None:
    found = ranks.run(4, trained, "blocks", "layers, root", {}, 4)
    assert_as_one(found, train(network("blocks")))


def test_batch_norm_with_the_statistics_of_each_process(ranks: Ranks) -> None:
    expected = train_halves(network("normed"))
    for found in zip(*ranks.run(2, halves, "normed", WHERE, {}), strict=True):
        for rank, each in enumerate(found):
            assert each.mode[0] == "fold", each.mode[1]
            assert "batch norm takes the statistics of each step" in each.mode[1]
            assert_close(each.outputs, expected.outputs[rank::2], rtol=1e-12, atol=1e-13)
            assert_close(each.weights, expected.weights, rtol=1e-12, atol=1e-13)


def in_bfloat16(name: str, where: str) -> Trained:
    model = network(name, torch.float32)
    shard(model, where, mp_policy=MixedPrecisionPolicy(torch.bfloat16, torch.float32))
    return train(model, 2, dtype=torch.float32)


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["plain", "blocks", "learning", "recurrent"])
def test_mixed_precision_has_the_bits_of_one_process_that_casts(ranks: Ranks, name: str) -> None:
    expected = train_halves(network(name, torch.float32), torch.bfloat16, dtype=torch.float32)
    for where in ("root", "layers", "layers, root", "net"):
        for rank, found in enumerate(ranks.run(2, in_bfloat16, name, where)):
            assert found.mode[0] == "fold", found.mode[1]
            assert found.outputs[0].dtype == torch.bfloat16
            assert_close(found.outputs, expected.outputs[rank::2], rtol=0.0, atol=0.0)
            assert_close(found.gradients, expected.gradients, rtol=0.0, atol=0.0)
            assert_close(found.weights, expected.weights, rtol=0.0, atol=0.0)


# --- records, and chunks that run again ---------------------------------------------------------------------------


def of_records(where: str, with_out: bool) -> dict[str, Tensor]:
    """Return the gradient of a loss of records, on this process's samples; without shards, on all of them."""
    model = network("blocks")
    x = batch(0)[0]
    if where:
        shard(model, where)
        x = x.chunk(dist.get_world_size())[dist.get_rank()]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # the output of a sharded net may be a view
        recording = st.record(model, x, ("spikes", "v"))
    loss = recording["block.neurons"]["spikes"].sum() + recording["block.neurons"]["v"].square().sum()
    (loss + recording.out.square().sum() if with_out else loss).backward()
    return {name: whole(weight.grad) for name, weight in model.named_parameters() if weight.grad is not None}


def losses_of_records() -> None:
    """Compare the gradients of two processes, which take the mean, with those of one."""
    for with_out in (False, True):
        expected = of_records("", with_out)
        for where in ("root", "net", "layers, root"):
            found = of_records(where, with_out)
            assert found.keys() >= expected.keys(), where
            for name, each in found.items():
                other = expected.get(name, torch.zeros_like(each))
                assert_close(2 * each, other, rtol=1e-12, atol=1e-13, msg=f"{name} of {where}, {with_out}")


def test_losses_of_records(ranks: Ranks) -> None:
    ranks.run(2, losses_of_records)


def of_chunks(where: str, mode: str) -> list[list[Tensor]]:
    """Return outputs and gradients without chunks that run again, and with them."""
    found = []
    for recompute in (False, True):
        model = network("learning", mode=mode, time_chunk=2, recompute=recompute)
        called: Any = model
        if where == "ddp":
            called = DistributedDataParallel(model)
        else:
            shard(model, where)
        called(batch(dist.get_rank())[0]).pow(2).sum().backward()
        out = called(batch(dist.get_rank() + 2)[0])
        out.pow(2).sum().backward()
        weights = [weight.grad for weight in model.parameters()]
        assert all(weight is not None and bool(whole(weight).any()) for weight in weights)
        found.append([out.detach(), *[whole(weight) for weight in weights if weight is not None]])
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("where", ["ddp", "layers", "layers, root"])
def test_gradients_are_those_of_chunks_that_are_kept(ranks: Ranks, where: str, mode: str) -> None:
    for kept, again in ranks.run(2, of_chunks, where, mode):
        assert_close(again, kept, rtol=1e-12, atol=1e-13)


# --- pipelining ---------------------------------------------------------------------------------------------------


def part(of: int) -> st.SpikingNet:
    """Return the first or the second half of a network; each takes and returns all steps of some samples."""
    torch.manual_seed(0)
    layers = plain().double()
    return st.SpikingNet(layers[2 * of : 2 * of + 2], warn_silent=False)


def loss(out: Tensor, target: Tensor) -> Tensor:
    return (out - target).pow(2).mean()


def staged(schedule: Any) -> tuple[list[Tensor], str]:
    """Return the gradients of a batch that runs in four parts, as one of two stages."""
    rank = dist.get_rank()
    model, (x, target) = part(rank), batch(0)
    stage = PipelineStage(model, rank, 2, torch.device("cpu"))
    runs = schedule(stage, n_microbatches=4, loss_fn=loss)
    for _ in range(2):
        model.zero_grad()
        runs.step(*([x] if rank == 0 else []), **({} if rank == 0 else {"target": target}))
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return gradients, model.explain().mode


def test_a_pipeline_trains_as_one_process(ranks: Ranks) -> None:
    x, target = batch(0)
    first, second = part(0), part(1)
    loss(second(first(x)), target).backward()
    for schedule in (ScheduleGPipe, Schedule1F1B):
        for each, (gradients, mode) in zip((first, second), ranks.run(2, staged, schedule), strict=True):
            assert mode == "fold"
            assert_close(gradients, [weight.grad for weight in each.parameters()], rtol=1e-12, atol=1e-13)
