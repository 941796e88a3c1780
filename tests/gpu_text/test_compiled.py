"""Kernels in machine code for three GPUs, compiled without any: they compile, spill what a table says, round once."""

import re
from functools import cache
from typing import Any

import pytest
import torch

from spikingtorch.functional.fused.codegen import triton as printer
from spikingtorch.functional.fused.ir import EXACT, Program
from spikingtorch.verification.cases import CASES, Case, by_name
from tests.functional.fused.lower import test_operations as operations
from tests.fused import Scan, draw
from tests.gpu_text import registers
from tests.gpu_text.compiled import GPUS, Compiled, both, both_quickly, compile_forward
from tests.gpu_text.test_neurons import Three, three_states
from tests.programs import of_neuron, program_of

LIF = next(case for case in CASES if case.name == "lif")
# in PTX: a product and a sum rounded once, quotients that are not rounded correctly, subnormal numbers flushed to zero
LOOSE = r".*(?:\bfma\b|div\.full|div\.approx|\.ftz|\.approx).*"
# in the assembly of AMD: a product and a sum rounded once. Dividing takes some of them, a fixed number for the place of
# a lane in the arrays, and one for each quotient of floats.
CONTRACTED = r"\bv_(?:pk_)?(?:fma|fmac|mad|mac)\w*_f\d+"


def check_rounding(program: Program, passes: tuple[Compiled, Compiled], gpu: str) -> int:
    """Assert that passes of operations that round in one way are compiled to such, and return how many those are."""
    wanted = (*program.finals, *program.results), (*program.gradients, *program.finals)
    exact = [{program.nodes[index].op for index in program.live(each)} <= EXACT for each in wanted]
    for found, is_exact in zip(passes, exact, strict=True):
        if is_exact and GPUS[gpu].backend == "cuda":
            loose = re.findall(LOOSE, found.text)
            assert not loose, "\n".join(loose[:5])
        elif is_exact:
            of_places, of_quotient = of_divisions(gpu)
            others = len(re.findall(CONTRACTED, found.text)) - of_places
            divides = any(node.op == "div" for node in program.nodes)
            assert others % of_quotient == 0 if divides else others == 0, others
            # 3: subnormal numbers are neither flushed as they come in nor as they go out
            assert re.findall(r"\.amdhsa_float_denorm_mode_32 (\d)", found.text) == ["3"]
    return sum(exact)


@cache
def of_divisions(gpu: str) -> tuple[int, int]:
    """Return how many contracted products the places of a lane take, and a quotient besides."""
    steps: list[Any] = [lambda v, x: (v + x, x), lambda v, x: (v / x, x)]
    programs = [program_of(Scan(step, draw(5).float(), draw(2, 5).float())) for step in steps]
    plain, divided = (len(re.findall(CONTRACTED, compile_forward(each, gpu).text)) for each in programs)
    assert 0 < plain < divided
    return plain, divided - plain


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(case: Case, gpu: str) -> None:
    program = of_neuron(case)
    passes = both_quickly(program, gpu)
    check_rounding(program, passes, gpu)
    assert registers.cell(passes) == registers.known()[case.name, gpu], (
        "registers or spills changed; if that is meant, run python -m tests.gpu_text.registers"
    )


def test_the_table_has_every_neuron() -> None:
    assert {*registers.known()} == {(case.name, gpu) for case in CASES for gpu in GPUS}


@pytest.mark.parametrize("gpu", ["sm_80", "gfx942"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_dtypes(dtype: torch.dtype, gpu: str) -> None:
    half = None if dtype == torch.float64 else dtype
    program = of_neuron(LIF, torch.float64 if half is None else torch.float32, half)
    passes = both(program, gpu)
    assert [each.spilled for each in passes] == [0, 0]
    assert both_quickly(program, gpu) == passes
    assert check_rounding(program, passes, gpu) == 1  # the slope of the surrogate has an exp
    if gpu == "sm_80" and half is not None:
        assert ("cvt.rn.f16.f32" if half == torch.float16 else "cvt.rn.bf16") in passes[0].text


@pytest.mark.parametrize("gpu", GPUS)
def test_a_step_of_a_user(gpu: str) -> None:
    x = draw(2, 5, dtype=torch.float32)
    params = {"decay": 0.9, "adapt": draw(5, dtype=torch.float32), "gain": torch.tensor(0.8)}
    program = program_of(Scan(three_states, Three(x[0], x[0], x[0]), x, params))
    passes = both(program, gpu)
    assert [each.spilled for each in passes] == [0, 0]
    assert both_quickly(program, gpu) == passes


@pytest.mark.parametrize("gpu", ["sm_90", "gfx942"])
@pytest.mark.parametrize("dtype", operations.FLOATS, ids=str)
@pytest.mark.parametrize("names", operations.GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_every_operation(names: list[str], dtype: torch.dtype, gpu: str) -> None:
    """Each has a name of its own in the library of each device. Some of these, sin say, take memory of their own."""
    program = program_of(operations.scan_of(names, dtype))
    assert all(each.registers > 0 for each in both(program, gpu))


def test_the_check_sees_what_is_loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the options that Triton has by itself, a product and a sum are contracted, and exp flushes."""
    step: Any = lambda v, x: (0.5 * v + x, torch.exp(x))  # noqa: E731
    program = program_of(Scan(step, draw(5).float(), draw(2, 5).float()))
    monkeypatch.setitem(printer.EXACT_OPTIONS, "cuda", {})
    loose = re.findall(LOOSE, compile_forward(program, "sm_80").text)
    assert any("fma" in line for line in loose)
    assert any(".ftz" in line for line in loose)
    monkeypatch.setitem(printer.EXACT_OPTIONS, "hip", {})
    step = lambda v, x: (0.5 * v + x, x)  # noqa: E731
    program = program_of(Scan(step, draw(5).float(), draw(2, 5).float()))
    with pytest.raises(AssertionError):
        check_rounding(program, both(program, "gfx942"), "gfx942")
