"""What a proof by noise may not see: numbers that noise does not take, sizes that it lacks, objects it copies."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold.nets.entry import Entry, Make, hides, of_four_features
from tests.nets_that_step import Hole, Own, Two, centred, mixing_if, parameter, readout, train


def reads_out(code: Hole, **holes: Any) -> Make:
    """Return what builds a network whose output tells small differences apart."""
    return lambda: readout(code, **holes)


def evaluated(code: Callable[[Tensor], Tensor]) -> Make:
    return lambda: Two(lambda net, x, init: code(x), sl2=st.LI()).eval()


def before(code: Callable[[Tensor], Tensor], **parts: Any) -> Make:
    return lambda: Two(lambda net, x, init: code(x), **parts)


def quiet(code: Callable[[Tensor], Tensor], threshold: float = 0.8) -> Make:
    """Return what builds a network of which few neurons fire at first."""
    return lambda: Two(between=lambda net, x, init: code(x), sl1=st.LIF(v0=threshold))


def after(code: Callable[[Tensor], Tensor], **parts: Any) -> Make:
    return lambda: Two(after=lambda net, x, init: code(x), sl2=st.LI(), **parts)


def centred_if(asked: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: centred(x) if asked(x) else x


def more_if(asked: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: x + 1.0 if asked(x) else x


def by_maximum(x: Tensor) -> Tensor:
    return x / x.max().clamp(min=1e-3)


def masked(value: float) -> Callable[[Tensor], Tensor]:
    return lambda x: centred(x).masked_fill(torch.tensor([False, True, False]), value)


def with_high_output() -> nn.Module:
    net = Two(after=lambda net, x, init: centred(torch.log(x - 1.0)), sl2=st.LI(decay=0.5))
    nn.init.constant_(net.l2.bias, 9.0)
    return net


usual = train()
large = 3.0 * usual
# quiet at first, and loud in the end
ramp = usual * torch.tensor([0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0]).view(7, 1)
signed = large * torch.linspace(-1, 1, 7)[:, None]
# a negative number in one sample, at one step
one_negative = usual.clone()
one_negative[0, 3, 0] = -1.0
NUMBERS: dict[str, Entry] = {
    "logarithm": hides("of noise it is not defined", with_high_output, input=usual),
    "maximum of a readout": hides(
        "of noise it is clamped", lambda: Two(between=lambda net, x, init: by_maximum(x), sl1=st.LI()), input=usual
    ),
    "maximum of the output": hides("... behind a layer", after(by_maximum), input=usual),
    "masked classes": hides("a large number hides others", after(masked(-1e9)), input=usual),
    "infinite classes": hides("... or one without a size", after(masked(-torch.inf)), input=usual),
    "scaled if large": hides("a bound", before(lambda x: x / x.max().clamp(min=1.0)), input=large),
    "tokens": hides(
        "whole numbers, for which noise is zero",
        lambda: Two(lambda net, x, init: centred(net.emb(x.long()).mean(1)), emb=nn.Embedding(9, 4)),
        input=large,
    ),
    "count of nonzero": hides(
        "a size that is counted", before(centred_if(lambda x: (x > 1.0).nonzero().shape[0])), input=large
    ),
    "selected": hides("... of what is selected", before(centred_if(lambda x: x[x > 1.0].numel())), input=large),
    "where large": hides(
        "a condition on a mean", before(lambda x: torch.where(x.mean() > 1.5, 0.2 * x, x)), input=ramp
    ),
    "any spike": hides("a maximum of spikes", quiet(lambda x: (x + 1.0) * x.max()), input=ramp),
    "any spike, as a truth value": hides(
        "... or whether there is one", quiet(lambda x: (x + 1.0) * x.any()), input=ramp
    ),
    "too quiet": hides("... or how many", quiet(lambda x: x * (x.mean() > 0.25), 0.5), input=ramp),
    "allclose": hides(
        "a comparison that returns no tensor",
        quiet(more_if(lambda x: torch.allclose(x, torch.zeros_like(x)))),
        input=ramp,
    ),
    "distinct": hides("... or a size", quiet(more_if(lambda x: torch.unique(x).numel() == 1)), input=ramp),
    "clamped maximum": hides(
        "a bound on both sides", evaluated(lambda x: x / x.abs().max().clamp(min=1.0)), input=signed
    ),
    "where of a mean": hides("a sign", evaluated(lambda x: torch.where(x.mean() > 1, -x, x)), input=signed),
    "negative part": hides("negative numbers", evaluated(lambda x: x + torch.relu(-x).mean(0)), input=signed),
    "positive part": hides(
        "large ones", evaluated(lambda x: x + x.square().mean().sub(1).clamp(min=0.0)), input=signed
    ),
}

# --- sizes and places in memory ---------------------------------------------------------------------------------------


class GradientBySize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 0.5 if grads[0].shape[0] <= 20 else grads[0]


gradient_by_size: Any = GradientBySize.apply


def half_if_small(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * 0.5 if x.shape[0] <= 20 else x


def chosen_by_size(code: Callable[[Tensor], Tensor]) -> Hole:
    def chosen(net: Any, x: Tensor, init: Any) -> Tensor:
        other = code(x)
        return x if x.shape[0] <= 20 else other

    return chosen


def solved(net: Any, x: Tensor, init: Any) -> Tensor:
    """Solve for two samples: torch then takes net.right, 2 x 2, to be a batch of two vectors."""
    found = torch.linalg.solve(x.view(-1, 2, 2) + 3 * torch.eye(2, dtype=x.dtype), net.right)
    return found.reshape(x.shape[0], -1)[:, :2].repeat(1, 2)  # type: ignore[no-any-return]


def unless(asked: Callable[[Tensor], Any]) -> Hole:
    """Return code that halves inputs of some layout in memory."""
    return lambda net, x, init: x if asked(x) else x * 0.5


def transposed_spikes(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl1(4 * net.l1(x).view(-1, 2, 3).transpose(1, 2), init)  # type: ignore[no-any-return]


def contiguous(net: Any, x: Tensor, init: Any) -> Tensor:
    z = transposed_spikes(net, x, init)
    y = z.contiguous()
    y *= 3.0
    return z + y


def flattened(net: Any, x: Tensor, init: Any) -> Tensor:
    z = transposed_spikes(net, x, init)
    return z.flatten(1).mul_(3.0) + z.flatten(1)


def transposed(net: Any, x: Tensor, init: Any) -> Tensor:
    h = 4 * net.l1(x)
    z = h.t().contiguous()
    z += 1.0
    return net.sl1(h, init)  # type: ignore[no-any-return]


def sequence_first(net: Any, x: Tensor, init: Any) -> Tensor:
    h = x.view(-1, 2, 2).transpose(0, 1).contiguous()
    h += net.place
    return net.sl2(net.l2(net.sl1(4 * net.l1(h.transpose(0, 1).flatten(1)), init)), init)  # type: ignore[no-any-return]


SMALL = train(20)
SIZES: dict[str, Entry] = {
    "operations left out at the end": hides(
        "fewer for few samples", lambda: Two(after=half_if_small, sl2=st.LI()), input=SMALL
    ),
    "output chosen by size": hides(
        "what is returned", lambda: Two(after=chosen_by_size(lambda x: x * 0.5), sl2=st.LI()), input=SMALL
    ),
    "mixed output by size": hides(
        "... that is mixed", lambda: Two(after=chosen_by_size(centred), sl2=st.LI()), input=SMALL
    ),
    "input of a layer by size": hides(
        "what a layer is handed",
        reads_out(
            lambda net, x, init: x, between=chosen_by_size(lambda x: x * 0.5), l1=nn.Linear(4, 3), l2=nn.Identity()
        ),
        input=SMALL,
    ),
    "tensor made of a size": hides(
        "a constant", reads_out(lambda net, x, init: x * torch.tensor(1.0 / max(16, x.shape[0]))), input=SMALL
    ),
    "gradient by size": hides(
        "what a backward pass returns", reads_out(lambda net, x, init: gradient_by_size(x)), input=SMALL
    ),
    "squeeze of one sample": hides(
        "an axis that only one sample lacks",
        reads_out(lambda net, x, init: x.view(-1, 2, 2).squeeze(0).flip(1).reshape(-1, 4)),
        input=train(1),
    ),
    "vectors or matrices": hides(
        "torch takes a matrix for vectors where N is its size",
        reads_out(solved, right=parameter(2, 2, value=1.0)),
        input=train(2),
    ),
    "contiguous steps": hides(
        "steps of an input are no contiguous tensors", reads_out(unless(lambda x: x.is_contiguous()))
    ),
    "storage offset": hides("the offset of a step", reads_out(unless(lambda x: not x.storage_offset()))),
    "strides": hides("its strides", reads_out(unless(lambda x: x.stride(0) <= 4))),
}
for _N in (1, 3):
    for _code in (contiguous, flattened, transposed, sequence_first):
        SIZES[f"{_code.__name__.replace('_', ' ')} and written on, {_N}"] = hides(
            "a copy is made for some layouts alone",
            lambda code=_code: Own(code, place=parameter(1, 1, 2, value=0.5)),  # type: ignore[misc]
            input=train(_N),
            gradients=False,
        )

# --- what a copy of a network is not ----------------------------------------------------------------------------------

KNOWN: list[Any] = []
BY_PART: dict[Any, bool] = {}
BY_IDENTITY: dict[int, bool] = {}


class Forgetful(Two):
    """Copies of it do not have all that it has."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "mix": False}


class Box:
    """The same of what is no module."""

    mix = True

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _other_box, ()


def _other_box() -> Box:
    box = Box()
    box.mix = False
    return box


def known(asked: Callable[[Any], bool], part: Callable[[Two], Any]) -> Make:
    """Return what builds a network, a part of which is kept outside of it."""

    def make() -> nn.Module:
        net = reads_out(mixing_if(asked))()
        kept = part(net.double())  # type: ignore[arg-type]
        KNOWN[:] = [kept]
        for known_by, key in ((BY_PART, kept), (BY_IDENTITY, id(kept))):
            known_by.clear()
            known_by[key] = True
        return net

    return make


COPIES: dict[str, Entry] = {
    "itself": hides("a copy is another object", known(lambda net: any(each is net for each in KNOWN), lambda net: net)),
    "its weight": hides(
        "so are its weights", known(lambda net: any(each is net.l1.weight for each in KNOWN), lambda net: net.l1.weight)
    ),
    "by weight": hides("... as a key", known(lambda net: BY_PART.get(net.l1.weight, False), lambda net: net.l1.weight)),
    "by identity": hides("... or its identity", known(lambda net: BY_IDENTITY.get(id(net), False), lambda net: net)),
    "says how it is copied": hides(
        "a copy lacks what __getstate__ leaves out",
        lambda: Forgetful(mixing_if(lambda net: net.mix), sl1=st.LI(), sl2=st.LI(), mix=True),
    ),
    "object that says so": hides("... or __reduce_ex__", reads_out(mixing_if(lambda net: net.box.mix), box=Box())),
}


def frozen_first() -> nn.Module:
    net = reads_out(lambda net, x, init: x, between=lambda net, x, init: x if x.requires_grad else centred(x))()
    net.l1.requires_grad_(False)
    return net


SIZES["behind a frozen layer"] = hides("what it makes has a gradient if its input does", frozen_first, input=usual)
HIDDEN = of_four_features(NUMBERS | SIZES | COPIES)
