"""Random networks, called in random ways: mode "auto" gives the numbers and gradients of mode "step".

A short run is part of the tests. For a longer one, of other networks,

    python -m tests.fuzz.networks --minutes 60 --seed 1

Networks are drawn as source, a text for each block. What a proof has to see beyond operations (what a first batch sets
up, attributes of odd types, closures that are used up) is in ``tests/fold``.
"""

import random
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from spikingtorch import SpikingNet
from spikingtorch.testing import relative_error
from tests.fuzz import blocks
from tests.fuzz.blocks import FORMS, KINDS, PLAIN, ROWS, STYLES, TIMED, Margins, Shape, Timed
from tests.fuzz.driver import Fuzzer, main
from tests.fuzz.events import CHANGES, GRADS, INITS, LAYOUTS, THENS, WAYS, Change, Results, Run, snapshot, train

# how near to the threshold rounding may decide over a spike
NEAR = 1e-9
# largest max|a - b| / max|b|, of outputs and gradients
TOLERANCE = 1e-9
# what numbers of about one may differ by in any case, as does a sum that is zero; batch norm multiplies such rounding
# by up to 1 / sqrt(eps) = 316, once for each that stands in a row
NOISE = 1e-11
# what autograd says of a tensor that it saved and somebody wrote on
_WRITTEN = re.compile("modified (by an )?inplace")


# how the last call ran
WAY: list[str] = [""]


class Watched(SpikingNet):
    """A network that notes how it runs."""

    def _run_folded(self, *args: Any) -> Any:  # pyright: ignore
        WAY[0] = "folded"
        return super()._run_folded(*args)

    def _run_steps(self, *args: Any) -> Any:  # pyright: ignore
        WAY[0] = "stepped"
        return super()._run_steps(*args)


class Network(NamedTuple):
    takes: Shape
    gives: Shape
    blocks: tuple[str, ...]  # each as source

    def has(self, *texts: str) -> bool:
        return any(text in block for block in self.blocks for text in texts)

    @property
    def steady(self) -> bool:
        """Whether a second call computes what the first did."""
        return not self.has("mixing", "spectral_norm")


class Case(NamedTuple):
    """A network and what happens to it; the seed is that of its weights."""

    network: Network
    events: tuple[Run | Change, ...]
    training: bool = True
    seed: int = 0

    def build(self) -> SpikingNet:
        """Return the network over time, in float64."""
        torch.manual_seed(self.seed)
        net: Any = Timed("row", *[eval(text, dict(vars(blocks))) for text in self.network.blocks]).double()
        net.takes = self.network.takes
        return Watched(train(net) if self.training else net.eval(), self.network.gives)


# --- what is drawn ----------------------------------------------------------------------------------------------------

Texts = tuple[str, ...]
RESIDUALS = ("h = h + f(h)", "h += f(h)", "f(h) += h", "h *= 0.5", "h = h * f(h)")
HARDTANH = "nn.Hardtanh(0.0, 0.8, inplace=True)"
# layers of more than an input and an output
WIDE = {"BioLIF": "layer of two inputs", "Pair": "layer of three outputs"}
_SINGLE = tuple(kind for kind in KINDS if kind not in WIDE)


# operations of the table of rules that have a call of the sort
CALLED = {
    how: [f"Called({name!r}, {how!r})" for name, row in ROWS.items() if row.calls(how == "keeping")]
    for how in ("keeping", "mixing")
}


def timed(what: str, *parts: str) -> str:
    return f"Timed({', '.join([repr(what), *parts])})"


@cache
def plain(shape: Shape) -> dict[str, Texts]:
    """Return blocks of one input and one output for samples of a shape, by their sorts."""
    C, rank, matrix = shape[0], len(shape), f"weights({shape}, {shape})"
    lazy = f"nn.LazyLinear({C})" if rank == 1 else matrix
    group = f"nn.Sequential(Plain('contiguous'), nn.GroupNorm(1, {C}))"  # channels last, torch's may end the process
    normed = (f"parametrizations.weight_norm({matrix})", f"parametrizations.spectral_norm({matrix})")
    found: dict[str, Texts] = {
        "weights": (matrix, f"weights({shape}, {shape}, bias=False)", lazy, *normed),
        "activation": ("nn.ReLU()", "nn.Tanh()", "nn.GELU()", "nn.ReLU(inplace=True)", HARDTANH),
        "in place": tuple(f"Plain({what!r})" for what in PLAIN if what.startswith("in place")),
        "layout": tuple(f"Plain({what!r})" for what in ("transposed", "sliced", "expanded", "flipped")),
        "norm": (f"nn.LayerNorm({shape})", group, f"nn.BatchNorm{max(rank - 1, 1)}d({C})"),
        "dropout": ("nn.Dropout(0.0)", "nn.Dropout(0.3)"),
        "scripted": ("torch.jit.script(nn.Sequential(nn.PReLU(), nn.Tanh()))",),
    }
    return found | ({"attention": (f"Attention({C})",)} if rank > 1 else {})


def reshapes(shape: Shape) -> list[tuple[str, Shape]]:
    """Return blocks that change the shape of samples, and the shape that they make."""
    C, axes, size = shape[0], len(shape) - 1, torch.Size(shape).numel()
    halved = (C, *(length // 2 for length in shape[1:]))
    return [
        (f"nn.Sequential(nn.Flatten(), weights(({size},), (5,)))", (5,)),
        (f"nn.Sequential(Plain('view'), weights(({size},), (5,)))", (5,)),
        (f"nn.Sequential(Offset({shape}), nn.MaxPool{axes}d(2))", halved),
        (f"nn.AvgPool{axes}d(2)", halved),
        (f"nn.Conv{axes}d({C}, {C}, 2, stride=2)", halved),
    ]


@st.composite
def networks(pick: st.DrawFn) -> Network:
    """Draw a network with a spiking layer, one in eight of which holds a block that mixes on purpose."""
    takes = shape = pick(st.sampled_from([(5,), (4, 6), (3, 4, 4)]))
    drawn = pick(_chains(shape, 0).map(lambda chain: chain[-1:])) + pick(_units(shape)) + pick(_chains(shape, 2))
    before: Texts = ()
    if len(shape) > 1 and pick(st.booleans()):
        change, shape = pick(st.sampled_from(reshapes(shape)))
        before, drawn = (*drawn, change), pick(_units(shape)) + pick(_chains(shape, 1))
    if pick(st.integers(0, 7)) == 7:
        place = pick(st.integers(0, len(drawn)))
        drawn = (*drawn[:place], pick(_mixing(shape)), *drawn[place:])
    return Network(takes, shape, before + drawn)


def layers(shape: Shape, kinds: Texts) -> st.SearchStrategy[str]:
    recurrent = st.sampled_from(["none", "none", "none", "dense", "per channel"])
    drawn = st.tuples(st.sampled_from(kinds), st.sampled_from([*STYLES]), st.sampled_from(FORMS), recurrent)
    return drawn.map(lambda found: f"layer{(*found, shape)}")


def spiking(shape: Shape) -> st.SearchStrategy[str]:
    def wrapped(text: str) -> str:
        wide = [what for kind, what in WIDE.items() if repr(kind) in text]
        return timed(wide[0], text) if wide else text

    return layers(shape, KINDS).map(wrapped)


@cache
def _chains(shape: Shape, depth: int) -> st.SearchStrategy[Texts]:
    """Draw blocks in a row, some of them weights with a spiking layer behind them."""
    nested = [_nested(kind, shape, depth - 1) for kind in ("residual", "branches", "checkpoint", "sharing")]
    item = st.one_of(_units(shape), _one(shape), *nested if depth else [])
    return st.lists(item, max_size=2).map(lambda items: sum(items, ()))


@cache
@st.composite
def _units(pick: st.DrawFn, shape: Shape) -> Texts:
    between = pick(st.lists(_one(shape), max_size=1))
    matrix = pick(st.sampled_from([*plain(shape)["weights"][:1] * 3, *plain(shape)["weights"]]))
    last = pick(st.integers(0, 6))
    after = [HARDTANH] if last == 5 else [pick(st.sampled_from(CALLED["keeping"]))] if last == 6 else []
    return (matrix, *sum(between, ()), pick(spiking(shape)), *after)


@st.composite
def _one(pick: st.DrawFn, shape: Shape) -> Texts:
    sorts = plain(shape)
    kind = pick(st.sampled_from([*sorts, "sequential"]))
    if kind != "sequential":
        return (pick(st.sampled_from(sorts[kind])),)
    simple = st.sampled_from(["weights", "activation", "norm", "dropout"]).flatmap(lambda k: st.sampled_from(sorts[k]))
    return (f"nn.Sequential({', '.join(pick(st.lists(simple, min_size=1, max_size=3)))})",)


@st.composite
def _nested(pick: st.DrawFn, kind: str, shape: Shape, depth: int) -> Texts:
    if kind == "sharing":
        pair, matrix = pick(layers(shape, _SINGLE)), plain(shape)["weights"][0]
        parameters = timed("shared parameters", f"*twins({pair})", matrix)
        return (pick(st.sampled_from([timed("shared weights", pair, matrix), parameters])),)
    first = timed("row", *pick(_units(shape)))
    if kind == "branches":
        both = (first, timed("row", *pick(_chains(shape, depth))))
        cat = timed("cat", *both, f"weights({(2 * shape[0], *shape[1:])}, {shape})")
        return (pick(st.sampled_from([cat, timed("difference", *both)])),)
    if kind == "checkpoint":
        return (timed("checkpoint", first),)
    # a shortcut around nothing but neurons as well
    inside = timed("row", pick(spiking(shape))) if pick(st.booleans()) else first
    return (timed(pick(st.sampled_from(RESIDUALS)), inside),)


@st.composite
def _mixing(pick: st.DrawFn, shape: Shape) -> str:
    what = pick(st.sampled_from([*(what for what in TIMED if what.startswith("mixing")), "", "", ""]))
    if not what:
        return pick(st.sampled_from(CALLED["mixing"]))
    known = {"membrane": ("LIF", "IF"), "noisy": ("Noisy",)}
    known |= dict.fromkeys(("twice", "without init", "always new", "training"), _SINGLE)
    kinds = known.get(what.removeprefix("mixing: "))
    return timed(what, *([pick(layers(shape, kinds))] if kinds else []))


def _runs(N: int) -> st.SearchStrategy[Run]:
    """Draw a call, in most cases of N samples, so that sequences can go on."""
    return st.builds(
        Run,
        st.sampled_from(["call"] * 8 + ["stream", "stream", *WAYS]),
        st.sampled_from([N] * 11 + [0, 1, 2, 17]),
        st.sampled_from([2, 5, 17, 1]),
        st.integers(0, 9),
        *map(st.sampled_from, (LAYOUTS, INITS, GRADS, ("", "", *THENS))),
    )


@st.composite
def events(pick: st.DrawFn) -> tuple[Run | Change, ...]:
    """Draw calls of a few forms again and again, others, and changes between them."""
    N = pick(st.sampled_from([2, 5, 3, 1]))
    usual = pick(st.lists(_runs(N), min_size=1, max_size=2))
    again = st.builds(lambda run, seed: run._replace(seed=seed), st.sampled_from(usual), st.integers(0, 9))
    change = st.builds(Change, st.sampled_from([*CHANGES]), st.integers(0, 7))
    return tuple(pick(st.lists(st.one_of(again, again, _runs(N), change), min_size=1, max_size=9)))


# --- the oracle -------------------------------------------------------------------------------------------------------


def check(case: Case, counts: Counter[str]) -> None:
    """Raise unless a network does the same in both modes; count what was seen."""
    # built twice, since torch's copy of a scripted module is unlike it
    model, reference = case.build(), case.build()
    reference.mode = "step"
    for event in case.events:
        if is_out_of_scope(case, event, model):
            continue
        with Margins() as margins:
            reference, want, known = performed(reference, event)
        if margins.least < NEAR:
            counts["discarded, for a membrane came near its threshold"] += 1
            return
        model, got, warned = performed(model, event)
        unexpected = [text for text in warned if text not in known and not text.startswith(("SpikingNet: ", "scan: "))]
        assert not unexpected, f"{event} warns: {unexpected}"
        count(case, event, got, warned, counts)
        compare(case, event, got, want, counts)
        if isinstance(got, Exception) and (case.network.has("checkpoint") or not isinstance(want, Exception)):
            return  # a backward pass that was refused halfway has repeated some checkpoints only
        compare_trees(f"after {event}", snapshot(model), snapshot(reference))


def is_out_of_scope(case: Case, event: Run | Change, model: SpikingNet) -> bool:
    """Say whether an event would be wrong whatever the library does."""
    network = case.network
    if isinstance(event, Change):
        return event.what == "pickle" and network.has("Called")
    # after writes in place, torch's checkpoint has wrong gradients without an error; and a scripted module saves other
    # tensors once torch has optimised it, which checkpoint refuses
    repeated = tuple(text for text in network.blocks if event.then == "checkpoint" or "checkpoint" in text)
    if network._replace(blocks=repeated).has("in place", "script", "h += f(h)"):
        return True
    # several threads would write on one statistic, and .backward() of several would add to one .grad
    trains = any(module.training for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return event.way == "threads" and (event.then == "backward" or trains or not network.steady)


def performed(model: SpikingNet, event: Run | Change) -> tuple[SpikingNet, Any, list[str]]:
    """Return the model, what came out or was raised, and the warnings."""
    torch.manual_seed(3)
    random.seed(3)
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            found = event(model)
        except Exception as error:
            return model, error, []
    warned = [str(each.message) for each in caught]
    if isinstance(event, Change):
        return found if isinstance(found, SpikingNet) else model, {}, warned
    return model, found, warned


def count(case: Case, event: Run | Change, got: Any, warned: Iterable[str], counts: Counter[str]) -> None:
    """Count how an event ran."""
    if isinstance(event, Change):
        counts["changes"] += 1
        return
    counts[f"runs: {event.way}"] += 1
    if event.way in ("call", "stream") and event.T > 1 and event.N > 0 and not isinstance(got, Exception):
        way = WAY[0]
        counts[f"{way}, {'mixing' if case.network.has('mixing') else 'nothing mixes'}"] += 1
        counts["gradients compared"] += sum(name.startswith("d ") for name in got)
        counts["silent outputs"] += not bool(got["out"].any())
    counts.update(f"warned: {found[1]:.70}" for text in warned if (found := re.search(r"because it ([^.(]*)", text)))


def compare(case: Case, event: Run | Change, got: Any, want: Any, counts: Counter[str]) -> None:
    """Raise unless both modes gave or raised the same, or auto refused what it may refuse."""
    way, then = (event.way, event.then) if isinstance(event, Run) else ("", "")
    if isinstance(got, Exception):
        if type(got) is type(want) and isinstance(got, IndexError | RuntimeError | TypeError | ValueError):
            counts[f"raised both ways: {got!r:.60}"] += 1
        elif then.startswith("write") and _WRITTEN.search(str(got)):
            counts["refused after a write"] += 1
        else:
            raise AssertionError(f"{event} raises; step gives {want!r:.200}") from got
        return
    if isinstance(want, Exception):
        # GroupNorm takes no slices of what vmap takes apart
        assert way == "transform", f"{event} runs, and raises step by step: {want!r}"
        counts["raised in a transform, step by step only"] += 1
        return
    if way == "threads":
        failed = {name for name, value in got.items() if isinstance(value, Exception)}
        counts["errors in threads"] += len(failed)
        want = {name: value for name, value in want.items() if name in got and name not in failed}
        got = {name: value for name, value in got.items() if name not in failed}
    compare_trees(str(event), got, want)
    # a network that writes on its input in place has changed it before the second call
    if way == "stream" and case.network.steady and not case.network.has("in place"):
        compare_trees(f"{event} in parts", {"out": got["out"]}, {"out": got["whole"]})


def _has_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


def compare_trees(what: str, got: Results, want: Results) -> None:
    """Assert that named numbers agree."""
    assert got.keys() == want.keys(), f"{what}: there is {sorted(got)}, expected {sorted(want)}"
    slopes = [value.abs().max() for name, value in want.items() if " d " in f" {name}" and _has_numbers(value)]
    # a gradient that is zero but for rounding, as before batch norm, is as large as the rounding of others
    noise = NOISE * max([1.0, *[float(slope) for slope in slopes if slope.isfinite()]])
    for name, value in want.items():
        ours = got[name]
        if isinstance(value, Tensor) and isinstance(ours, Tensor):
            near = ours.shape == value.shape and (
                relative_error(ours, value) <= TOLERANCE or bool(((ours - value).abs() <= noise).all())
            )
        else:
            near = bool(ours == value)
        assert near, f"{what}: {name} is {ours}, expected {value}"


cases = st.builds(Case, networks(), events(), st.booleans(), st.integers(0, 9))
FUZZER = Fuzzer("tests.fuzz.networks", cases, check, threads=1, size=60)

if __name__ == "__main__":
    sys.exit(main(FUZZER, __doc__))
