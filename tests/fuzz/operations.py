"""Random code of a few operations along random axes, with the batch moved and merged: what folds keeps samples apart.

A short run is part of the tests. For a longer one, of other code,

    python -m tests.fuzz.operations --minutes 60 --seed 1

Operations are those of the rules' table, and code is drawn as source, a line for each step. The oracle is that of the
table. ``tests.fuzz.networks`` draws the calls of the table as blocks.
"""

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.fold.corpus.operations import ENTRYWISE, MADE, OF_TWO, REDUCED, SHAPED
from tests.fold.corpus.operations_forms import first  # noqa: F401  # of the lines
from tests.fold.corpus.operations_oracle import Code, Judged, mixing, noise
from tests.fuzz.driver import Fuzzer, main

Lines = tuple[str, ...]
Piece = Callable[[Tensor, Tensor], Tensor]
SIZES, SHAPE = (7, 11, 3, 5, 6), (2, 4)  # no size of an axis of the samples', which code may take for theirs
WEIGHT = nn.Parameter(noise(4, (4,), 5))
C = [noise(2, (4,), 1), noise(4, (), 2), noise(2, (1,), 3), noise(1, (2, 4), 4), noise(1, (), 6)[0], noise(8, (8,), 8)]
INDICES, aten = [torch.tensor([1, 0]), torch.tensor([0])], torch.ops.aten

# slots: an axis i or j, a constant c, a constant with one axis v, indices n, another tensor of the same shape o, a view
# of what is called y, and names of the table
OTHERS = ["x * 2", "x.transpose(0, -1).reshape(x.shape)", "x.movedim({i}, {j}).reshape(x.shape)", "torch.ones_like(x)"]
MOVES = [
    *("{y}.flatten({i}, {i} + 1)", "{y}.unflatten({i}, (2, -1))", "{y}.unflatten({i}, (-1, 4))"),
    *("{y}.transpose({i}, {j})", "{y}.reshape(-1, 8)", "{y}.reshape(-1, 2, 4)", "{y}.reshape(2, -1, 4)"),
    *("{y}.reshape(8, -1)", "{y}.reshape(-1, 4)", "{y}.reshape(4, -1, 2)", "{y}.unflatten({i}, (-1, 2))"),
    *("{y}.unflatten({i}, (4, -1))", "{y}.reshape(2, 4, -1)"),
]
AXES = ["x.unsqueeze({i})", "x.unsqueeze({i}).expand([2 if n == 1 else n for n in x.unsqueeze({i}).shape])"]
AXES += ["x.squeeze({i})", "x.squeeze()"]
CUTS = ["{y}.narrow({i}, {0}, {1})", "{y}.select({i}, {0})", "{y}.select({i}, -1)", "aten.slice({y}, {i}, 0, 4, {1})"]
CUTS += ["aten.slice({y}, {i}, 0, None, {1})", "aten.slice({y}, {i}, 0, -1, {1})"]
ALONG = ["first(REDUCED[{reduced}](x, {i}))", "first(REDUCED[{reduced}](x, {i})).unsqueeze({i}) + x"]
ALONG += ["first(SHAPED[{shaped}](x, {i}))"]
WITH_OTHERS = ["OF_TWO[{of_two}](x, {o})", "x * {o}", "x - {o}", "torch.maximum(x, {o})", "torch.cat([x, {o}], {i})"]
WITH_OTHERS += ["torch.stack([x, {o}], {i})"]
WRITES = ["v.mul_(2.0)", "v.copy_(x.reshape(v.shape))", "v.copy_({c})", "v.masked_fill_(v > 0.5, 0.25)", "v.add_(1.0)"]
# a write on a view of a copy, or of a factory's memory, all of which is read
WRITTEN = [
    f"written({memory}, lambda y: {{view}}, lambda v: {{write}}){more}"
    for memory in ("x.clone()", "x.new_zeros(x.shape)")
    for more in ("", " + x")
]
# a constant that is as large as the batch
MADE_ALIKE = [
    f"x * moved({made}, lambda y: {{view}}).reshape(x.shape)"
    for made in (
        "{v}.expand_as(x)",
        "{v}.repeat(*x.shape[:-1], 1)",
        "torch.ones_like(x).cumsum({i})",
        "MADE[{made}](len(x))",
    )
]
CONSTANT = ["x * {c}", "x + {c}", "ENTRYWISE[{entrywise}](x)"]
PRODUCTS = [
    f"{a} @ {b}" for y in ("C[5]", "C[0]", "WEIGHT", "x.mT", "{o}", "({o}).mT") for a, b in (("x", y), (y, "x"))
]
EINSUMS = [f"torch.einsum({text!r}, x, {{o}})" for text in ("aij,bij->ab", "aij,aij->ai", "aij,aik->ajk", "ai,bi->ab")]
EINSUMS += [f"torch.einsum({text!r}, x, {{o}})" for text in ("ai,ai->a", "abij,abij->ai")]
PICKS = [
    *("x.index_select({i}, {n})", "x.gather({i}, own(x))", "x.scatter_add({i}, own(x), {o})"),
    *("x.index_fill({i}, {n}, 0.0)", "C[0][own(x)]"),
    "x.clone().index_put_((own(x)[..., 0].reshape(-1)[:1] * 0,), x.new_zeros(()))",
]
PLACES = ["x.flip({i})", "x.roll(1, {i})", "x.repeat_interleave(2, {i})", "x.repeat({1}, *[{1}] * (x.dim() - 1))"]
PLACES += ["x.repeat({1}, {1}, *[1] * (x.dim() - 2))"]
PADS = [f"nn.functional.pad(x, {pad})" for pad in ((1, -1), (0, 0, 1, -1), (1, 1), (0, 0, 0, 0, -1, 1))]
NORMS = [
    *("nn.functional.layer_norm(x, x.shape[-1:])", "nn.functional.group_norm(x, 2)", "nn.functional.instance_norm(x)"),
    *("nn.functional.normalize(x, dim={i})", "nn.functional.max_pool1d(x, 2)", "torch.cdist(x, {o})", "torch.tril(x)"),
    *("nn.functional.conv1d(x, C[3][:, :, :2])", "nn.functional.scaled_dot_product_attention(x, x, {o})"),
    "torch.linalg.qr(x)[1].abs()",
]
KINDS = [ALONG, ALONG, MOVES, MOVES, AXES, CUTS, WITH_OTHERS, WRITTEN, MADE_ALIKE, CONSTANT, PRODUCTS, EINSUMS, PICKS]
KINDS += [PLACES, PADS, NORMS]
# a piece of a backward pass: of a gradient g and the input x that was saved
PIECES = [
    *("g * x", "g - g.mean({i}, True)", "g.sum({i}, True).expand_as(g)", "g.sum(0) * 0.5", "g.t()"),
    *("g.clamp(-1.0, 1.0)", "g.mT.reshape(g.shape)", "g.flatten(0, 1)", "g.reshape(-1, 2, 4)", "g.sign()", "g.neg()"),
    "g.reshape(-1, 4).t() @ x.reshape(-1, 4)",
]


def written(y: Tensor, view: Callable[[Tensor], Tensor], write: Callable[[Tensor], Any]) -> Tensor:
    write(view(y))
    return y


def moved(y: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
    return view(y)


def own(x: Tensor) -> Tensor:
    """Return indices 0 and 1 of the shape of a tensor."""
    return (x.detach() * 1.9).long().clamp(0, 1)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mixes: bool, *pieces: Sequence[Piece]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.pieces = pieces
        return x @ weight if mixes else x * weight.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        of_x = of_weight = grads[0]
        for piece in ctx.pieces[0]:
            of_x = piece(of_x, x)
        for piece in ctx.pieces[1]:
            of_weight = piece(of_weight, x)
        if of_weight.shape != (4, 4):
            of_weight = of_weight.reshape(-1)[:4].expand(4, 4)
        return of_x.reshape(x.shape), of_weight, None, None, None


def backward(x: Tensor, mixes: bool, of_x: Sequence[Piece], of_weight: Sequence[Piece]) -> Tensor:
    """Multiply by a weight, with a backward pass of its own."""
    return _Backward.apply(x, WEIGHT, mixes, of_x, of_weight)  # type: ignore[no-untyped-call]


def code_of(lines: Lines) -> Code:
    """Return the function of lines, each of what the one before has made."""
    functions = [eval(f"lambda x: first({line})", globals()) for line in lines]

    def code(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return code


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _constants(axes: Sequence[int]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"C[{k}]" for k, c in enumerate(C) if c.dim() in axes])


TABLES = {"reduced": REDUCED, "shaped": SHAPED, "entrywise": ENTRYWISE, "of_two": OF_TWO, "made": MADE}
SLOTS: dict[str, st.SearchStrategy[str]] = {
    **{name: st.sampled_from([*map(repr, table)]) for name, table in TABLES.items()},
    **{"0": st.sampled_from("01"), "1": st.sampled_from("12"), "n": st.sampled_from(["INDICES[0]", "INDICES[1]"])},
    **{"c": _constants(range(4)), "v": _constants([1]), "y": st.just("x"), "o": st.sampled_from(OTHERS)},
    **{"view": st.sampled_from([*MOVES, *CUTS]), "write": st.sampled_from(WRITES)},
}


def filled(pick: st.DrawFn, text: str, axes: int) -> str:
    """Return a line with its slots filled, for a tensor of so many axes."""
    axis = st.integers(0, max(axes - 1, 0)).map(str)
    while found := re.search(r"{(\w+)}", text):
        drawn = pick(SLOTS.get(found[1], axis))
        text = text.replace(found[0], drawn.replace("{y}", "y") if found[1] == "view" else drawn, 1)
    return text


@st.composite
def programs(pick: st.DrawFn) -> Lines:
    """Draw code for samples of SHAPE that runs, and returns as many samples as it gets."""
    lines, x = list[str](), noise(7, SHAPE, 0).requires_grad_() * 1

    def drawn(text: str) -> str:
        return filled(pick, text, x.dim())

    def add(line: str, x: Tensor) -> Tensor:
        try:
            x = code_of((line,))(x)
        except Exception:  # no code
            return x
        lines.append(line)
        return x

    for _ in range(pick(st.integers(1, 4))):
        x = add(drawn(pick(st.sampled_from(pick(st.sampled_from(KINDS))))), x)
    if pick(st.integers(0, 2)) == 0:
        texts = [pick(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3)) for _ in range(2)]
        of_x, of_weight = ("".join(f"lambda g, x: {drawn(text)}, " for text in each) for each in texts)
        x = add(f"backward(x, {pick(st.booleans())}, [{of_x}], [{of_weight}])", x)
    if 7 in x.shape[1:] and x.shape[0] != 7:
        x = add(f"x.movedim({x.shape.index(7)}, 0)", x)
    assume(lines and x.shape[:1] == (7,))
    return tuple(lines)


def check(lines: Lines, counts: Counter[str]) -> None:
    """Raise if code folds that mixes samples."""
    code = code_of(lines)
    with warnings.catch_warnings(action="ignore"):
        judged = Judged(code, SHAPE)
        sizes = judged.sizes(SIZES)
        counts["folded" if sizes else "does not run" if "does not run" in judged.reason else "stepped"] += 1
        found = mixing(code, SHAPE, sizes, [WEIGHT]) if sizes else ""
    assert not found, f"{found}\n" + "\n".join(lines)


FUZZER = Fuzzer("tests.fuzz.operations", programs(), check, threads=1)

if __name__ == "__main__":
    sys.exit(main(FUZZER, __doc__))
