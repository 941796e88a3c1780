"""``python -m spikingtorch quantize`` beside docs/quantize.md: networks as integers and C for a compiler, refusals."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from spikingtorch import FixedPointLIF, SpikingNet
from spikingtorch.cli.quantize import main
from spikingtorch.quantize import IntegerModel, prepare_qat, to_integer
from tests.quantize.c_programs import STRICT

MODULE = """
import torch
from torch import nn
from spikingtorch import LIF, FixedPointIF, SpikingNet

def network(*neurons):
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(nn.Linear(6, 4), neurons[0]), 4, mode="step")

def cells():
    return FixedPointIF(threshold=0.25, fraction_bits=8, membrane_bits=20)

def make():
    return network(cells()), [((torch.rand(3, 5, 6) < 0.5).float(), torch.arange(3))]

def encoded():
    return network(cells()), [torch.rand(3, 6)], {"encoder": lambda x: (x[:, None] > torch.rand(3, 5, 6)).float()}

def floats():
    return network(LIF(decay=0.9)), [torch.ones(3, 5, 6)]

def empty():
    return network(cells()), []
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(command: Run) -> Run:
    """The command in a folder with a module."""
    return partial(command, main, my_network=MODULE)


def test_files_of_a_network(run: Run) -> None:
    pytest.importorskip("nir")
    code, text = run("my_network:make", "--bits", "4", "--c", "net.c", "--nir", "net.nir", "--npz", "net.npz")
    assert code == 0, text
    assert "equal, bit for bit (3 samples of 5 steps" in text
    assert "bytes of RAM" in text
    for name in ("net.c", "net.h", "net.nir", "net.npz"):
        assert f"Written to {name} (" in text
        assert Path(name).exists()
    assert [type(node).__name__ for node in IntegerModel.load("net.npz").nodes] == ["Linear", "Neuron"]


def test_an_encoder_and_a_checkpoint(run: Run) -> None:
    names: dict[str, object] = {}
    exec(MODULE, names)
    model = names["encoded"]()[0]  # type: ignore[operator]
    for each in model.parameters():
        each.data.zero_()
    torch.save(model.state_dict(), "weights.pt")
    code, text = run("my_network:encoded", "--checkpoint", "weights.pt")
    assert code == 0, text
    assert "never fired" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["my_network:make"], "refused: layer '0': its weights are whole numbers of"),
        (["my_network:floats", "--bits", "4"], "refused: layer '1': LIF computes with numbers that are not whole"),
        (["my_network:empty"], "the loader gives a NoneType, expected batches of tensors"),
        (["my_network"], "quantize takes module:factory"),
        (["my_network:make", "--bits", "4", "--c", "net.txt"], "expected a name that ends in .c"),
        (["my_network:make", "--bits", "4", "--main"], "--main says how --c writes its file; pass --c FILE as well"),
        (["my_network:make", "--checkpoint", "none.pt"], "there is no checkpoint at none.pt"),
    ],
)
def test_refusals(arguments: list[str], says: str, run: Run) -> None:
    code, text = run(*arguments)
    assert (code, says in text) == (2, True), text


TEXT = (Path(__file__).parents[2] / "docs" / "quantize.md").read_text()
(CODE,) = re.findall(r"^```c\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
(COMMAND,) = re.findall(r"^    (arm-none-eabi-gcc .*)$", TEXT, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = SpikingNet(nn.Sequential(nn.Linear(20, 10), FixedPointLIF(threshold=0.5)))
    x = (torch.rand(4, 10, 20) < 0.3).float()
    to_integer(prepare_qat(model, weight_bits=4), x).to_c(tmp_path / "net.c")
    return tmp_path


def test_the_code_takes_the_network(folder: Path) -> None:
    (folder / "use.c").write_text(f"uint32_t step(uint32_t count);\n{CODE}".replace("uint32_t step", CODE_FIRST, 1))
    subprocess.run(["gcc", *STRICT, "-c", "use.c"], cwd=folder, check=True, timeout=20)


# a prototype, because the warnings of the tests ask for one
CODE_FIRST = "#include <stdint.h>\nuint32_t step"


def test_the_command_compiles_it(folder: Path) -> None:
    compiler, *rest = shlex.split(COMMAND)
    if shutil.which(compiler) is None:  # the options of another processor are left out
        compiler, rest = "gcc", [each for each in rest if each not in ("-mcpu=cortex-m4", "-mthumb")]
    subprocess.run([compiler, *rest], cwd=folder, check=True, timeout=20)
