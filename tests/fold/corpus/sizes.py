"""Code that looks at how many samples there are, or at how they lie in memory, whether an operation shows it or not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
import spikingtorch.functional as SF
from tests.fold.corpus import entry
from tests.fold.corpus.entry import FOLDS, Code, Entry, Whole, each_time, folds, hides, reads_out, steps, two, weight
from tests.nets_that_step import Hole, parameter, readout, train, with_backward

# --- the size, and the place in the batch -----------------------------------------------------------------------------


NUMBER = "computes with the number of samples, or with a number that changes"
SIZE: dict[str, Entry] = {
    "a number of samples": steps(lambda net, x: x / len(x), NUMBER),
    "a number of bytes in a branch": steps(lambda net, x: x if x.nbytes < 400 else 2.0 * x),
    "a remainder of a number of samples": steps(lambda net, x: x if x.shape[0] % 5 else 2.0 * x),
    "a place in the batch": steps(lambda net, x: x + torch.arange(len(x))[:, None], NUMBER),
    "a table is cut to size": steps(lambda net, x: x + net.table[: len(x)], table=weight(1000, 6)),
    "Python makes a row for each sample": steps(lambda net, x: x + torch.tensor([[0.1 * i] for i in range(len(x))])),
    "a text of a size": steps(lambda net, x: x * len(str(len(x)))),
}

# --- something else for some numbers of samples -----------------------------------------------------------------------


gradient_by_size = with_backward(lambda grad: grad * 0.5 if grad.shape[0] <= 20 else grad)


def chosen_by_size(code: Callable[[Tensor], Tensor]) -> Hole:
    def chosen(net: Any, x: Tensor, init: Any) -> Tensor:
        other = code(x)
        return x if x.shape[0] <= 20 else other

    return chosen


def many(code: Code, **parts: Any) -> Entry:
    """Return an entry that folds for 3 samples of 5 steps, and does something else for 35 rows than for a few."""
    return folds(code, **parts, batches=(3, 7), then="for 35 samples than for a few")


def of_one(net: Any, x: Tensor, *init: Any) -> Tensor:
    return (net.a if len(x) > 20 else net.b)(x, *init)


def without_gradient(net: Any, x: Tensor) -> Tensor:
    with torch.set_grad_enabled(len(x) <= 20):
        return x * 2.0


def norms(**options: Any) -> dict[str, Callable[[], nn.Module]]:
    return {
        "a": lambda: nn.BatchNorm1d(6, affine=False, **options),
        "b": lambda: nn.BatchNorm1d(6, 1.0, affine=False, **options),
    }


def asks_for_three(net: Any, x: Tensor) -> Tensor:
    return x * (2.0 if len(x) in (3, 15) else 1.0)


SMALL = train(20)
OTHERS: dict[str, Entry] = {
    "another tensor is returned": hides(two(after=chosen_by_size(lambda x: x * 0.5)), input=SMALL, sl2=st.LI),
    "a layer is handed another tensor": hides(
        Whole(lambda: readout(between=chosen_by_size(lambda x: x * 0.5), l1=nn.Linear(4, 3), l2=nn.Identity())),
        input=SMALL,
    ),
    "another gradient": hides(reads_out(lambda net, x, init: gradient_by_size(x)), input=SMALL),
    "an axis that only one sample lacks": hides(
        reads_out(lambda net, x, init: x.view(-1, 2, 2).squeeze(0).flip(1).reshape(-1, 4)), input=train(1)
    ),
}
MANY: dict[str, Entry] = {
    "a layer of the same parameters for many": folds(
        two(of_one),
        a=lambda: st.LIF(reset=SF.to_zero),
        b=lambda: st.LIF(reset=SF.by_subtraction),
        batches=(3, 7),
        then="for 35 samples than for a few",
    ),
    "a norm for many": many(of_one, **norms()),
    "a norm without statistics for many": many(of_one, **norms(track_running_stats=False)),
    "no gradient for many": many(without_gradient),
    "a constant for many": many(lambda net, x: x * torch.tensor(2.0 if len(x) > 20 else 1.0)),
}
OTHERS |= {
    "factors for some": folds(asks_for_three, batches=(5, 3, 4, 3), then="for 3 samples than for a few|for 15 samples"),
    # what it takes for a step's place in memory
    "a step of an input is no contiguous tensor": hides(
        reads_out(lambda net, x, init: x if x.is_contiguous() else x * 0.5), batches=(4, 2)
    ),
    "the offset of a step": hides(reads_out(lambda net, x, init: x if not x.storage_offset() else x * 0.5)),
    "the strides of a step": hides(reads_out(lambda net, x, init: x if x.stride(0) <= 4 else x * 0.5)),
}

# --- one sample, of which torch copies less ---------------------------------------------------------------------------


def heads(x: Tensor) -> Tensor:
    return x.repeat(1, 2).reshape(len(x), 2, 3, 2).permute(0, 2, 1, 3)


def besides_written(net: Any, x: Tensor) -> Tensor:
    """Write on a copy, if torch makes one, and return what was copied."""
    x = x * 1.0
    x.t().contiguous().add_(1.0)
    return x


def no_gradient(net: Any, x: Tensor) -> Tensor:
    with torch.set_grad_enabled(len(x) > 1):
        return x * 2.0


def in_another_order(net: Any, x: Tensor) -> Tensor:
    first, second = torch.rand_like(x), torch.rand_like(x)
    return x + (first if len(x) == 1 else second)


def part_written_on(net: Any, x: Tensor) -> Tensor:
    h = x * 1.0
    h[:, :2].add_(1.0)
    return h * heads(h).reshape(len(x), 12)[:, :6]


def parts_written_on_in_turn(net: Any, x: Tensor) -> Tensor:
    """Write on one half of a copy, and return the other if there are several."""
    h = x * 1.0
    first, second = h.chunk(2, 1)
    first.add_(1.0)
    return torch.cat([second, first] if len(x) > 1 else [second, h[:, :3] - 1.0], 1)


def one_read_for_the_other(net: Any, x: Tensor) -> Tensor:
    """Return a tensor that was written on by a view of it, or of one sample one that was not."""
    h, same = x * 1.0, x * 1.0
    view = h.view(-1, 2, 3)
    h.add_(1.0)
    return (same.view(-1, 2, 3) if len(x) == 1 else view).flatten(1)


def expanded(net: Any, x: Tensor) -> Tensor:
    """Write on one of two rows that lie in one memory, if torch copies nothing."""
    rows = (x * 1.0)[:, None].expand(-1, 2, -1)
    rows = rows if len(x) == 1 else rows.clone()
    rows[:, 0].add_(1.0)
    return rows[:, 1]


def own_or_copied(net: Any, x: Tensor) -> Tensor:
    """Return a copy, of which one sample is spared."""
    y, z = x * 1.0, x * 1.0
    copied = y.clone()
    (y if len(x) == 1 else copied).mul_(2.0)
    return copied + z


def biased_in_pairs(net: Any, x: Tensor) -> Tensor:
    y: Tensor = x @ net.w
    pairs = y.view(-1, 2, 3) + net.b[:3]
    return pairs.flatten(1) if len(x) > 1 else y + net.b


def transposed_spikes(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl1(4 * net.l1(x).view(-1, 2, 3).transpose(1, 2), init)


def contiguous(net: Any, x: Tensor, init: Any) -> Tensor:
    z = transposed_spikes(net, x, init)
    y = z.contiguous()
    y *= 3.0
    return z + y


def flattened(net: Any, x: Tensor, init: Any) -> Tensor:
    z = transposed_spikes(net, x, init)
    return z.flatten(1).mul_(3.0) + z.flatten(1)


def sequence_first(net: Any, x: Tensor, init: Any) -> Tensor:
    h = x.view(-1, 2, 2).transpose(0, 1).contiguous()
    h += net.place
    return net.sl2(net.l2(net.sl1(4 * net.l1(h.transpose(0, 1).flatten(1)), init)), init)


def single(code: Code, mode: str = r"for one sample.* of sizes\.py", **how: Any) -> Entry:
    """Return an entry that folds for three samples; then comes one, for which it steps, or not."""
    return folds(code, batches=(3, 1), then=mode, w=weight(6, 6), b=weight(6), **how)


ONE: dict[str, Entry] = {
    "one sample: an axis is squeezed": single(lambda net, x: x[:, None].squeeze(1).mul(2.0), FOLDS),
    "one sample: a size is asked, and the same is done": single(lambda net, x: x.reshape(len(x), 6), FOLDS),
    "one sample: a copy is written on": single(lambda net, x: heads(x).reshape(len(x), 12).mul_(2.0)[:, :6], FOLDS),
    "one sample: a part is written on": single(part_written_on, FOLDS),
    "one sample: a clone is written on": single(lambda net, x: x.clone().mul_(2.0), FOLDS),
    "one sample: a bias before a view": single(lambda net, x: ((x @ net.w).view(-1, 1, 6) + net.b).flatten(1), FOLDS),
    "one sample: a branch": single(lambda net, x: x * 2.0 if len(x) > 1 else x),
    "one sample: a constant of its size": single(lambda net, x: x * torch.tensor(1.0 / min(len(x), 2))),
    "one sample: no gradient": single(no_gradient),
    "one sample: another scale": single(lambda net, x: x * (2.0 if len(x) > 1 else 3.0)),
    "one sample: another dtype of a number": single(lambda net, x: x * (2 if len(x) > 1 else 2.0)),
    "one sample: another tensor": single(lambda net, x: x + (net.w if len(x) > 1 else net.w.t())[0]),
    "one sample: parts are written on in turn": single(parts_written_on_in_turn, gradients=False),
    "one sample: one is read that was not written on": single(one_read_for_the_other),
    "one sample: one of two rows in one memory is written on": single(expanded),
    "one sample: a bias for pairs": single(biased_in_pairs),
    "one sample: the last operation is left out": single(lambda net, x: x * 2.0 if len(x) > 1 else x * 2.0 + 1.0),
    "one sample: what several copy is written on": single(besides_written),
    "one sample: a tensor is written on, of several its copy": single(own_or_copied),
    "one sample: draws in another order": steps(
        in_another_order, r"for one sample than for several \(rand_like", batches=(1,), draws=True
    ),
    **{
        f"a copy that is made for some layouts alone ({code.__name__}, {N})": hides(
            entry.own(code), input=train(N), gradients=False, place=lambda: parameter(1, 1, 2, value=0.5)
        )
        for code in (contiguous, flattened, sequence_first)
        for N in (1, 3)
    },
}
SIZES = SIZE | OTHERS | each_time(MANY) | ONE
