"""The code of the pages about several processes, and of the example, on several processes."""

import contextlib
import io
import re
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

import spikingtorch as st
from examples import distributed
from tests.distributed.ranks import Ranks
from tests.folded_layer import Coded

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


def net() -> nn.Module:
    """Return the network that pages begin with."""
    parts = {"l1": nn.Linear(20, 50), "l2": nn.Linear(50, 10), "sl1": st.LIF(), "sl2": st.LIF()}
    return Coded(lambda net, x, init: net.sl2(net.l2(net.sl1(net.l1(x), init)), init), **parts)


def run_page(name: str, **given: Any) -> dict[str, Any]:
    """Run the blocks of a page one after the other, and return their variables."""
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module|SpikingNet: layer")
    found: dict[str, Any] = dict(given)
    for block in re.findall(r"```python\n(.*?)```", (HOWTO / name).read_text(), re.DOTALL):
        exec(block, found)
    return found


def split() -> tuple[list[int], str]:
    found = run_page("split_neurons.md")
    model = found["model"]
    model(torch.rand(3, 5, 20)).sum().backward()
    return [*found["hidden"].tau.shape], model.explain().mode


def test_the_page_about_split_neurons(ranks: Ranks) -> None:
    assert ranks.run(2, split) == [([64], "fold")] * 2


def processes() -> tuple[str, bool]:
    with mock.patch("torch.distributed.init_process_group"):  # they have one
        model = run_page("processes.md", SpikingNet=st.SpikingNet, Net=net)["model"]
    model(torch.rand(3, 5, 20)).sum().backward()
    return model.explain().mode, isinstance(model.net.l1.weight, DTensor)


def test_the_page_about_processes(ranks: Ranks) -> None:
    assert ranks.run(2, processes) == [("fold", True)] * 2


def shared() -> tuple[float, dict[str, float], float, list[int]]:
    found = run_page("shared_batches.md")
    weights = sum(float(parameter.detach().sum()) for parameter in found["model"].parameters())
    return weights, found["rates"], found["table"].acs, [len(spikes) for spikes in found["parts"]]


def test_the_page_about_shared_batches(ranks: Ranks) -> None:
    one, other = ranks.run(2, shared)
    assert one == other
    assert one[-1] == [2, 2]


def example(*arguments: str) -> str:
    """Return what the example prints in processes that have joined already."""
    device, said = contextlib.nullcontext(torch.device("cpu")), io.StringIO()
    argv, joined = mock.patch.object(sys, "argv", ["", *arguments]), mock.Mock(return_value=device)
    with argv, mock.patch.object(distributed, "together", joined), contextlib.redirect_stdout(said):
        distributed.main()
    return said.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["--ddp", "--fsdp"])
def test_the_example_has_the_gradient_of_one_process_and_goes_on(ranks: Ranks, tmp_path: Path, kind: str) -> None:
    ends = []
    for processes, batches in ((1, "3"), (2, "6"), (1, "9"), (1, "9")):
        said = ranks.run(processes, example, kind, "--batches", batches, "--out", str(tmp_path))[0]
        assert f"gradient of {processes} processes: that of one" in said
        assert "test accuracy" in said
        ends += re.findall(r"^(\d batches: .*) at most", said, re.MULTILINE)
    assert [end[:9] for end in ends] == ["3 batches"] * 3 + ["0 batches"]
    assert "sequences a second" in ends[0]
    assert "no batch was left" in ends[3]
