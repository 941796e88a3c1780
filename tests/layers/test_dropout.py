"""SequenceDropout: one mask for all steps of a sequence, stepped and folded."""

from typing import Any

import pytest
import torch

import spikingtorch as st
from tests.nets_that_step import Two, in_both_modes, train


def masked() -> Two:
    return Two(between=lambda net, x, init: net.drop(x, init), drop=st.SequenceDropout(0.5), sl1=st.LI(), sl2=st.LI())


def test_drops_the_same_neurons_at_all_steps() -> None:
    layer = st.SequenceDropout(0.25)
    steps = torch.stack([layer(torch.ones(50, 40), init=t == 0) for t in range(4)])
    assert all(torch.equal(step, steps[0]) for step in steps)
    assert set(steps.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((steps[0] == 0).float().mean()) - 0.25) < 0.05
    assert not torch.equal(layer(torch.ones(50, 40), init=True), steps[0])
    assert torch.equal(layer.eval()(torch.ones(50, 40), init=True), torch.ones(50, 40))


def test_folded_is_stepwise() -> None:
    def act(model: Any) -> Any:
        torch.manual_seed(3)
        x = train().requires_grad_()
        out = model(x)
        return [out, *torch.autograd.grad(out.square().sum(), [x, *model.parameters()])]

    assert in_both_modes(masked().double(), act) == "fold"


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_bad_probability(p: float) -> None:
    with pytest.raises(ValueError, match="expected a probability of at least 0 and below 1"):
        st.SequenceDropout(p)
