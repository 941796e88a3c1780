"""What the interpreter alone can be asked: programs of few lanes, chunks, which kernels are printed, and recurrence."""

from typing import Any

import pytest
import torch

from spikingtorch import functional as F
from tests import recurrences as cases
from tests.folded_layer import Took, learning, over_time, repeat
from tests.folded_layer import draw as folded_draw
from tests.functional.fused.lower import test_operations as operations
from tests.fused import draw
from tests.gpu_text.compare import Agrees, agree
from tests.gpu_text.launch import Interpreter
from tests.gpu_text.test_layouts import T, lif
from tests.verification.kernels import KERNELS, WHOLE


@pytest.mark.parametrize("block", [16, 64])
def test_programs_of_few_lanes(target: Interpreter, agrees: Agrees, block: int) -> None:
    target.block = block
    agrees(lif(draw(2, 9, 21, low=-0.6, high=1.4), 1, (21,)))


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_chunks_of_other_lengths(target: Interpreter, chunk: int) -> None:
    """A longer chunk is a matter of registers, and of nothing else."""
    target.chunk = chunk
    agree(lif(draw(T, 21, low=-0.6, high=1.4), 0, (21,)))
    assert target.launches == 2


@pytest.mark.parametrize("steps", [2, 5, 17])
def test_a_folded_layer_with_outputs_of_the_last_step_once_more(target: Interpreter, took: Took, steps: int) -> None:
    """Samples and steps are one axis there, and states begin at rest."""
    model = over_time(learning())
    repeat(model, took, lambda seed: folded_draw(seed, 3, steps, 6).requires_grad_())
    assert target.launches > 0


# stores of bfloat16 truncate in the interpreter
RIGHT = [name for name in (*KERNELS, *WHOLE) if name != "halves"]


@pytest.mark.parametrize("dtype", operations.FLOATS, ids=str)
@pytest.mark.parametrize("names", operations.GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_values(target: Interpreter, names: list[str], dtype: torch.dtype) -> None:
    operations.test_values_and_gradients(names, dtype)
    assert target.launches > 0


@pytest.mark.parametrize("name", RIGHT)
def test_kernels(target: Interpreter, name: str) -> None:
    (KERNELS | WHOLE)[name]()
    assert target.launches > 0 or name == "exactness"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@cases.each_of(cases.CASES)
def test_every_synapse(target: Interpreter, case: cases.Case, dtype: torch.dtype) -> None:
    shape = () if dtype == torch.float64 else case.shape
    for steps in (1, 5):
        cases.check(cases.draw(case, steps, dtype=dtype, decay=shape, threshold=shape))
    assert target.launches > 0


@pytest.mark.parametrize("reset", [F.to_zero, F.by_subtraction])
@cases.each_of(cases.FEW)
def test_more_steps_than_a_chunk_and_another_neuron(target: Interpreter, case: cases.Case, reset: Any) -> None:
    cases.check(cases.draw(case, 17, reset=reset, step=F.if_step))
    assert target.launches > 0


@cases.each_of(cases.FEW)
def test_records(target: Interpreter, case: cases.Case) -> None:
    scan = cases.draw(case, 9)
    step: Any = F.recorded(scan.step, "v", "s", "u", "threshold")
    recorded = scan._replace(step=step)
    cases.check(recorded)
    assert target.launches > 0
    (state, spikes), (with_records, (same, _)) = scan.run("fused"), recorded.run("fused")
    assert torch.equal(same, spikes)
    assert torch.equal(with_records.neuron.v, state.neuron.v)
