"""The check that a network that folds does the same for other numbers of samples than in the proof."""

from collections.abc import Container, Sequence
from functools import partial

import torch
from torch import nn

from spikingtorch.fold.copied import CallForm, Copied, attempt
from spikingtorch.fold.replay import Expected, Replay
from spikingtorch.fold.trace import Objection, Trace
from spikingtorch.fold.values import check_single

CHANGES = "changes {} while it runs: it keeps a state, or a record, of its own"


class Sizes:
    """The calls in the traces of a proof, which a network must make for any number of samples. No tensors.

    Args:
        copied: what was traced.
        taught: names of operations for which the user has given rules.
        expected: the calls of both traces.
        asks: whether the user's code has asked for a size.
    """

    def __init__(self, copied: Copied, taught: Container[str], expected: Sequence[Expected], asks: bool) -> None:
        self._call_form: CallForm = copied.call_form
        self._numbers = copied.numbers
        self._taught, self._asks = taught, asks
        self._expected = expected
        self._known: dict[int, str | None] = {}

    def knows(self, N: int) -> bool:
        """Return True if a number of samples has been checked."""
        return _number(N) in self._known

    def learn(self, other: "Sizes") -> None:
        """Take over the results of an earlier proof for numbers of samples that were not checked since."""
        self._known = other._known | self._known

    def objection_to(self, N: int, net: nn.Module) -> str | None:
        """Return what the traced network does differently for N samples, as the end of a sentence "it ..."."""
        N = _number(N)
        # for one sample, torch uses views where it copies for several
        if not self._asks and N != 1:
            return None
        if N not in self._known:
            failure = attempt(net, self._call_form, f"{N} samples", partial(self._run, N, net))
            self._known[N] = None if failure is None else str(failure)
        return self._known[N]

    def _run(self, N: int, net: nn.Module) -> None:
        """Run a copy on N samples; raise if it does something else."""
        copied = Copied(net, self._call_form, self._numbers)
        if N == 1:
            trace = Trace(self._call_form.device, self._taught)
            copied.record(N, None, trace)
            several = [each.call._replace(given=each.given, made=each.made) for each in self._expected]
            check_single(trace.calls, several)
        else:
            replay = Replay(self._call_form.device, self._taught, self._expected, N)
            copied.record(N, None, replay)
            replay.check()
        if changing := copied.changed():
            raise Objection(CHANGES.format(changing[0]))


def _number(N: int) -> int:
    """Return a number of samples; for a symbolic number in torch.compile or torch.export, that of the example."""
    return N.node.hint or 0 if isinstance(N, torch.SymInt) else N
