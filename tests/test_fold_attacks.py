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
from tests.nets_that_step import Two, differences, run, train


def parameter(*shape: int, value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, value))


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


# --- parameters whose first value hides it ----------------------------------------------------------------------------


def gated(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x + net.alpha * centred(x)
    return out


def first_step_token(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + net.start if init is True else x


def first_step_gain(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * net.gain if init is True else x


def position_of_sample(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x + net.pos[: x.shape[0]]
    return out


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


# --- values that the noise does not take ------------------------------------------------------------------------------


def scaled_if_large(net: Any, x: Tensor, init: Any) -> Tensor:
    return x / x.max().clamp(min=1.0)


def where_large(net: Any, x: Tensor, init: Any) -> Tensor:
    return torch.where(x.mean() > 1.5, 0.2 * x, x)


def logarithm(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(torch.log(x - 1.0))


def with_high_output() -> nn.Module:
    net = Two(after=logarithm, sl2=st.LI(decay=0.5))
    nn.init.constant_(net.l2.bias, 9.0)
    return net


def tokens(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = centred(net.emb(x.long()).mean(1))
    return out


def any_spike(net: Any, x: Tensor, init: Any) -> Tensor:
    return (x + 1.0) * x.max()


def any_spike_bool(net: Any, x: Tensor, init: Any) -> Tensor:
    return (x + 1.0) * x.any()


def too_quiet(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * (x.mean() > 0.25)


def by_maximum(net: Any, x: Tensor, init: Any) -> Tensor:
    return x / x.max().clamp(min=1e-3)


def masked_classes(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x).masked_fill(torch.tensor([False, True, False]), -1e9)


def infinite_classes(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x).masked_fill(torch.tensor([False, True, False]), -torch.inf)


def count_of_nonzero(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if (x > 1.0).nonzero().shape[0] else x


def selected(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if x[x > 1.0].numel() else x


def allclose(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + 1.0 if torch.allclose(x, torch.zeros_like(x)) else x


def distinct(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + 1.0 if torch.unique(x).numel() == 1 else x


# --- random numbers ---------------------------------------------------------------------------------------------------


def rare_mixup(net: Any, x: Tensor, init: Any) -> Tensor:
    return torch.where(torch.rand(x.shape[0], 1) < 0.3, x.roll(1, 0), x)


def shuffled(net: Any, x: Tensor, init: Any) -> Tensor:
    return 0.5 * x + 0.5 * x[torch.rand(x.shape[0]).argsort()]


def bernoulli_mix(net: Any, x: Tensor, init: Any) -> Tensor:
    keep = torch.empty(x.shape[0], 1).bernoulli_(0.5)
    return keep * x + (1 - keep) * x.mean(0)


def frozen_noise(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def seeded_dropout(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return F.dropout(x, 0.5, training=net.training)


def seeded_constant(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return x + torch.bernoulli(torch.full_like(x, 0.01))


def rare_python(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * 0.5 if net.rng.random() < 0.1 else x


# --- state that nobody sees -------------------------------------------------------------------------------------------


def homeostasis(net: Any, x: Tensor, init: Any) -> Tensor:
    net.sl2.v0.data.add_(0.05 * x.mean())
    return x


def homeostasis_no_grad(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        net.sl2.v0.add_(0.05 * x.mean())
    return x


def homeostasis_inference(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.inference_mode():
        net.sl2.v0.add_(0.05)
    return x


def numpy_counter(net: Any, x: Tensor, init: Any) -> Tensor:
    net.count[0] += 1
    return x * 0.5 if net.count[0] > 15 else x


def iterator(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * 0.5 if next(net.count) > 15 else x


@dataclass(slots=True)
class Slots:
    n: int = 0


def slots_counter(net: Any, x: Tensor, init: Any) -> Tensor:
    net.count.n += 1
    return x * 0.5 if net.count.n > 15 else x


class Schedule:
    def __init__(self) -> None:
        self.n = 0

    def step(self) -> float:
        self.n += 1
        return 0.5 if self.n > 15 else 1.0


def bound_method(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x * net.step()
    return out


def partial_state(net: Any, x: Tensor, init: Any) -> Tensor:
    net.counter.args[0].append(1)
    return x * 0.5 if len(net.counter.args[0]) > 15 else x


class Counting(Two):
    """Counts in an attribute of the class."""

    seen: list[int] = []  # noqa: RUF012

    def forward(self, x: Tensor, init: Any) -> Tensor:
        self.seen.append(1)
        return super().forward(x * 0.5 if len(self.seen) > 15 else x, init)


class HiddenModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * 0.5 if self.n > 15 else x


def module_in_list(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.hidden[0](x)
    return out


def swallowed(net: Any, x: Tensor, init: Any) -> Tensor:
    try:
        first = float(init)
    except RuntimeError:
        first = 0.0
    out: Tensor = x + first * net.start
    return out


def deep_counter(net: Any, x: Tensor, init: Any) -> Tensor:
    net.book["a"]["b"]["c"]["d"]["e"] += 1
    return x * 0.5 if net.book["a"]["b"]["c"]["d"]["e"] > 15 else x


# --- others -----------------------------------------------------------------------------------------------------------


def late_samples(net: Any, x: Tensor, init: Any) -> Tensor:
    return torch.cat([x[:20], 0.5 * x[20:]])


def sum_of_many(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if x.shape[0] > 20 else x


def while_training(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if torch.is_grad_enabled() else x


def with_gradient(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if x.requires_grad else x


def dropout_then_failure(net: Any, x: Tensor, init: Any) -> Tensor:
    x = F.dropout(x, 0.5, training=net.training)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


def output_in_place(net: Any, x: Tensor, init: Any) -> Tensor:
    return x.sub_(x.detach().mean(0))


class OverwritesInput(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        with torch.no_grad():
            u = centred(self.l1(x))
            s = self.sl1(u, init)
            u.copy_(s)
        out: Tensor = self.sl2(self.l2(u), init)
        return out


large = 3.0 * train()
ramp = train() * torch.tensor([0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0]).view(7, 1)

HIDING: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "gated": (lambda: Two(gated, alpha=parameter(1)), train()),
    "first_step_token": (lambda: Two(first_step_token, start=parameter(4)), train()),
    "first_step_gain": (lambda: Two(first_step_gain, gain=parameter(4, value=1.0)), train()),
    "position_of_sample": (lambda: Two(position_of_sample, pos=parameter(99, 4)), train()),
    "zero_gamma_norm": (lambda: Two(zero_gamma_norm, gamma=parameter(4), beta=parameter(4)), train()),
    "swallowed": (lambda: Two(swallowed, start=parameter(4)), train()),
    "gradient_function": (lambda: Two(gradient_function), train()),
    "gradient_function_between": (lambda: Two(between=gradient_function), train()),
    "gradient_hook": (lambda: Two(gradient_hook), train()),
    "straight_through_batch": (lambda: Two(straight_through_batch), train()),
    "scaled_if_large": (lambda: Two(scaled_if_large), large),
    "where_large": (lambda: Two(where_large), ramp),
    "logarithm": (lambda: with_high_output(), train()),
    "tokens": (lambda: Two(tokens, emb=nn.Embedding(9, 4)), large),
    "any_spike": (lambda: Two(between=any_spike, sl1=st.LIF(v0=0.8)), ramp),
    "any_spike_bool": (lambda: Two(between=any_spike_bool, sl1=st.LIF(v0=0.8)), ramp),
    "too_quiet": (lambda: Two(between=too_quiet), ramp),
    "by_maximum_of_a_readout": (lambda: Two(between=by_maximum, sl1=st.LI()), train()),
    "by_maximum_of_the_output": (lambda: Two(after=by_maximum, sl2=st.LI()), train()),
    "masked_classes": (lambda: Two(after=masked_classes, sl2=st.LI()), train()),
    "infinite_classes": (lambda: Two(after=infinite_classes), train()),
    "count_of_nonzero": (lambda: Two(count_of_nonzero), large),
    "selected": (lambda: Two(selected), large),
    "allclose": (lambda: Two(between=allclose, sl1=st.LIF(v0=0.8)), ramp),
    "distinct": (lambda: Two(between=distinct, sl1=st.LIF(v0=0.8)), ramp),
    "rare_python": (lambda: Two(rare_python, rng=random.Random(2)), train()),
    "rare_numpy": (lambda: Two(rare_python, rng=np.random.default_rng(4)), train()),
    "homeostasis_data": (lambda: Two(homeostasis, sl2=st.LIF(v0=torch.full((3,), 0.2))), train()),
    "homeostasis_no_grad": (lambda: Two(homeostasis_no_grad, sl2=st.LIF(v0=torch.full((3,), 0.2))), train()),
    "homeostasis_inference": (lambda: Two(homeostasis_inference, sl2=st.LIF(v0=torch.full((3,), 0.2))), train()),
    "numpy_counter": (lambda: Two(numpy_counter, count=np.zeros(1)), train()),
    "iterator": (lambda: Two(iterator, count=itertools.count()), train()),
    "slots_counter": (lambda: Two(slots_counter, count=Slots()), train()),
    "bound_method": (lambda: Two(bound_method, step=Schedule().step), train()),
    "partial_state": (lambda: Two(partial_state, counter=functools.partial(len, [])), train()),
    "module_in_list": (lambda: Two(module_in_list, hidden=[HiddenModule()]), train()),
    "deep_counter": (lambda: Two(deep_counter, book={"a": {"b": {"c": {"d": {"e": 0}}}}}), train()),
    "dropout_then_failure": (lambda: Two(dropout_then_failure), train()),
    "output_in_place": (lambda: Two(between=output_in_place), train()),
    "overwrites_input": (lambda: OverwritesInput(), train()),
    "frozen_noise": (lambda: Two(frozen_noise), train()),
    "seeded_dropout": (lambda: Two(seeded_dropout), train()),
    "seeded_draw_that_is_constant_in_the_trial": (lambda: Two(seeded_constant), train(400, 3)),
    # what only some calls show
    "while_training": (lambda: Two(while_training), train()),
    "with_gradient": (lambda: Two(with_gradient), train()),
}


@pytest.mark.parametrize("name", HIDING)
def test_computes_what_steps_do(name: str) -> None:
    make, x = HIDING[name]
    torch.manual_seed(0)
    net = make().double()
    Counting.seen.clear()
    want = run(net, "step", x)
    Counting.seen.clear()
    got = run(net, "auto", x)
    report = got.model.explain()
    wrong = differences(got, want, 1e-8)
    assert not wrong, f"{report.mode} ({report.reason}): {wrong}"
    assert len(got.warned) <= 1, got.warned


@pytest.mark.parametrize("code", [rare_mixup, shuffled, bernoulli_mix])
def test_draws_that_mix_samples_step(code: Any) -> None:
    model = st.SpikingNet(Two(code).double(), 3)
    assert model.explain(train()).mode == "step"
