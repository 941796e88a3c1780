"""A batch of one sample: whether a network does to it what it does to each sample of several.

Of one sample, torch takes for contiguous what it copies of several: ``reshape`` is a view in place of a copy and a
view, and ``x @ w.T + b`` is one operation in place of two. So two traces are compared by what they compute.
"""

from collections.abc import Callable, Sequence

from spikingtorch.fold.replay import Expected, Form
from spikingtorch.fold.trace import Noted, TracedCall
from spikingtorch.fold.values import Graph, Row, Values, differs, tensors_in
from spikingtorch.functional.core.torch_private import pytree


def check_single(
    calls: Sequence[TracedCall], expected: Sequence[Expected], constant: Callable[[Noted], object]
) -> None:
    """Raise unless the trace of one sample computes what that of several does.

    Args:
        calls: the trace of one sample.
        expected: the calls of the traces of several.
        constant: tells tensors that no operation made apart.

    Raises:
        Objection: it computes something else.
    """
    values = Values()
    several = Graph(values, [_row_of_several(each) for each in expected])
    one = Graph(values, [Row(call, call.given, call.made, map(constant, tensors_in(call.given))) for call in calls])
    for ours, theirs in zip(one.seen, several.seen, strict=False):
        if ours.key != theirs.key:
            mine, others = values.behind(ours.key), values.behind(theirs.key)
            raise differs(values.first(mine - others, ours.call), values.first(others - mine, theirs.call))
    if len(one.seen) != len(several.seen):
        longer = max(one.seen, several.seen, key=len)
        raise differs(*[longer[min(len(one.seen), len(several.seen))].call] * 2)


def _row_of_several(expected: Expected) -> Row:
    forms = [leaf for leaf in pytree.tree_leaves(expected.call.given) if isinstance(leaf, Form)]
    return Row(expected.call, expected.given, expected.made, (form.constant for form in forms))
