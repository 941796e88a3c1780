"""Networks that hide what must not fold: folded or not, mode "auto" computes what mode "step" does."""

import functools
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikingtorch as st
from tests.nets_that_step import Hole, Own, Two, besides, centred, differences, parameter, run, train


def at_first(code: Callable[[Any, Tensor], Tensor]) -> Hole:
    """Return code that is for the first step alone."""
    return lambda net, x, init: code(net, x) if init is True else x


def centred_if(asked: Callable[[Tensor], Any]) -> Hole:
    """Return code that mixes the samples of some inputs."""
    return lambda net, x, init: centred(x) if asked(x) else x


def more_if(asked: Callable[[Tensor], Any]) -> Hole:
    return lambda net, x, init: x + 1.0 if asked(x) else x


def halved_late(count: Callable[[Any], int]) -> Hole:
    """Return code that counts its calls, and does another thing from some call on."""
    return lambda net, x, init: x * 0.5 if count(net) > 15 else x


def zero_gamma_norm(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + F.batch_norm(x, None, None, net.gamma, net.beta, training=True)


# --- gradients that mix -----------------------------------------------------------------------------------------------


class UnitGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] / (grads[0].norm() + 1e-12)


def gradient_function(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = UnitGradient.apply(x)  # type: ignore[no-untyped-call]
    return out


def gradient_hook(net: Any, x: Tensor, init: Any) -> Tensor:
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient / (gradient.norm() + 1e-12))
    return x


def straight_through_batch(net: Any, x: Tensor, init: Any) -> Tensor:
    soft = x.softmax(0)
    return x + (soft - soft.detach())


# --- values that noise does not take ----------------------------------------------------------------------------------


def with_high_output() -> nn.Module:
    net = Two(after=lambda net, x, init: centred(torch.log(x - 1.0)), sl2=st.LI(decay=0.5))
    nn.init.constant_(net.l2.bias, 9.0)
    return net


def by_maximum(net: Any, x: Tensor, init: Any) -> Tensor:
    return x / x.max().clamp(min=1e-3)


def masked(value: float) -> Hole:
    return lambda net, x, init: centred(x).masked_fill(torch.tensor([False, True, False]), value)


# --- random numbers ---------------------------------------------------------------------------------------------------


def seeded(code: Hole) -> Hole:
    def run_seeded(net: Any, x: Tensor, init: Any) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return code(net, x, init)

    return run_seeded


def frozen_noise(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def rare_python(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * 0.5 if net.rng.random() < 0.1 else x


def bernoulli_mix(net: Any, x: Tensor, init: Any) -> Tensor:
    keep = torch.empty(x.shape[0], 1).bernoulli_(0.5)
    return keep * x + (1 - keep) * x.mean(0)


# --- state that nobody sees -------------------------------------------------------------------------------------------


def homeostasis_no_grad(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        net.sl2.v0.add_(0.05 * x.mean())
    return x


def homeostasis_inference(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.inference_mode():
        net.sl2.v0.add_(0.05)
    return x


def homeostatic(code: Hole) -> Two:
    return Two(code, sl2=st.LIF(v0=torch.full((3,), 0.2)))


@dataclass(slots=True)
class Slots:
    n: int = 0


class Plan:
    """Counts the calls of its method."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def step(self) -> float:
        self.n += 1
        return 0.5 if self.n > 15 else 1.0


class Schedule(Plan, nn.Module):
    """Counts its calls."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.step()


def add_one(counts: Any, key: Any) -> Any:
    counts[key] += 1
    return counts[key]


def add_slot(slots: Slots) -> int:
    slots.n += 1
    return slots.n


def append(found: list[int]) -> int:
    found.append(1)
    return len(found)


def swallowed(net: Any, x: Tensor, init: Any) -> Tensor:
    try:
        first = float(init)
    except RuntimeError:
        first = 0.0
    return x + first * net.start  # type: ignore[no-any-return]


# --- others -----------------------------------------------------------------------------------------------------------


def dropout_then_failure(net: Any, x: Tensor, init: Any) -> Tensor:
    x = F.dropout(x, 0.5, training=net.training)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


def overwrites_input(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        u = centred(net.l1(x))
        s = net.sl1(u, init)
        u.copy_(s)
    return net.sl2(net.l2(u), init)  # type: ignore[no-any-return]


def readout(code: Callable[[Tensor], Tensor]) -> Two:
    """Return a network whose output tells small differences apart."""
    return Two(lambda net, x, init: code(x), sl2=st.LI()).eval()


def quiet(between: Hole) -> Two:
    return Two(between=between, sl1=st.LIF(v0=0.8))


Make = Callable[[], nn.Module]
usual = train()
large = 3.0 * usual
ramp = usual * torch.tensor([0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0]).view(7, 1)
signed = large * torch.linspace(-1, 1, 7)[:, None]

PARAMETERS: dict[str, Make] = {
    "gated": lambda: Two(lambda net, x, init: x + net.alpha * centred(x), alpha=parameter(1)),
    "first_step_token": lambda: Two(at_first(lambda net, x: x + net.start), start=parameter(4)),
    "first_step_gain": lambda: Two(at_first(lambda net, x: x * net.gain), gain=parameter(4, value=1.0)),
    "position_of_sample": lambda: Two(lambda net, x, init: x + net.pos[: x.shape[0]], pos=parameter(99, 4)),
    "zero_gamma_norm": lambda: Two(zero_gamma_norm, gamma=parameter(4), beta=parameter(4)),
    "swallowed": lambda: Two(swallowed, start=parameter(4)),
}
GRADIENTS: dict[str, Make] = {
    "gradient_function": lambda: Two(gradient_function),
    "gradient_function_between": lambda: Two(between=gradient_function),
    "gradient_hook": lambda: Two(gradient_hook),
    "straight_through_batch": lambda: Two(straight_through_batch),
    "while_training": lambda: Two(centred_if(lambda x: torch.is_grad_enabled())),
    "with_gradient": lambda: Two(centred_if(lambda x: x.requires_grad)),
}
VALUES: dict[str, Make] = {
    "logarithm": with_high_output,
    "by_maximum_of_a_readout": lambda: Two(between=by_maximum, sl1=st.LI()),
    "by_maximum_of_the_output": lambda: Two(after=by_maximum, sl2=st.LI()),
    "masked_classes": lambda: Two(after=masked(-1e9), sl2=st.LI()),
    "infinite_classes": lambda: Two(after=masked(-torch.inf)),
}
LARGE: dict[str, Make] = {
    "scaled_if_large": lambda: Two(lambda net, x, init: x / x.max().clamp(min=1.0)),
    "tokens": lambda: Two(lambda net, x, init: centred(net.emb(x.long()).mean(1)), emb=nn.Embedding(9, 4)),
    "count_of_nonzero": lambda: Two(centred_if(lambda x: (x > 1.0).nonzero().shape[0])),
    "selected": lambda: Two(centred_if(lambda x: x[x > 1.0].numel())),
}
RAMP: dict[str, Make] = {
    "where_large": lambda: Two(lambda net, x, init: torch.where(x.mean() > 1.5, 0.2 * x, x)),
    "any_spike": lambda: quiet(lambda net, x, init: (x + 1.0) * x.max()),
    "any_spike_bool": lambda: quiet(lambda net, x, init: (x + 1.0) * x.any()),
    "too_quiet": lambda: Two(between=lambda net, x, init: x * (x.mean() > 0.25)),
    "allclose": lambda: quiet(more_if(lambda x: torch.allclose(x, torch.zeros_like(x)))),
    "distinct": lambda: quiet(more_if(lambda x: torch.unique(x).numel() == 1)),
}
SIGNED: dict[str, Make] = {
    "clamped maximum": lambda: readout(lambda x: x / x.abs().max().clamp(min=1.0)),
    "where": lambda: readout(lambda x: torch.where(x.mean() > 1, -x, x)),
    "negative part": lambda: readout(lambda x: x + torch.relu(-x).mean(0)),
    "positive part": lambda: readout(lambda x: x + x.square().mean().sub(1).clamp(min=0.0)),
}
RANDOM: dict[str, Make] = {
    "rare_python": lambda: Two(rare_python, rng=random.Random(2)),
    "rare_numpy": lambda: Two(rare_python, rng=np.random.default_rng(4)),
    "frozen_noise": lambda: Two(frozen_noise),
    "seeded_dropout": lambda: Two(seeded(lambda net, x, init: F.dropout(x, 0.5, training=net.training))),
    "dropout_then_failure": lambda: Two(dropout_then_failure),
}
MANY: dict[str, Make] = {
    "seeded_draw": lambda: Two(seeded(lambda net, x, init: x + torch.bernoulli(torch.full_like(x, 0.01)))),
}
STATE: dict[str, Make] = {
    "homeostasis_data": lambda: homeostatic(besides(lambda net, x: net.sl2.v0.data.add_(0.05 * x.mean()))),
    "homeostasis_no_grad": lambda: homeostatic(homeostasis_no_grad),
    "homeostasis_inference": lambda: homeostatic(homeostasis_inference),
    "numpy_counter": lambda: Two(halved_late(lambda net: add_one(net.count, 0)), count=np.zeros(1)),
    "iterator": lambda: Two(halved_late(lambda net: next(net.count)), count=itertools.count()),
    "slots_counter": lambda: Two(halved_late(lambda net: add_slot(net.count)), count=Slots()),
    "bound_method": lambda: Two(lambda net, x, init: x * net.step(), step=Plan().step),
    "partial_state": lambda: Two(halved_late(lambda net: append(net.f.args[0])), f=functools.partial(len, [])),
    "module_in_list": lambda: Two(lambda net, x, init: net.hidden[0](x), hidden=[Schedule()]),
    "deep_counter": lambda: Two(
        halved_late(lambda net: add_one(net.b["a"][0]["b"][0], "n")), b={"a": [{"b": [{"n": 0}]}]}
    ),
    "overwrites_input": lambda: Own(overwrites_input),
}
INPUTS: list[tuple[Tensor, dict[str, Make]]] = [
    (usual, PARAMETERS | GRADIENTS | VALUES | RANDOM | STATE),
    (large, LARGE),
    (ramp, RAMP),
    (signed, SIGNED),
    (train(400, 3), MANY),
]


@pytest.mark.parametrize(
    ("make", "x"), [pytest.param(make, x, id=name) for x, makes in INPUTS for name, make in makes.items()]
)
def test_computes_what_steps_do(make: Make, x: Tensor) -> None:
    torch.manual_seed(0)
    net = make().double()
    want, got = run(net, "step", x), run(net, "auto", x)
    report = got.model.explain()
    wrong = differences(got, want, 1e-8)
    assert not wrong, f"{report.mode} ({report.reason}): {wrong}"
    assert len(got.warned) <= 1, got.warned


MIXING_DRAWS: dict[str, Hole] = {
    "rare mixup": lambda net, x, init: torch.where(torch.rand(x.shape[0], 1) < 0.3, x.roll(1, 0), x),
    "shuffled": lambda net, x, init: 0.5 * x + 0.5 * x[torch.rand(x.shape[0]).argsort()],
    "bernoulli mix": bernoulli_mix,
}


@pytest.mark.parametrize("code", MIXING_DRAWS.values(), ids=MIXING_DRAWS)
def test_draws_that_mix_samples_step(code: Hole) -> None:
    assert st.SpikingNet(Two(code).double(), 3).explain(train()).mode == "step"
