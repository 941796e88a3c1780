"""SequenceDropout: one mask for all steps of a sequence; tests/fold/corpus has it in a network."""

import pytest
import torch

import spikingtorch as st


def test_drops_the_same_neurons_at_all_steps() -> None:
    layer = st.SequenceDropout(0.25)
    steps = torch.stack([layer(torch.ones(50, 40), init=t == 0) for t in range(4)])
    assert all(torch.equal(step, steps[0]) for step in steps)
    assert set(steps.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((steps[0] == 0).float().mean()) - 0.25) < 0.05
    assert not torch.equal(layer(torch.ones(50, 40), init=True), steps[0])
    assert torch.equal(layer.eval()(torch.ones(50, 40), init=True), torch.ones(50, 40))


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_bad_probability(p: float) -> None:
    with pytest.raises(ValueError, match="expected a probability of at least 0 and below 1"):
        st.SequenceDropout(p)
