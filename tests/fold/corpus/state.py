"""Tensors and numbers that code keeps from step to step, and values that it hands to Python."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.fold.corpus import entry
from tests.fold.corpus.entry import FOLDS, SEQUENCE, Between, Code, Entry, Whole, buffer, folds, hides, module, steps

# --- tensors that are kept, wherever ----------------------------------------------------------------------------------


def mean_written_to_a_buffer(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        net.mean.lerp_(x.mean(0), 0.1)
    return x - net.mean


def mean_written_by_out(net: Any, x: Tensor) -> Any:
    torch.mean(x.detach(), 0, out=net.mean)
    return x * 2.0


def buffer_replaced(net: Any, x: Tensor) -> Any:
    net.mean = 0.5 * net.mean + 0.5 * x.detach().mean(0)
    return x * 2.0


def written_by_numpy(net: Any, x: Tensor) -> Any:
    net.mean.numpy()[:] += 1.0
    return x * net.mean.clone()


def written_by_alias(net: Any, x: Tensor) -> Any:
    if net.alias is None:
        net.alias = net.mean.view(2, 3)
    net.alias.mul_(0.9)
    return x * net.mean.clone()


def kept_as(name: str, what: Callable[[Tensor], Any]) -> Code:
    def code(net: Any, x: Tensor) -> Any:
        setattr(net, name, what(x))
        return x * 2.0

    return code


def mean_used_at_the_next_step(net: Any, x: Tensor) -> Any:
    net.last = 0.5 * net.last + x.detach().mean()
    return x + net.last


def scale_of_the_first_batch(net: Any, x: Tensor) -> Any:
    if net.scale is None:
        net.scale = 1.0 / (x.detach().std(0) + 1.0)
    return x * net.scale


def mixes_after_many(net: Any, x: Tensor) -> Any:
    """Remember that a batch was large."""
    was_large, net.large = net.large, net.large or x.shape[0] > 10
    return x - x.mean(0) if was_large else x


def code_replaced(net: Any, x: Tensor) -> Any:
    net.code = lambda net, x: 2.0 * x
    return x


def training_switched(net: Any, x: Tensor) -> Any:
    net.drop.train(not net.drop.training)
    return x


class Rotary(nn.Module):
    """Turns pairs of features by an angle that grows with the token; the table is made at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.outer(torch.arange(5), 0.5 ** torch.arange(4)).to(x)
        one, other = x.chunk(2, -1)
        cos, sin = self.table.cos(), self.table.sin()
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


OUTLIVES = "writes on a tensor that outlives the step in place"
KEPT: dict[str, Entry] = {
    "a buffer is written on": steps(mean_written_to_a_buffer, OUTLIVES + ".*lerp_", mean=buffer(6)),
    "a buffer is written on by an argument": steps(mean_written_by_out, mean=buffer(6)),
    "a buffer is written on by numpy": steps(written_by_numpy, "leaves torch, with numpy", mean=buffer(6)),
    "a buffer is written on by a tensor that is kept": steps(written_by_alias, mean=buffer(6), alias=lambda: None),
    "a buffer is replaced": steps(buffer_replaced, mean=buffer(6)),
    "a loss with its graph": steps(kept_as("loss", lambda x: x.square().mean()), loss=lambda: None),
    "a number that is used at the next step": steps(
        mean_used_at_the_next_step, "changes last.*keeps a state", last=lambda: torch.zeros(())
    ),
    "what the first batch sets up": steps(scale_of_the_first_batch, scale=lambda: None, then=FOLDS),
    "a table that a module makes at the first call": steps(
        lambda net, x: (net.module(x) @ net.module(x).mT).softmax(-1) @ x,
        "changes module.table while it runs: it keeps a state, or a r",
        module=Rotary,
        shape=SEQUENCE,
        then=FOLDS,
    ),
    "it mixes once a batch was large, as that of all steps is": hides(mixes_after_many, large=bool),
    "the network changes its code": steps(code_replaced),
    "changes a module's mode": steps(training_switched, r"changes drop\.training", drop=lambda: nn.Dropout(0.0)),
    "a module of torch's writes on its weight": steps(
        lambda net, x: net.module(x.long()).sum(1), module=lambda: nn.Embedding(5, 6, max_norm=1.0)
    ),
    "an iteration goes on from the last": steps(
        module, OUTLIVES, module=entry.parametrized(parametrizations.spectral_norm)
    ),
    "what is written is what was there": folds(kept_as("size", lambda x: tuple(x.shape[1:])), size=lambda: (6,)),
}

# --- values that Python sees ------------------------------------------------------------------------------------------


def excused(net: Any, x: Tensor) -> Any:
    try:
        peak = float(x.max())
    except Exception:
        peak = 1.0
    return x * peak


def numbered_by_apply(net: Any, x: Tensor) -> Any:
    count = itertools.count()
    return x + torch.zeros(x.shape[0], 1).apply_(lambda value: next(count))


def default_dtype_set(net: Any, x: Tensor) -> Any:
    torch.set_default_dtype(torch.float64)
    x = x * x.max().item()
    torch.set_default_dtype(torch.float32)
    return x


def variable_set_later() -> Iterator[Code]:
    """Yield code that reads a variable of this function, which gets a value later."""

    def code(net: Any, x: Tensor) -> Any:
        try:
            return x * factor
        except NameError:
            return x

    yield code
    factor = 2.0


LATER = variable_set_later()


class Entries(dict[str, Any]):
    __getattr__ = dict.__getitem__


class WithEntries(Between):
    options = Entries(a=1)  # a look at a class asks for the attribute func


class Unspeakable(float):
    def __repr__(self) -> str:
        raise RuntimeError("has no text")


def deep_list() -> list[Any]:
    box: list[Any] = []
    for _ in range(700):
        box = [box]
    return box


READS = "reads the value of a tensor"
VALUES: dict[str, Entry] = {
    "a value by item": steps(lambda net, x: x * (1.0 + x.sum(1).max().item()), READS),
    "a value by an operation that returns no tensor": steps(lambda net, x: x if torch.equal(x, x) else 2 * x, READS),
    "a value by tolist": steps(lambda net, x: x * len(x.detach().sum(0).tolist()), "leaves torch, with tolist"),
    "values by numpy": steps(lambda net, x: x + torch.from_numpy(x.detach().numpy() * 0.5), "leaves torch"),
    "a size that is counted": hides(lambda net, x: x * (x > 0.5).nonzero().shape[0]),
    "an objection is caught": hides(excused),
    "Python writes on memory without an operation": hides(numbered_by_apply),
    "a value between two settings of torch": hides(default_dtype_set),
    "a variable that has no value": hides(next(LATER)),
    "a number that has no text": hides(lambda net, x: x * net.a, a=lambda: Unspeakable(1.0)),
    "a list that is too deep": hides(lambda net, x: x if net.box else -x, box=deep_list),
    "a class whose attributes are entries": hides(Whole(partial(WithEntries, lambda net, x: x), (6,))),
    "a number that nothing reads": folds(lambda net, x: (x.detach().mean(), x * 2.0)[1]),
}
STATE = KEPT | VALUES
