"""Whole numbers in NIR: integer arrays, equal outputs, and what is refused or noted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import FixedPointCubaLIF, FixedPointIF, FixedPointLIF, SpikingNet
from spikingtorch import functional as F
from spikingtorch.quantize import IntegerError, IntegerModel, to_integer
from tests.drawn import trains
from tests.quantize.float_networks import on_grid

nir = pytest.importorskip("nir")


def network(*layers: nn.Module, shape: tuple[int, ...] = (6,)) -> tuple[IntegerModel, Tensor]:
    x = trains(3, 30, *shape, rate=0.5)
    return to_integer(SpikingNet(nn.Sequential(*layers), mode="step", warn_silent=False), x), x


def cells(**options: Any) -> FixedPointIF:
    numbers: dict[str, Any] = {"fraction_bits": 8, "membrane_bits": 20, **options}
    return FixedPointIF(**numbers)


def images() -> list[nn.Module]:
    torch.manual_seed(0)
    conv = on_grid(nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), 4)
    back = on_grid(nn.Conv2d(4, 4, 3, padding=1, bias=False), 4)
    return [conv, nn.AvgPool2d(2), cells(recurrent=back), nn.Flatten(), on_grid(nn.Linear(16, 3), 4), cells()]


@pytest.mark.parametrize("strict", [False, True])
def test_a_file_has_integers_and_the_same_outputs(strict: bool, tmp_path: Path) -> None:
    from spikingtorch.interop.nir import from_nir, read

    torch.manual_seed(0)
    more: dict[str, Any] = {"surrogate": F.Strict(F.Sigmoid())} if strict else {}
    layers = [on_grid(nn.Linear(6, 9), 8), cells(**more), on_grid(nn.Linear(9, 4), 4), cells(reset=F.to_value(-0.25))]
    integer, x = network(*layers)
    assert integer.run(x).out.any()
    nir.write(tmp_path / "net.nir", integer.to_nir(x))
    graph = read(tmp_path / "net.nir")
    weights: list[Any] = [getattr(node, "weight", None) for node in graph.nodes.values()]
    assert [each.dtype for each in weights if each is not None] == [np.int8, np.int8]
    again = from_nir(graph, dt=1e-4, dtype=torch.float64)
    again.mode = "step"
    assert (again(x.double()).detach().numpy() == integer.run(x).out).all()
    told = json.loads(str(graph.metadata["spikingtorch.quantize"]))
    assert told["neurons"]["1"]["high"] == 2**19 - 1
    assert told["lost"] == {}


def test_convolutions_pools_and_recurrence_have_the_same_outputs() -> None:
    integer, x = network(*images(), shape=(2, 8, 8))
    assert integer.run(x).out.any()
    graph = integer.to_nir(x)
    kinds = sorted(type(node).__name__ for node in graph.nodes.values())
    assert kinds == ["Affine", "Conv2d", "Conv2d", "Flatten", "IF", "IF", "Input", "Output", "SumPool2d"]


REFUSED: dict[str, tuple[str, nn.Module]] = {
    "subtraction": ("'1': NIR has no word for a reset by subtraction", cells(reset=F.by_subtraction)),
    "decay": ("'1': NIR has no word for a decay that is rounded", FixedPointLIF(fraction_bits=8)),
    "current": ("'1': NIR has no word for a decay that is rounded", FixedPointCubaLIF(fraction_bits=8)),
    "rounding": (r"'1': NIR has no word for a current that is rounded from 2\*\*-6 to", cells(fraction_bits=2)),
    "register": ("the graph gives .* other outputs on x", cells(membrane_bits=10)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_nir_cannot_say_is_refused_because_outputs_differ(case: str) -> None:
    from spikingtorch.interop.nir.reference import simulate

    words, layer = REFUSED[case]
    torch.manual_seed(0)
    integer, x = network(on_grid(nn.Linear(6, 200), 8), layer)
    with pytest.raises(IntegerError, match=words) as caught:
        integer.to_nir(x)
    assert caught.value.rule == "nir"
    graph = integer.to_nir(x, approximate=True)
    told = json.loads(str(graph.metadata["spikingtorch.quantize"]))
    assert list(told["lost"]) == ([] if case == "register" else ["1"])
    time_first = x.transpose(0, 1).double().numpy()
    found = simulate(graph, time_first, dt=1e-4, discretisation="exponential").out["output"].swapaxes(0, 1)
    wrong = found != integer.run(x).out
    assert 0 < wrong.mean() < 0.5
