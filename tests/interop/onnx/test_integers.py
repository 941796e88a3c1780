"""Whole numbers as files of ONNX: every bit of IntegerModel.run, for any number of steps and samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from spikingtorch import FixedPointLIF, SpikingNet
from spikingtorch.interop.onnx import ONNXError
from spikingtorch.quantize import IntegerModel, onnx_graph, to_integer
from spikingtorch.quantize.neurons import Neuron, advance
from spikingtorch.quantize.nodes import Linear
from tests.folded_layer import Coded
from tests.interop.onnx.running import opened, ran
from tests.quantize.float_networks import on_grid, random_model
from tests.quantize.test_c import one_neuron


def rest(session: Any, N: int) -> dict[str, Any]:
    states = [each for each in session.get_inputs() if each.name != "x"]
    return {each.name.removeprefix("state."): np.zeros((N, *each.shape[1:]), np.int64) for each in states}


def check(integer: IntegerModel, folder: Path) -> None:
    (low, high), rng, wrong = integer.input_range, np.random.default_rng(0), list[Any]()
    for state in (True, False):
        integer.to_onnx(folder / "net.onnx", state=state)
        session = opened(folder / "net.onnx")
        for N, T in [(N, T) for N in (1, 5) for T in (1, 7, 30)]:
            x = rng.integers(low, high, (N, T, *integer.input_shape), endpoint=True)
            x[-1] = np.where(rng.random(x[0].shape) < 0.5, low, high)
            want, outs = integer.run(x).out, [ran(session, rest(session, N), x=x)[0]["out"]]
            if state and T > 1:
                first, after = ran(session, rest(session, N), x=x[:, :3])
                outs.append(np.concatenate([first["out"], ran(session, after, x=x[:, 3:])[0]["out"]], 1))
            wrong += [(state, N, T) for out in outs if out.dtype != np.int64 or not np.array_equal(out, want)]
    assert not wrong


# of all neurons, resets, roundings, recurrences, convolutions and pools; those of odd seeds have neurons of chips
@pytest.mark.parametrize("seeds", [range(16), pytest.param(range(100, 250), marks=pytest.mark.long)])
def test_random_networks_have_every_bit_of_run(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        integer, _ = random_model(seed)
        if all(node.overflow != "error" for node in integer.nodes if isinstance(node, Neuron)):
            check(integer, tmp_path)


def block() -> nn.Module:
    """Return neurons for a sum of branches in different units."""
    parts = {"fc": on_grid(nn.Linear(4, 4), 5), "neurons": FixedPointLIF(threshold=0.5)}
    return Coded(lambda net, x, init: net.neurons(net.fc(x) + x, init), **parts)


def network(*layers: nn.Module, shape: tuple[int, ...], span: tuple[int, int]) -> IntegerModel:
    x = torch.randint(span[0], span[1] + 1, (2, 3, *shape)).float()
    return to_integer(SpikingNet(nn.Sequential(*layers), mode="step", warn_silent=False), x, span)


def images() -> IntegerModel:
    first = on_grid(nn.Conv2d(2, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), 4)
    back = on_grid(nn.Conv2d(6, 6, 3, padding=1, groups=3, bias=False), 4)
    neurons, last = FixedPointLIF(threshold=0.5, recurrent=back), on_grid(nn.Conv2d(6, 2, 2), 4)
    return network(first, neurons, nn.AvgPool2d((2, 4), (1, 2)), last, shape=(2, 5, 6), span=(0, 1))


def linear(weight: list[list[int]], span: tuple[int, int]) -> IntegerModel:
    return IntegerModel(0, (2,), span, (Linear("w", np.array(weight), np.array([1]), 0),))


NEVER: dict[str, Any] = {"overflow": "error", "kind": "lif", "decay": (1, 2), "low": -134, "high": 133, "reset": "none"}
CASES: dict[str, Callable[[], IntegerModel]] = {
    "branches": lambda: network(block(), block(), on_grid(nn.Linear(4, 2), 3), shape=(4,), span=(-4, 3)),
    "images": images,
    "8 bits": lambda: network(on_grid(nn.Linear(70, 3), 8), FixedPointLIF(), shape=(70,), span=(0, 255)),
    "9 bits": lambda: linear([[-129, 127]], (0, 1)),
    "9 bits above": lambda: linear([[128, -1]], (0, 1)),
    "31 bits": lambda: linear([[1 << 15, -3]], (-(1 << 15), 1 << 15)),
    "more than 31 bits": lambda: linear([[-(1 << 29), 5]], (-(1 << 29), 1 << 29)),
    "wraps": lambda: one_neuron(overflow="wrap", threshold=20, v_reset=-7, reset="value"),
    "rounded to nothing": lambda: one_neuron(threshold=0, strict=False, fraction_bits=-31, rounding="half_up"),
    "an overflow that never is": lambda: one_neuron(**NEVER),
}


@pytest.mark.parametrize("case", CASES)
def test_limits_have_every_bit_of_run(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    check(CASES[case](), tmp_path)


def test_a_file_holds_operators_of_integers(tmp_path: Path) -> None:
    products = []
    for case in ("images", "8 bits"):
        CASES[case]().to_onnx(tmp_path / f"{case}.onnx")
        model = onnx.load(tmp_path / f"{case}.onnx")
        told = json.loads(model.metadata_props[0].value)
        assert (told["axes"], told["input_range"]) == ("N, T", [*CASES[case]().input_range])
        (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
        operators = {node.op_type for node in scan.attribute[0].g.node}
        products.append(operators & {"Conv", "Gemm", "MatMul", "MatMulInteger", "Scan"})
    # some processors add products of inputs of 8 bits in 16
    assert products == [{"MatMulInteger"}, {"MatMul"}]
    session = opened(tmp_path / "images.onnx")
    assert ran(session, rest(session, 0), x=np.zeros((0, 3, 2, 5, 6), np.int64))[0]["out"].shape[:2] == (0, 3)
    with pytest.raises(Exception, match="Scan"):
        ran(session, rest(session, 3), x=np.zeros((3, 0, 2, 5, 6), np.int64))


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(message: str, x: Any = None, **changed: Any) -> None:
        with pytest.raises(ONNXError, match=message):
            one_neuron(**changed).to_onnx(tmp_path / "net.onnx", x)

    refuses("layer 'n': its overflow is 'error', .* it stays within -128 to 127; take", overflow="error")
    refuses("layer 'n': its overflow is 'error'", **(NEVER | {"high": 132}))
    refuses("a number loses 63 bits by rounding, and 62 are the most", fraction_bits=-63)
    refuses(r"x has the shape \(0, 3, 2\), and shows nothing", np.zeros((0, 3, 2), np.int64))
    monkeypatch.setattr(onnx_graph, "advance", lambda node, state, x: advance(node, state._replace(v=state.v + 1), x))
    refuses("layer 'n': a membrane before .* is 1 at step 0, sample 0, .* and 0 in run", np.zeros((1, 2, 2), np.int64))
    assert not [*tmp_path.iterdir()]
