"""What docs/quantize.md says to a compiler of C: its code, which takes the network of the page."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from spikingtorch import FixedPointLIF, SpikingNet
from spikingtorch.quantize import prepare_qat, to_integer
from tests.quantize.c_programs import STRICT

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
