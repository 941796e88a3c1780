"""Networks of tutorials and examples, as the benchmarks time them: readouts and gradients are those of the library."""

from typing import Any

import pytest
import torch

from benchmarks import check, tutorials
from benchmarks.suite import OURS
from spikingtorch import SpikingNet, record


@pytest.mark.parametrize("contestant", [tutorials.BY_LAYER, OURS])
@pytest.mark.parametrize("model", tutorials.NETWORKS)
def test_all_forms_of_a_network_are_one(model: str, contestant: str) -> None:
    check.check(contestant, model, "fused")


@pytest.mark.parametrize("model", tutorials.NETWORKS)
def test_ours_folds_and_no_layer_is_silent(model: str) -> None:
    _, net, time = tutorials.made(model, OURS)
    assert isinstance(net, SpikingNet)
    T, B, _ = tutorials.CHECKED
    spikes = torch.rand(T, B, *tutorials.NETWORKS[model].shape) < (tutorials.NETWORKS[model].rate or 0.5)
    with torch.no_grad():
        recorded = record(net, spikes.float().movedim(0, time))
    assert net.explain().mode == "fold"
    assert recorded
    for name, records in recorded.items():
        out = records["spikes"]
        if torch.equal(out, out.round()):  # others give out their membranes
            rate = float(out.count_nonzero() / out.numel())
            assert 0.005 < rate < 0.9, f"{name} spikes in {rate:.1%} of the steps"


def test_another_network_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tutorials.made

    def other(model: str, contestant: str) -> Any:
        net, run, time = made(model, contestant)
        if contestant == OURS:
            with torch.no_grad():
                net.get_parameter("0.bias").add_(0.1)
        return net, run, time

    monkeypatch.setattr(tutorials, "made", other)
    with pytest.raises(ValueError, match="output or gradient off by"):
        check.check(OURS, "snnTorch, tutorial 6", "fused")
