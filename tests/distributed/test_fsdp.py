"""Networks sharded by ``fully_shard``: they fold, and train as in one process."""

from typing import Any

import pytest
import torch
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.testing import assert_close

from tests.distributed.nets import NETS, Trained, network, shard, train, train_halves
from tests.distributed.ranks import Ranks

WHERE = ("root", "layers", "layers, root", "net")


def trained(name: str, where: str, options: dict[str, Any], parts: int = 2, **form: Any) -> Trained:
    """Train a sharded network, as one of several processes."""
    model = network(name)
    shard(model, where, **options)
    return train(model, parts, **form)


def halves(name: str, wheres: tuple[str, ...], options: dict[str, Any]) -> list[Trained]:
    return [trained(name, where, options) for where in wheres]


def assert_as_one(found: list[Trained], expected: Trained) -> None:
    """Check that the processes have the outputs, gradients and weights of one process."""
    for out, *mine in zip(expected.outputs, *(each.outputs for each in found), strict=True):
        assert_close(torch.cat(mine), out, rtol=1e-12, atol=1e-13)
    for each in found:
        assert each.mode[0] == "fold", each.mode[1]
        assert each.gradients.keys() == expected.gradients.keys()
        for key, value in expected.gradients.items():
            assert_close(each.gradients[key], value, rtol=1e-12, atol=1e-13)
        for key, value in expected.weights.items():
            assert_close(each.weights[key], value, rtol=1e-12, atol=1e-13)
        assert each.norm == pytest.approx(expected.norm, rel=1e-12)


@pytest.mark.sampled
@pytest.mark.parametrize("reshard", [True, False])
@pytest.mark.parametrize("name", [name for name in NETS if name != "normed"])
def test_trains_as_one_process(ranks: Ranks, name: str, reshard: bool) -> None:
    expected = train(network(name))
    assert expected.outputs[0].sum() > 0
    for found in zip(*ranks.run(2, halves, name, WHERE, {"reshard_after_forward": reshard}), strict=True):
        assert_as_one([*found], expected)


def settings(name: str) -> list[Trained]:
    """Train with what else FSDP offers: accumulated gradients, their norm clipped, offload to the CPU's memory."""
    offload = {"offload_policy": CPUOffloadPolicy(pin_memory=False)}
    return [
        trained(name, "layers, root", {}, accumulate=2),
        trained(name, "layers", {}, clip=0.01),
        trained(name, "layers, root", offload),
    ]


def test_accumulates_clips_and_offloads(ranks: Ranks) -> None:
    accumulated, clipped, offloaded = zip(*ranks.run(2, settings, "learning"), strict=True)
    assert_as_one([*accumulated], train(network("learning"), accumulate=2))
    assert_as_one([*clipped], train(network("learning"), clip=0.01))
    assert_as_one([*offloaded], train(network("learning")))


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
