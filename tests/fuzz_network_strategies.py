"""How the fuzzer draws networks and what happens to them."""

from functools import cache

from hypothesis import strategies as st

from tests.fuzz_network_calls import WAYS
from tests.fuzz_network_changes import CHANGES, Change
from tests.fuzz_network_inputs import GRADS, INITS, LAYOUTS, THENS, Run
from tests.fuzz_network_layers import FORMS, KINDS, STYLES, Neuron
from tests.fuzz_network_oracle import Case
from tests.fuzz_network_recipes import PLAIN, RESHAPES, SAMPLES, TIMED, Block, Network

Blocks = tuple[Block, ...]
_CALLED = ("twice", "without init", "always new", "training")
# of one input and one output
_SINGLE = tuple(kind for kind in KINDS if kind not in ("BioLIF", "Pair"))


@st.composite
def networks(pick: st.DrawFn) -> Network:
    """Draw a network with a spiking layer, one in eight of which holds a block that mixes on purpose."""
    form = pick(st.sampled_from([*SAMPLES]))
    rank = len(SAMPLES[form])
    drawn = pick(_chains(rank, 0).map(lambda chain: chain[-1:])) + pick(_units(rank)) + pick(_chains(rank, 2))
    if rank > 1 and pick(st.booleans()):
        change = pick(st.sampled_from(RESHAPES))
        rank = 1 if change in ("flatten", "view") else rank
        drawn += (Block(change), *pick(_units(rank)), *pick(_chains(rank, 1)))
    if pick(st.integers(0, 7)) == 7:
        place = pick(st.integers(0, len(drawn)))
        drawn = (*drawn[:place], pick(_mixing()), *drawn[place:])
    return Network(form, drawn)


@cache
def neurons(kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[Neuron]:
    recurrent = st.sampled_from(["none", "none", "none", "dense", "per channel"])
    return st.builds(Neuron, st.sampled_from(kinds), st.sampled_from([*STYLES]), st.sampled_from(FORMS), recurrent)


@cache
def _chains(rank: int, depth: int) -> st.SearchStrategy[Blocks]:
    return st.lists(_items(rank, depth), max_size=2).map(lambda items: sum(items, ()))


@cache
def _items(rank: int, depth: int) -> st.SearchStrategy[Blocks]:
    """Draw one block, or weights with a spiking layer behind them."""
    nested = [_composite(kind, rank, depth - 1) for kind in TIMED if kind != "mixing"] if depth else []
    return st.one_of(_units(rank), _plain(rank).map(lambda block: (block,)), *nested)


@cache
@st.composite
def _units(pick: st.DrawFn, rank: int) -> Blocks:
    between = pick(st.lists(_plain(rank), max_size=1))
    matrix = Block("weights", pick(st.sampled_from(["", "", "", *PLAIN["weights"]])))
    after = [Block("activation", "Hardtanh in place")] if pick(st.integers(0, 5)) == 5 else []
    return (matrix, *between, Block("spiking", neuron=pick(neurons())), *after)


@cache
@st.composite
def _plain(pick: st.DrawFn, rank: int) -> Block:
    kinds = [kind for kind in PLAIN if rank > 1 or kind != "attention"]
    kind = pick(st.sampled_from([*kinds, "sequential"]))
    if kind != "sequential":
        return Block(kind, pick(st.sampled_from(PLAIN[kind])))
    simple = st.sampled_from(["weights", "activation", "norm", "dropout"])
    inside = pick(st.lists(simple.flatmap(_simple), min_size=1, max_size=3))
    return Block("sequential", parts=(tuple(inside),))


@cache
def _simple(kind: str) -> st.SearchStrategy[Block]:
    return st.sampled_from(PLAIN[kind]).map(lambda option: Block(kind, option))


@cache
@st.composite
def _composite(pick: st.DrawFn, kind: str, rank: int, depth: int) -> Blocks:
    option = pick(st.sampled_from(TIMED[kind][1]))
    if kind == "sharing":
        return (Block(kind, option, pick(neurons(_SINGLE))),)
    parts = [pick(_units(rank) if k == 0 else _chains(rank, depth)) for k in range(1 + (kind == "branches"))]
    # a shortcut around nothing but neurons as well
    if kind == "residual" and pick(st.booleans()):
        parts = [(Block("spiking", neuron=pick(neurons())),)]
    return (Block(kind, option, parts=tuple(parts)),)


@cache
@st.composite
def _mixing(pick: st.DrawFn) -> Block:
    option = pick(st.sampled_from(TIMED["mixing"][1]))
    known = {"membrane": ("LIF", "IF"), "noisy": ("Noisy",)} | dict.fromkeys(_CALLED, _SINGLE)
    kinds = known.get(option)
    return Block("mixing", option, None if kinds is None else pick(neurons(kinds)))


@cache
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


def cases() -> st.SearchStrategy[Case]:
    """Draw a network, what happens to it, whether it trains, and the seed of its weights."""
    return st.builds(Case, networks(), events(), st.booleans(), st.integers(0, 9))
