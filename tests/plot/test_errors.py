"""What cannot be drawn: each error says what came, what is expected and how to fix it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.plot import animation, overview_of, phase_plane, raster, rates, surrogates, traces, weights

ONES = torch.ones(2, 5, 4)
NAN = torch.full((1, 2, 3), torch.nan)
RECORDING = {"a": {"spikes": ONES, "v": ONES}}
# what is drawn without an error
RIGHT: dict[Callable[..., Any], dict[str, Any]] = {
    raster: {"spikes": ONES},
    traces: {"v": ONES[:1]},
    rates: {"spikes": ONES},
    surrogates: {"surrogate": F.Sigmoid()},
    weights: {"weight": torch.ones(3, 3)},
    phase_plane: {"neuron": st.ALIF(), "x": torch.ones(5)},
    animation: {"spikes": torch.ones(1, 2, 3, 3), "path": "film.gif"},
    overview_of: {"layers": RECORDING, "out": ONES, "x": ONES},
}
WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (raster, {"spikes": ONES[0]}, r"spikes has shape \(5, 4\), expected \(N, T, \*neurons\).*spikes\[None\]"),
    (raster, {"spikes": ONES[:0]}, "no samples"),
    (raster, {"spikes": ONES[:, :0]}, "no steps"),
    (raster, {"spikes": torch.ones(1, 5, 2, 0)}, "no neurons"),
    (raster, {"spikes": {"out": ONES[0]}}, r"spikes\['out'\] has shape"),
    (raster, {"spikes": {}}, "empty mapping"),
    (raster, {"spikes": NAN}, r"NaN or infinite values \(6 of 6\)"),
    (raster, {"sample": 2}, "sample=2, expected 0 to 1: there are 2 samples in spikes"),
    (raster, {"most": 0}, "most=0, expected a whole number, 1 or more"),
    (raster, {"dt": 0.0}, "dt=0.0, expected the length of a step"),
    (raster, {"labels": [1, 2]}, "labels has 2 entries, expected 4: one for each neuron"),
    (raster, {"spikes": {"a": ONES}, "labels": [1] * 4}, "labels are those of the neurons of one recording"),
    (traces, {"v": ONES[0]}, r"v has shape \(5, 4\)"),
    (traces, {"v": torch.full((1, 5, 4), torch.inf)}, "v holds NaN or infinite"),
    (traces, {"spikes": ONES[:1, :, :3]}, r"spikes has shape \(1, 5, 3\), expected that of v, \(1, 5, 4\)"),
    (traces, {"threshold": torch.ones(3)}, r"threshold of shape \(3,\) does not broadcast.*has shape \(4,\)"),
    (traces, {"neurons": 0}, "neurons=0, expected a whole number, 1 or more"),
    (traces, {"neurons": [4]}, "neurons=4, expected 0 to 3: there are 4 neurons in v"),
    (traces, {"sample": 1}, "sample=1, expected 0 to 0"),
    (traces, {"dt": -1.0}, "dt=-1.0"),
    (rates, {"spikes": ONES[:0]}, "no samples"),
    (rates, {"spikes": {"a": NAN}}, r"spikes\['a'\] holds NaN"),
    (rates, {"bins": 0}, "bins=0"),
    (surrogates, {"surrogate": []}, "an empty sequence"),
    (surrogates, {"surrogate": F.Sigmoid(torch.ones(3))}, "Sigmoid has a parameter for each neuron"),
    (surrogates, {"width": 0.0}, "width=0.0, expected a positive number"),
    (weights, {"weight": torch.ones(3), "kind": "image"}, r"kind='image' needs 2 axes, and weight has shape \(3,\)"),
    (weights, {"kind": "kernels"}, "needs 4 axes"),
    (weights, {"kind": "violin"}, "kind='violin', expected 'histogram', 'image' or 'kernels'"),
    (weights, {"weight": torch.ones(0, 3)}, "nothing in it to draw"),
    (weights, {"weight": NAN}, "weight holds NaN"),
    (weights, {"weight": torch.ones(2, 1, 3, 3), "most": 0}, "most=0"),
    (phase_plane, {"neuron": st.LIF()}, r"LIFState has the fields \['v'\], expected two states or more"),
    (phase_plane, {"neuron": st.ALIF(refractory=2)}, "neither recurrent= nor refractory="),
    (phase_plane, {"neuron": st.ALIF(threshold=torch.ones(3))}, "for several neurons, expected those of one"),
    (phase_plane, {"x": torch.ones(5, 2)}, r"x has shape \(5, 2\), expected \(T,\)"),
    (phase_plane, {"x": torch.ones(0)}, r"x has shape \(0,\)"),
    (phase_plane, {"states": ("v", "w")}, r"expected two of \('v', 'a'\)"),
    (phase_plane, {"x": torch.full((5,), torch.nan)}, "x holds NaN"),
    (animation, {"spikes": NAN}, r"spikes has shape \(1, 2, 3\), expected \(N, T, C, H, W\) or \(N, T, H, W\)"),
    (animation, {"spikes": torch.ones(0, 2, 3, 3)}, "no samples"),
    (animation, {"path": "film.mp4"}, "path='film.mp4', expected the name of a GIF"),
    (animation, {"fps": 0}, "fps=0"),
    (animation, {"sample": 1}, "sample=1"),
    (animation, {"spikes": torch.full((1, 2, 3, 3), torch.inf)}, "NaN or infinite"),
    (overview_of, {"targets": torch.zeros(3)}, r"targets has shape \(3,\), expected \(2,\)"),
    (overview_of, {"targets": torch.tensor([0, 4])}, "targets holds 4, expected classes from 0 to 3: .* returns 4"),
    (overview_of, {"targets": torch.tensor([0, -1])}, "targets holds -1, expected classes from 0 to 3"),
    (overview_of, {"sample": 3}, "sample=3, expected 0 to 1"),
    (overview_of, {"x": ONES[0]}, r"x has shape \(5, 4\)"),
    (overview_of, {"layers": {"readout": {"spikes": torch.randn(2, 5, 4)}}}, "empty mapping"),
    *((draw, {name: ONES[:0]}, "with no samples in it") for draw, name in ((traces, "v"), (overview_of, "x"))),
]
OF_ANOTHER_TYPE: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (raster, {"spikes": np.ones((1, 2, 3))}, r"spikes is a ndarray.* make one with torch.as_tensor\(spikes\)"),
    (raster, {"spikes": ONES.to(torch.complex64)}, "dtype torch.complex64, expected real numbers"),
    (raster, {"spikes": None}, "spikes is a NoneType"),
    (raster, {"spikes": {"1": {"v": ONES}}}, r"spikes\['1'\] is a dict, expected a torch.Tensor"),
    (raster, {"ax": Figure().subplots(1, 2)}, r"ax is a ndarray, expected matplotlib Axes.*axes\[0\]"),
    (traces, {"v": {"spikes": ONES, "v": 0}}, "v is a dict, .* of its entries, 'spikes', 'v'$"),
    (traces, {"neurons": []}, r"neurons=\[\], expected how many to draw, or a list"),
    (traces, {"neurons": [0.5]}, "neurons=0.5, expected a whole number"),
    (surrogates, {"surrogate": [F.Sigmoid]}, r"Sigmoid is no surrogate.*make one of the class: Sigmoid\(\)"),
    (surrogates, {"surrogate": [3.0]}, "3.0 is no surrogate"),
    (surrogates, {"threshold": "1"}, "threshold='1', expected a number"),
    (weights, {"weight": [1.0]}, "weight is a list"),
    (phase_plane, {"x": torch.ones(5).long()}, r"x has dtype torch.int64.*x.float\(\)"),
    (phase_plane, {"neuron": F.alif_step}, "a step needs start="),
    (phase_plane, {"neuron": torch.nn.Linear(1, 1)}, "neuron is a Linear, expected a spiking layer or a step"),
]
ROWS = [(*row, ValueError) for row in WRONG] + [(*row, TypeError) for row in OF_ANOTHER_TYPE]


@pytest.mark.parametrize(("draw", "options", "message", "error"), ROWS)
def test_errors_say_what_to_do(
    draw: Any, options: Any, message: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        draw(**(RIGHT[draw] | options))
    assert not list(tmp_path.iterdir())
