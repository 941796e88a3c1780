"""Programs printed as Triton, which is not needed for it: `make test-gpu-text` interprets and compiles them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spikingtorch.functional.fused.codegen import triton
from spikingtorch.functional.fused.codegen.abi import BACKWARD, FORWARD, numbers
from spikingtorch.functional.fused.ir import Node, Program
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.tracer import trace
from spikingtorch.verification.cases import CASES, Case, by_name
from tests.functional.fused.lower.test_operations import GROUPS, scan_of
from tests.programs import of_neuron, program_of

TRITON = "import triton\nimport triton.language as tl\n"


def texts(program: Program, axes: int = 1) -> Iterator[str]:
    """Yield the forward pass, and the backward pass with all gradients and with none of the parameters'."""
    yield triton.forward_source(program, axes)
    for wanted in (True, False):
        yield triton.backward_source(program, [wanted] * len(program.params), axes)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron_is_python_and_the_same_text_each_time(case: Case, dtype: torch.dtype) -> None:
    program = of_neuron(case, dtype)
    for text in texts(program):
        compile(text, "kernel", "exec")
        assert text.startswith(TRITON)
    assert list(texts(program)) == list(texts(program))
    # neither the sizes of tensors nor their number of axes is in the text
    assert list(texts(of_neuron(case._replace(shape=(3, 2, 7)), dtype))) == list(texts(program))


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_operation_is_printed(dtype: torch.dtype) -> None:
    """`make test-gpu-text` runs what is printed."""
    for text in (text for names in GROUPS for text in texts(program_of(scan_of(names, dtype)))):
        compile(text, "kernel", "exec")


def test_an_operation_that_is_not_known_is_refused() -> None:
    nodes = (Node("input", "f32", ("x", 0)), Node("gamma", "f32", (0,)))
    program = Program(nodes, (), ("f32",), (), ("f32",), 0, (), (1,), (-1,), ((False,),))
    with pytest.raises(ValueError, match="got the operation 'gamma'"):
        triton.forward_source(program)


def test_the_arguments_have_the_order_of_the_arrays() -> None:
    program = of_neuron(CASES[1])
    wanted = [True] * len(program.params)
    for groups, signature in (
        (FORWARD, triton.forward_signature(program)),
        (BACKWARD, triton.backward_signature(program, wanted)),
    ):
        pointers = [name.removesuffix("_ptr") for name in signature if name.endswith("_ptr")]
        assert pointers == list(numbers(groups, program))
    text = triton.backward_source(program, wanted)
    (arguments,) = re.findall(r"^def backward\((.*)\):$", text, re.MULTILINE)
    assert [each.split(":")[0] for each in arguments.split(", ")] == list(triton.backward_signature(program, wanted))


def test_sizes_and_strides_are_arguments_that_nothing_is_compiled_for() -> None:
    program = of_neuron(CASES[1])
    for axes in (1, 3):
        signature = triton.forward_signature(program, axes)
        sizes = [name for name, kind in signature.items() if kind in ("i32", "i64")]
        assert {"steps", "total", "neurons", "x0_step", f"x0_b{axes - 1}", f"p0_b{axes - 1}"} <= {*sizes}
        assert f"@triton.jit(do_not_specialize={sizes})" in triton.forward_source(program, axes)


def test_floats_are_rounded_on_the_host_where_the_program_rounds_them_first() -> None:
    one, params = Spec.of(torch.float32, (5,)), {"early": 0.9, "late": 0.7}
    step: Any = lambda state, x, *, early, late: (early * state + x, x * (2.5 - late))  # noqa: E731
    signature = triton.forward_signature(trace(step, one, one, params, None, lift_floats=True).program)
    assert (signature["a0_f32"], signature["a1"]) == ("fp32", "fp64")
    assert not {"a0", "a1_f32"} & signature.keys()
