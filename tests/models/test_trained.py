"""The weights that the package ships: what they say of themselves is so."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator
from torch.nn import Module, Sequential

from examples.data import load as images
from examples.training import accuracy
from spikingtorch import models
from spikingtorch.data import QTDB
from spikingtorch.models import trained
from spikingtorch.quantize import certify, to_integer
from spikingtorch.spikeio import ConstantEncoder, PoissonEncoder, SumDecoder


@pytest.mark.parametrize(
    ("name", "parameters", "encoder"),
    [
        ("digits", 6458, PoissonEncoder(8, generator=Generator().manual_seed(0))),
        ("digits-int4", 5386, ConstantEncoder(8)),
    ],
)
def test_digits_are_read_as_well_as_a_file_says(name: str, parameters: int, encoder: Module) -> None:
    model = models.load(name)
    reached = accuracy(Sequential(encoder, model, SumDecoder(8)), images("digits")[1])
    said = float(models.about(name)["accuracy"].partition("%")[0])
    assert abs(100.0 * reached - said) < 0.5
    assert sum(each.numel() for each in model.parameters()) == parameters


def test_digits_of_whole_numbers_become_integers() -> None:
    model, x = models.load("digits-int4"), ConstantEncoder(8)(images("digits")[1].tensors[0][:50])
    integer = to_integer(model, x)
    assert certify(model, integer, x).equal
    assert max(abs(each.weight).max() for each in integer.nodes if hasattr(each, "weight")) == 7


@pytest.mark.skipif(not os.environ.get("SPIKINGTORCH_DATA"), reason="SPIKINGTORCH_DATA is not set: no recordings")
def test_heartbeats_are_read_as_well_as_its_file_says() -> None:
    x, labels = QTDB("test").tensors
    with torch.no_grad():
        hits = models.load("ecg-brf")(x).argmax(2) == labels
    assert abs(100.0 * hits.double().mean().item() - float(models.about("ecg-brf")["accuracy"].partition("%")[0])) < 0.1


def test_each_file_is_small_and_says_what_it_is() -> None:
    files = [*(Path(trained.__file__).parent / "weights").iterdir()]
    assert {file.stem for file in files} == {*models.TRAINED}
    assert sum(file.stat().st_size for file in files) < 2**20
    for name in models.TRAINED:
        assert {*models.about(name)} == {*trained.ENTRIES}


def test_a_name_or_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="load: there is no network 'letters'; choose from digits"):
        models.load("letters")
    content, damaged = trained.path_of("digits").read_bytes(), tmp_path / "digits.safetensors"
    path: Any = lambda _: damaged  # noqa: E731
    monkeypatch.setattr(trained, "path_of", path)
    for found, message in ((content[:-9] + bytes(9), "have the checksum"), (content[:900], "cannot be read")):
        damaged.write_bytes(found)
        with pytest.raises(ValueError, match=f"load: .*{message}.*install the package again"):
            models.load("digits")
