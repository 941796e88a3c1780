"""Generated C on emulated microcontrollers: equal to the reference, and within the cost that it states."""

from pathlib import Path
from typing import Any

import pytest

from spikingtorch.quantize.c import to_c
from spikingtorch.quantize.c.header import CSource
from tests.quantize.c_programs import expected, ran
from tests.quantize.emulators import MACHINES, Machine
from tests.quantize.models import random_model

pytestmark = pytest.mark.long
# all events of a step, and K steps
BUSY = """
#include "net.c"
int main(void)
{
    static snn_input in[SNN_INPUTS];
    const snn_output *out;
    uint32_t i;
    int k;
    for (i = 0; i < SNN_INPUTS; i++) TAKE;
    snn_reset();
    for (k = 0; k < K; k++) snn_step(in, SNN_INPUTS, &out);
    return 0;
}
"""


@pytest.fixture(params=MACHINES, ids=[each.name for each in MACHINES])
def machine(request: pytest.FixtureRequest) -> Machine:
    found: Any = request.param
    if found.missing():
        pytest.skip(found.missing())
    return found  # type: ignore[no-any-return]


def test_microcontrollers_equal_the_reference(machine: Machine, tmp_path: Path) -> None:
    for seed in range(20):
        model, x = random_model(seed)
        x = x[:2, :6]
        found = to_c(model, tmp_path / "net.c", main=True)
        machine.build(found.source, tmp_path / "net", ("-Os", "-O2")[seed % 2])
        assert ran(tmp_path / "net", x, machine.emulator) == expected(model, x), seed


@pytest.mark.parametrize("option", ["-Os", "-O2"])
def test_a_step_takes_no_more_instructions_than_stated(machine: Machine, option: str, tmp_path: Path) -> None:
    for seed in range(200, 210):
        model, _ = random_model(seed)
        found = to_c(model, tmp_path / "net.c")
        taken = _taken(machine, found, model.input_range[1], option)
        assert taken <= found.needs.cost.instructions, seed


def _taken(machine: Machine, found: CSource, value: int, option: str) -> int:
    graded = "} snn_input;" in found.header.read_text()
    take = "in[i].index = (uint8_t)i, in[i].value = VALUE" if graded else "in[i] = (uint8_t)i"
    source = found.source.with_name("busy.c")
    source.write_text(BUSY.replace("TAKE", take.replace("VALUE", str(value))))
    programs = []
    for steps in (2, 3):
        machine.build(source, found.source.with_name("busy"), option, f"-DK={steps}")
        programs.append(machine.instructions(found.source.with_name("busy")))
    return programs[1] - programs[0]
