"""Codes of rates: their distribution, exact periods, reproducibility, and errors."""

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from spikingtorch import spikeio as io
from spikingtorch.testing import assert_close

ENCODERS = [io.PoissonEncoder, io.PeriodicEncoder, io.ConstantEncoder]
F16, F32, F64, BF16 = torch.float16, torch.float32, torch.float64, torch.bfloat16
of_draws = pytest.mark.parametrize("draw", [io.poisson_spikes, io.markov_spikes])
Draw = Callable[..., Tensor]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def assert_binomial(count: float, trials: int, rate: float, widths: float = 4) -> None:
    """Assert that a count lies within some standard deviations of its mean: one in 16,000 falls outside of four."""
    assert abs(count - trials * rate) <= widths * math.sqrt(trials * rate * (1 - rate))


@of_draws
@pytest.mark.parametrize(
    ("rate", "dtype"), [*((rate, F64) for rate in (0.0, 0.03, 0.4, 0.5, 0.9, 1.0)), (0.001, F16), (0.001, BF16)]
)
def test_rates(draw: Draw, rate: float, dtype: torch.dtype) -> None:
    given = torch.tensor(rate, dtype=dtype)
    spikes = draw(given.expand(20000, 5), 10, generator=seeded())
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert_binomial(spikes.double().sum().item(), spikes.numel(), given.item())
    if draw is io.poisson_spikes and dtype == F64:  # a scale multiplies the rate
        scaled = io.PoissonEncoder(10, scale=0.25, generator=seeded())(given.expand(20000, 5))
        assert_binomial(scaled.sum().item(), scaled.numel(), rate / 4)


@of_draws
def test_steps_are_independent(draw: Draw) -> None:
    rate = 0.3
    spikes = draw(torch.full((20000,), rate, dtype=F64), 10, generator=seeded())
    pairs = (spikes[:, 1:] * spikes[:, :-1]).sum().item()
    # neighbouring pairs overlap, so that their count varies more than a binomial one: at most twice as much
    assert_binomial(pairs, spikes[:, 1:].numel(), rate**2, widths=7)
    for value in (0, 1):
        after = spikes[:, 1:][spikes[:, :-1] == value]
        assert after.numel() > 0
        assert_binomial(after.sum().item(), after.numel(), rate)


def test_markov_spikes_by_its_rule() -> None:
    x = torch.rand(50, 3, generator=seeded(1))
    got = io.markov_spikes(x, 6, generator=seeded(2))
    random, spiked = seeded(2), torch.zeros(50, 3, dtype=torch.bool)
    for t in range(6):
        r = torch.rand(50, 3, generator=random)
        for n, m in torch.cartesian_prod(torch.arange(50), torch.arange(3)).tolist():
            spiked[n, m] = not (r[n, m] < 1 - x[n, m]) if spiked[n, m] else r[n, m] < x[n, m]
        assert got[:, t].bool().tolist() == spiked.tolist()


@pytest.mark.parametrize("encoder", [io.PoissonEncoder, io.Poisson2D])
def test_same_generator_same_train(encoder: Any) -> None:
    x = torch.rand(4, 1, 5, 5)
    one, two = encoder(8, generator=seeded(3)), encoder(8, generator=seeded(3))
    first = one(x)
    assert torch.equal(first, two(x))
    assert not torch.equal(first, one(x))
    assert torch.equal(copy.deepcopy(one)(x), one(x))
    torch.manual_seed(5)
    unseeded = encoder(8)(x)
    torch.manual_seed(5)
    assert torch.equal(encoder(8)(x), unseeded)


def test_poisson2d_is_poisson_for_images() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(io.Poisson2D(5, generator=seeded())(x), io.PoissonEncoder(5, generator=seeded())(x))
    assert torch.equal(io.poisson_spikes2d(x, 5, generator=seeded()), io.poisson_spikes(x, 5, generator=seeded()))
    assert io.Poisson2D(5)(x[:, 0]).shape == (2, 5, 4, 4)


@pytest.mark.sampled
@pytest.mark.parametrize("scale", [1.0, 0.3, 255.0])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_periodic_encoder_fires_every_nth_step_though_one_nth_rounds(dtype: torch.dtype, scale: float) -> None:
    n, last = torch.arange(1, 2001), 2 * 2000
    spikes = io.PeriodicEncoder(last, scale)((1.0 / (scale * n.double())).to(dtype)[:, None])[..., 0]
    assert torch.equal(spikes.bool(), torch.arange(1, last + 1) % n[:, None] == 0)
    # what lies below 1 / n by more than roundings takes one step more
    below = (1.0 - 16 * torch.finfo(dtype).eps) / n.double()
    late = io.PeriodicEncoder(last)(below.to(dtype)[:, None])[..., 0]
    assert torch.equal(late.bool(), torch.arange(1, last + 1) % (n + 1)[:, None] == 0)


@pytest.mark.parametrize("dtype", [F32, F64, F16])
def test_periodic_encoder_beside_exact_fractions(dtype: torch.dtype) -> None:
    x = torch.cat([torch.rand(300, generator=seeded()) * high for high in (2.0, 0.1, 0.01, -1.0)]).to(dtype)[:, None]
    spikes = io.PeriodicEncoder(400)(x)[..., 0]
    tolerance = Fraction(8 * torch.finfo(torch.promote_types(dtype, F32)).eps)
    for value, train in zip(map(Fraction, x.flatten().tolist()), spikes, strict=True):
        times = train.nonzero().flatten().tolist()
        period = times[0] + 1 if times else 401
        assert times == list(range(period - 1, 400, period))
        if times:
            assert math.ceil((1 - tolerance) / value) <= period <= math.ceil(1 / value)
        else:
            assert 400 * value < 1


def test_constant_encoder_repeats() -> None:
    x = torch.randn(3, 2)
    assert all(torch.equal(step, x) for step in io.ConstantEncoder(4)(x).unbind(1))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nsteps", [0, -1, 2.5, True, None])
@pytest.mark.parametrize("make", [*ENCODERS, io.Poisson2D, io.SumDecoder, *(io.poisson_spikes, io.markov_spikes)])
def test_nsteps(make: Any, nsteps: Any) -> None:
    with pytest.raises(ValueError, match=r"nsteps=.*, expected a whole number of steps, 1 or more"):
        make(torch.rand(2, 3), nsteps) if make in (io.poisson_spikes, io.markov_spikes) else make(nsteps)


def test_rates_above_one_saturate_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="rates reach 255 spikes per step and saturate at 1"):
        spikes = io.PoissonEncoder(4)(torch.tensor([[0.0, 255.0]]))
    assert spikes[0].tolist() == [[0.0, 1.0]] * 4
    with pytest.warns(UserWarning, match="rates reach 2 spikes") as caught:
        io.poisson_spikes(torch.ones(1), 2, 2.0)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="rates go down to -0.5, and those below 0 never spike. Leave out") as caught:
        assert io.poisson_spikes(torch.tensor([[-0.5, 0.0]]), 4).sum() == 0  # nothing fires less than never
    assert caught[0].filename == __file__


DRAWS = [io.poisson_spikes, io.poisson_spikes2d, io.markov_spikes]


@pytest.mark.parametrize(
    "draw", [*(lambda x, draw=draw: draw(x, 4) for draw in DRAWS), io.PoissonEncoder(4), io.Poisson2D(4)]
)
def test_draws_refuse_an_input_that_requires_a_gradient_for_it_would_be_zero(draw: Draw) -> None:
    x = torch.full((2, 3, 4), 0.5, requires_grad=True)
    message = r"x requires a gradient, which spikes drawn at random do not have.*x\.detach\(\).*ConstantEncoder\(4\)"
    for refused in (lambda: draw(x), lambda: draw(0.5 * x), lambda: torch.func.grad(lambda x: draw(x).sum())(x.data)):
        with pytest.raises(ValueError, match=message):
            refused()
    assert draw(x.detach()).shape == (2, 4, 3, 4)
    with torch.no_grad():
        assert draw(x).shape == (2, 4, 3, 4)
    assert torch.vmap(draw, randomness="different")(x.detach()[None]).shape == (1, 2, 4, 3, 4)


def test_straight_through_gradient_of_the_error_message() -> None:
    x = torch.rand(3, 2, requires_grad=True)
    with pytest.raises(ValueError, match="the straight-through one is") as error:
        io.poisson_spikes(x, 5)
    train = eval(str(error.value).partition("the straight-through one is ")[2], {**vars(io), "x": x})
    assert set(train.unique().tolist()) <= {0.0, 1.0}
    assert_close(torch.autograd.grad(train.sum(), x)[0], torch.full((3, 2), 5.0))
