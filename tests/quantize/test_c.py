"""Generated C beside IntegerModel.run: every spike, membrane and current of random networks."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spikingtorch.quantize import IntegerModel
from spikingtorch.quantize.c import to_c
from spikingtorch.quantize.c.text import number, quotient, signed
from spikingtorch.quantize.nodes import Linear
from tests.quantize.c_programs import SANITIZED, STRICT, compiled, expected, ran
from tests.quantize.float_networks import random_model
from tests.quantize.test_integer import neuron

pytestmark = pytest.mark.sampled


def alike(seed: int, folder: Path, command: tuple[str, ...]) -> None:
    model, x = random_model(seed)
    assert ran(compiled(model, folder, command), x) == expected(model, x)


@pytest.mark.parametrize("seed", range(5))
def test_sanitized_c_equals_the_reference(seed: int, tmp_path: Path) -> None:
    alike(seed, tmp_path, ("gcc", *STRICT, *SANITIZED))


@pytest.mark.long
@pytest.mark.parametrize("command", [("gcc", *STRICT, *SANITIZED), ("gcc", *STRICT, "-O2"), ("clang", *STRICT, "-O2")])
def test_c_of_many_networks_equals_the_reference(command: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: apt install {command[0]}")
    for seed in range(100, 150):
        alike(seed, tmp_path, command)


def one_neuron(**changed: object) -> IntegerModel:
    """Return two inputs with weights 100 and -100, which lead to a membrane of 8 bits without a leak."""
    weight, bias = np.array([[100, -100]], np.int8), np.zeros(1, np.int32)
    own = {"kind": "if", "exponent": 0, "fraction_bits": 0, "decay": (1, 0), "strict": True}
    node = neuron(**own | {"low": -128, "high": 127, "threshold": 127} | changed)
    return IntegerModel(0, (2,), (0, 1), (Linear("w", weight, bias, 0), node))


@pytest.mark.parametrize(
    ("overflow", "last"), [("saturate", [0, 127, 0]), ("wrap", [0, -56, 0]), ("error", [0, 127, 0, 1])]
)
def test_a_register_overflows_as_it_says(overflow: str, last: list[int], tmp_path: Path) -> None:
    model = one_neuron(overflow=overflow)
    x = np.array([[[1, 0], [1, 0]]])
    lines = ran(compiled(model, tmp_path, ("gcc", *STRICT, *SANITIZED)), x)
    assert lines[-1] == last
    if overflow == "error":
        with pytest.raises(OverflowError, match="n: a membrane from 200 to 200 does not fit into -128 to 127"):
            model.run(x)
    else:
        assert lines == expected(model, x)


def test_a_rounding_that_takes_as_many_bits_as_a_register_has(tmp_path: Path) -> None:
    x = np.array([[[1, 0], [0, 1], [0, 0]]])
    near, far = (one_neuron(threshold=0, strict=False, fraction_bits=-bits, rounding="half_up") for bits in (31, 63))
    assert ran(compiled(near, tmp_path, ("gcc", *STRICT, *SANITIZED)), x) == expected(near, x)
    with pytest.raises(ValueError, match=r"n: its numbers reach .*, and C has 64 bits for them"):
        to_c(far, tmp_path / "net.c")


@pytest.mark.parametrize("seed", range(30))
def test_the_text_divides_nothing_and_needs_no_library(seed: int, tmp_path: Path) -> None:
    found = to_c(random_model(seed)[0], tmp_path / "net.c")
    text = re.sub(r"/\*.*?\*/", "", found.source.read_text(), flags=re.DOTALL)
    assert not set("/%") & {*text}
    assert re.findall(r"#include .*", text) == ['#include "net.h"']
    assert not re.search(r"\b(double|float|malloc|while \(1\))\b", text)


def test_the_files_say_what_they_need(tmp_path: Path) -> None:
    found = to_c(one_neuron(), tmp_path / "net.c", prefix="eye")
    # two weights; a membrane, the place of a spike, a sum in four bytes, and the number of spikes
    assert (found.needs.constant_bytes, found.needs.memory_bytes) == (2, 1 + 1 + 4 + 4)
    assert found.needs.cost[:2] == (2, 1)
    header = found.header.read_text()
    assert "uint32_t eye_step(const eye_input *in, uint32_t count, const eye_output **out);" in header
    assert f"fewer than {found.needs.cost.instructions} instructions" in header


TAKEN = ["a b.c", "ü.c", "per%d.c", "$(touch pwned).c", "-o.c", "*;.c"]
REFUSED = ['q"uote.c', "it's.c", "back\\slash.c", "new\nline.c", "??!.c"]


@pytest.mark.parametrize("name", TAKEN + REFUSED)
def test_a_name_that_c_cannot_include_is_refused(name: str, tmp_path: Path) -> None:
    if name in REFUSED:
        with pytest.raises(
            ValueError, match=r"to_c: the file's name is .*, expected one that C can include. Leave out"
        ):
            to_c(one_neuron(), tmp_path / name)
        return
    found = to_c(
        one_neuron(), tmp_path / name, main=True, prefix=("main", "uint8_t", "INT8_MAX")[TAKEN.index(name) % 3]
    )
    subprocess.run(["gcc", *STRICT, "-o", tmp_path / "program", found.source], check=True)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path is .*net.txt', expected a name that ends in .c"):
        to_c(one_neuron(), tmp_path / "net.txt")
    with pytest.raises(ValueError, match="prefix is '1', expected a name of C such as 'snn'"):
        to_c(one_neuron(), tmp_path / "net.c", prefix="1")
    wide = Linear("w", np.full((1, 2), 1 << 29, np.int32), np.zeros(1, np.int32), 0)
    with pytest.raises(ValueError, match="w: sums reach 1073741824, and C adds them in 32 bits"):
        to_c(IntegerModel(0, (2,), (0, 1), (wide,)), tmp_path / "net.c")


def test_numbers_and_types_at_their_limits() -> None:
    assert [signed(-128, 127), signed(-129, 0), signed(0, 128), signed(0, 1 << 15)] == [
        *("int8_t", "int16_t", "int16_t", "int32_t")
    ]
    assert number(-(1 << 31)) == "(-2147483647 - 1)"
    assert number(1 << 31) == "2147483648LL"


@pytest.mark.parametrize(("divisor", "size"), [(1, 9), (8, 100), (7, 70000), (641, 65536), (28, 784), (50, 40)])
def test_a_quotient_is_exact(divisor: int, size: int) -> None:
    q = np.arange(size, dtype=np.uint64)
    text = quotient("q", divisor, size).replace("(uint32_t)", "").replace("(uint64_t)", "").replace("u", "")
    found = np.broadcast_to(eval(text, {"q": q.astype(object)}), size).astype(np.uint64)
    assert (found == q // divisor).all()
