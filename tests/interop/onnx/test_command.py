"""``python -m spikingtorch onnx MODULE:FUNCTION``: a file from a function and a checkpoint, and errors in words."""

import sys
from collections.abc import Callable
from typing import Any

import onnxruntime
import torch

from spikingtorch.cli.onnx import main

MODULE = """
from torch import nn, rand
from spikingtorch import LIF, SpikingNet

net = SpikingNet(nn.Sequential(nn.Linear(6, 4), LIF(threshold=5.0)), batch_first=False)
def make():
    return net
def example():
    return make(), rand(3, 2, 6)
def odd(): return make(), [], 3
"""
ERRORS = [
    (["of_test:odd"], "odd() returned (SpikingNet, list, int), expected a SpikingNet, or (SpikingNet, tensor)"),
    (["of_test:make"], "make() returned no input; pass --shape"),
    (["of_test:example", "--shape", "6"], "example() returned an input, whose shape it has; leave out --shape"),
    (["of_test:make", "--shape", "6", "--checkpoint", "other.pt"], "other.pt does not fit to the network"),
    (["of_test:make", "--shape", "7"], "mat1 and mat2 shapes cannot be multiplied"),
    (["of_test:make", "--shape", "6", "--out", "no/net.onnx"], "no/net.onnx"),
]


def test_a_file_and_errors(command: Callable[..., Any]) -> None:
    exec(MODULE, names := dict[str, Any]())
    weights = names["net"].state_dict() | {"net.0.weight": torch.full((4, 6), 2.0), "net.0.bias": torch.zeros(4)}
    torch.save({"state_dict": weights}, "run.pt")
    torch.save({"weight": torch.zeros(3)}, "other.pt")
    wanted = ["of_test:make", "--shape", "6", "--checkpoint", "run.pt", "--no-state", "--no-nan"]
    code, said = command(main, *wanted, of_test=MODULE)
    assert code == 0
    assert all(each in said for each in ("x T, N, 6", "layers: 1 LIF", "spikes equal in onnxruntime")), said
    ones, run = torch.ones(2, 3, 6), onnxruntime.InferenceSession("net.onnx").run
    assert run(None, {"x": ones.numpy()})[0].sum() == sys.modules["of_test"].net(ones).sum() == 24
    assert not torch.tensor(run(None, {"x": (ones * torch.nan).numpy()})[0]).isnan().any()
    for arguments, words in ERRORS:
        code, said = command(main, *arguments)
        assert code == 2
        assert words in said
