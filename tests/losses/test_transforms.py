"""The losses inside torch.func and torch.compile."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.metrics import first_spike_accuracy, rate_accuracy
from spikingtorch.testing import assert_close
from tests.losses.cases import BY_NAME, Case

func: Any = torch.func
each_case = pytest.mark.parametrize("case", BY_NAME.values(), ids=BY_NAME.keys())


def alone(case: Case) -> Any:
    """Return the loss of one sample, of its input, its length and its target if there is one."""

    def loss(x: Tensor, length: Tensor, *aim: Tensor) -> Tensor:
        return case.call(x[None], aim[0][None] if aim else None, length[None]).sum()

    return loss


@each_case
def test_gradients_of_each_sample(case: Case) -> None:
    x, target = case.draw(4, 6, torch.float64)
    lengths, aim = torch.tensor([6, 1, 4, 3]), () if target is None else (target,)
    gradients, values = func.vmap(func.grad_and_value(alone(case)))(x, lengths, *aim)
    leaf = x.clone().requires_grad_()
    want = case.call(leaf, target, lengths)
    want = want if want.ndim == 1 else want.flatten(1).sum(1)
    assert_close((values, gradients), (want.detach(), torch.autograd.grad(want.sum(), leaf)[0]))


@each_case
def test_what_is_out_of_range_where_it_cannot_be_read(case: Case) -> None:
    """A length gives NaN, and a class an error."""
    x, target = case.draw(3, 6, torch.float64)
    aim = () if target is None else (target,)
    assert func.vmap(alone(case))(x, torch.tensor([0, 7, 6]), *aim).isnan().tolist() == [True, True, False]
    for wrong in (x.shape[2], -1) if case.target == "class" else ():
        with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
            func.vmap(alone(case))(x, torch.tensor([6, 6, 6]), torch.tensor([0, wrong, 0]))


@pytest.mark.long
def test_compiled_as_one_graph() -> None:
    names = ("max_over_time", "last_step", "first_spike", "count_mse", "tau=3", "penalty")
    cases = [case for name, case in BY_NAME.items() if any(each in name for each in names)]
    drawn = [case.draw(3, 5, torch.float32) for case in cases]
    lengths = torch.tensor([5, 1, 3])

    def run(*xs: Tensor) -> tuple[Tensor, ...]:
        return tuple(case.call(x, target, lengths) for case, x, (_, target) in zip(cases, xs, drawn, strict=True))

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    results = []
    for function in (run, compiled):
        leaves = [x.clone().requires_grad_() for x, _ in drawn]
        values = function(*leaves)
        results.append(([v.detach() for v in values], torch.autograd.grad([v.sum() for v in values], leaves)))
    assert_close(results[1], results[0])
    spikes, label = BY_NAME["first_spike_cross_entropy-temperature=2.5"].draw(3, 5, torch.float32)

    def accuracies(spikes: Tensor) -> tuple[Tensor, Tensor]:
        assert label is not None
        return rate_accuracy(spikes, label, lengths), first_spike_accuracy(spikes, label, lengths)

    assert_close(torch.compile(accuracies, backend="aot_eager", fullgraph=True)(spikes), accuracies(spikes))
