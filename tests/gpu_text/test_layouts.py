"""Arrays that lie in memory in other ways, parameters of all shapes, more dtypes, and programs of few lanes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.folded_layer import Took, learning, over_time, repeat
from tests.folded_layer import draw as folded_draw
from tests.functional.fused.runtime.test_trees import ODD, everything
from tests.fused import Scan, agree, assert_same_bits, draw
from tests.gpu_text.compare import check
from tests.gpu_text.launch import Interpreter, interpretable

T = 17
SHAPE = (2, 3, 4, 5)
# of a parameter of neurons of that shape
PARAMETERS = {
    "shared": (),
    "shared, one axis": (1,),
    "channel": (3, 1, 1),
    "neuron": (3, 4, 5),
    "sample": (2, 1, 1, 1),
    "column": (5,),
    "sample and neuron": (2, 3, 4, 5),
    "row of an image": (4, 1),
}


def lif(x: Tensor, dim: int, shape: tuple[int, ...] = (), v: Tensor | None = None) -> Scan:
    """Return a scan of LIF neurons with learnable parameters of a shape."""
    params = {
        "decay": draw(*shape, dtype=x.dtype, low=0.5, high=0.98),
        "gain": draw(*shape, dtype=x.dtype, low=0.5, high=1.2, seed=1),
        "threshold": draw(*shape, dtype=x.dtype, low=0.5, high=1.2, seed=2),
    }
    first = x.select(dim, 0)
    v = draw(*first.shape, dtype=x.dtype, high=0.4, seed=3) if v is None else v
    return Scan(F.lif_step, F.LIFState(v), x, params, dim)


def inputs(dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    sizes = [*SHAPE]
    sizes.insert(dim, T)
    return draw(*sizes, dtype=dtype, low=-0.6, high=1.4)


@pytest.mark.parametrize("dim", [0, 1, 3])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_all_shapes(target: Interpreter, name: str, dim: int) -> None:
    check(target, lif(inputs(dim), dim, PARAMETERS[name]))


STRIDED = {
    "every other row": lambda x: x[:, :, ::2],
    "columns of a wider array": lambda x: x[..., 1:4],
    "time from behind": lambda x: x.movedim(-1, 0).contiguous().movedim(0, -1),
    "one value for all": lambda x: x[..., :1].expand(x.shape),
    "samples in another order": lambda x: x.transpose(0, 2),
}


@pytest.mark.parametrize("name", STRIDED)
def test_strided_inputs(target: Interpreter, name: str) -> None:
    x = STRIDED[name](draw(3, 9, 4, 6, low=-0.6, high=1.4))
    for dim in (0, 1, 2):
        check(target, lif(x, dim))


def test_a_state_that_neurons_share(target: Interpreter) -> None:
    x = inputs(1)
    for v in (draw(1, 1, 1, 1).expand(SHAPE), draw(2, 1, 1, 1).expand(SHAPE), draw(5).expand(SHAPE)):
        check(target, lif(x, 1, (3, 1, 1), v))


@pytest.mark.parametrize("block", [16, 64])
def test_programs_of_few_lanes(target: Interpreter, block: int) -> None:
    target.block = block
    check(target, lif(draw(2, 9, 21, low=-0.6, high=1.4), 1, (21,)))


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_chunks_of_other_lengths(target: Interpreter, chunk: int) -> None:
    """A longer chunk is a matter of registers, and of nothing else."""
    target.chunk = chunk
    agree(lif(draw(T, 21, low=-0.6, high=1.4), 0, (21,)))
    assert target.launches == 3


def test_one_text_serves_all_lengths_sizes_and_layouts(target: Interpreter) -> None:
    def step(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return 0.3 * v + x * x, v

    interpretable.cache_clear()
    for dim, sizes in ((0, (1, 21)), (0, (17, 2, 5)), (1, (3, 9, 21)), (1, (4, 33, 2, 2))):
        x = draw(*sizes)
        check(target, Scan(step, torch.zeros_like(x.select(dim, 0)), x, {}, dim))
    assert interpretable.cache_info().misses == 2, "one forward pass and one backward pass"


def test_outputs_and_inputs_in_half_precision(target: Interpreter) -> None:
    """bfloat16 is printed and compiled; the interpreter does not round it as devices do."""
    x = inputs(1, torch.float32).half()
    scan = Scan(F.lif_step, F.LIFState(draw(*SHAPE, dtype=torch.float32, high=0.4)), x, {"decay": 0.9}, 1)
    check(target, scan)
    check(target, Scan(lambda v, x: (0.5 * v + x, v * x), draw(*SHAPE, dtype=torch.float32), x, {}, 1))


@pytest.mark.parametrize("name", ODD)
def test_odd_scans(target: Interpreter, name: str) -> None:
    agree(ODD[name](T))
    assert target.launches > 0


def test_a_float_is_not_rounded_first(target: Interpreter) -> None:
    """(1 - d) v with d = 0.9 has other bits in float32 when d is rounded to float32 before the subtraction."""

    def step(state: Tensor, x: Tensor, *, decay: Any) -> tuple[Tensor, Tensor]:
        v = state + (1 - decay) * (x - state)
        return v, v

    check(target, Scan(step, draw(50, dtype=torch.float32), draw(T, 50, dtype=torch.float32), {"decay": 0.9}))


def test_trees(target: Interpreter) -> None:
    x = draw(2, T, 21, high=1.4)
    state: dict[str, Any] = {"v": draw(2, 21), "pair": (torch.arange(42).reshape(2, 21), draw(2, 21, seed=1))}
    xs = {"current": x, "pair": (x > 0.5, (10 * draw(2, T, 21, seed=2)).to(torch.int32) - 4)}
    check(target, Scan(everything, state, xs, {"decay": draw(21)}, 1))


def test_many_members_of_a_batch_have_parameters_of_their_own(target: Interpreter) -> None:
    """vmap maps a number that all neurons share: there is one for each row."""
    x, decays = draw(4, T, 21, dtype=torch.float32, high=1.4), draw(4, dtype=torch.float32, low=0.5, high=0.9)

    def run(x: Tensor, decay: Tensor, backend: Any) -> Tensor:
        state = F.LIFState(torch.zeros_like(x[0]))
        out: Tensor = F.scan(F.lif_step, state, x, params={"decay": decay}, backend=backend)[1]
        return out

    got = torch.vmap(run, in_dims=(0, 0, None))(x, decays, "fused")
    assert target.launches > 0
    want = torch.stack([run(*each, "loop") for each in zip(x, decays, strict=True)])
    assert_same_bits(got, want)


@pytest.mark.parametrize("steps", [2, 5, 17])
def test_a_folded_layer_that_has_the_outputs_of_the_last_step_once_more(
    target: Interpreter, took: Took, steps: int
) -> None:
    """Samples and steps are one axis there, and states begin at rest."""
    model = over_time(learning())
    repeat(model, took, lambda seed: folded_draw(seed, 3, steps, 6).requires_grad_())
    assert target.launches > 0
