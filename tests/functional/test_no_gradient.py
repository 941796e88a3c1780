"""A step without a surrogate is warned of once, on every road, others never; messages name the user's step and line."""

import ast
import re
import warnings
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import like
from spikingtorch.fold.policy import Mode
from spikingtorch.performance import clear_caches
from tests.folded_layer import Coded

MODES: tuple[Mode, ...] = ("auto", "step", "fold")
pytestmark = pytest.mark.usefixtures("afresh")  # so that nothing was warned of
BACKENDS: list[Any] = ["loop", "fused", "auto", "parallel", pytest.param("compile", marks=pytest.mark.long)]
X = torch.rand(6, 2, 3)
DRIVEN = X.clone().requires_grad_()
DECAY = nn.Parameter(torch.tensor(0.9))


class Nothing(NamedTuple):
    """No state."""


# the inputs of the last two steps
Line = namedtuple("Line", ["first", "second"])

# a membrane and a number of spikes without a gradient
Pair = namedtuple("Pair", ["v", "n"])


def hard(state: F.LIState, x: Tensor, *, decay: Any = 0.9) -> tuple[F.LIState, Tensor]:
    v = decay * state.v + x
    return F.LIState(v), (v > 1.0).to(v.dtype)


def compare(state: Nothing, x: Tensor) -> tuple[Nothing, Tensor]:
    return state, (x > 0.5).to(x.dtype)


def flags(state: F.LIState, x: Tensor) -> tuple[F.LIState, Tensor]:
    return F.LIState(state.v + x), state.v > 1.0


def paired(state: Pair, x: Tensor) -> tuple[Pair, Tensor]:
    v = 0.9 * state.v + x
    s = (v > 1.0).to(v.dtype)
    return Pair(v, state.n + s), s


def soft(state: F.LIState, x: Tensor, *, decay: Any = 0.9) -> tuple[F.LIState, Tensor]:
    v = decay * state.v + x
    return F.LIState(v), F.Arctan()(v - 1.0)


def late(state: Line, x: Tensor) -> tuple[Line, Tensor]:
    return Line(x, state.first), F.Arctan()(state.second - 1.0)


def with_membrane(state: F.LIState, x: Tensor) -> tuple[F.LIState, tuple[Tensor, Tensor]]:
    after, s = hard(state, x)
    return after, (s, after.v)


def said(run: Callable[[], object], times: int = 3) -> list[str]:
    """Return what some runs warn of, and check that the line of this file is named."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        for _ in range(times):
            run()
    found = [each for each in caught if "no gradient" in str(each.message)]
    assert {Path(each.filename).name for each in found} <= {Path(__file__).name}
    return [str(each.message) for each in found]


def hidden(layer: nn.Module, neurons: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, neurons), layer, nn.Linear(neurons, 2), st.LI())


def trained(layer: nn.Module, mode: Mode = "auto", neurons: int = 4, **options: Any) -> Callable[[], object]:
    model = st.SpikingNet(hidden(layer, neurons), mode=mode)
    return lambda: model(X.transpose(0, 1), **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_once_on_each_backend(backend: F.Backend) -> None:
    found = said(lambda: F.scan(hard, F.LIState(torch.zeros(2, 3)), DRIVEN, backend=backend))
    assert found == [
        "hard: its output has no gradient, though its input requires one, so layers before it do not learn. "
        "A comparison, (u > threshold).float(), has none; write surrogate(u - threshold) with a surrogate of "
        "spikingtorch.functional, surrogate = Arctan(). If no gradient is wanted, pass x.detach()"
    ]


@pytest.mark.parametrize("neurons", [4, 2048], ids=["few", "many"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("step", "state"), [(hard, F.LIState), (compare, Nothing), (flags, F.LIState), (paired, Pair)])
def test_once_in_a_network(step: Any, state: Any, mode: Mode, neurons: int) -> None:
    floats = Coded(lambda net, x, init: net.neurons(x, init).float(), neurons=st.StepLayer(step, state))
    (text,) = said(trained(floats, mode, neurons))
    assert text.startswith(f"{step.__name__}: its output has no gradient, though its input requires one")


def layer(**options: Any) -> st.StepLayer:
    return st.StepLayer(hard, F.LIState, **options)


# what runs, and how the warning begins
NAMED: dict[str, tuple[Callable[[], object], str]] = {
    "recurrent": (trained(layer(recurrent=nn.Linear(4, 4, bias=False))), "Recurrent(hard)"),
    "a rest": (trained(layer(refractory=2.0)), "Refractory(hard)"),
    "lengths": (trained(layer(), lengths=[6, 3]), "Masked(hard)"),
    "lengths, step": (trained(layer(), "step", lengths=[6, 3]), "Masked(hard)"),
    "a surrogate": (trained(st.LIF(surrogate=lambda u: (u >= 0).to(u.dtype))), "lif_step with surrogate=<lambda>"),
    "made at each call": (
        lambda: F.scan(lambda v, x: (v + x, (v > 1.0).float()), torch.zeros(2, 3), DRIVEN),
        "<lambda> (test_no_gradient.py:",
    ),
    "parameters": (
        lambda: st.SpikingNet(nn.Sequential(layer(decay=0.9, learnable="decay")))(X),
        "hard: its output has no gradient, though its parameters require one",
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_the_step_inside_is_named(case: str) -> None:
    run, begins = NAMED[case]
    (text,) = said(run)
    assert text.startswith(begins)
    assert "its output has no gradient, though its " in text


def test_another_step_of_the_same_name_has_a_warning_of_its_own() -> None:
    def step(state: F.LIState, x: Tensor) -> tuple[F.LIState, Tensor]:  # pyright: ignore
        return F.LIState(state.v + x), (state.v > 2.0).float()

    first, rest = step, F.LIState(torch.zeros(2, 3))

    def step(state: F.LIState, x: Tensor) -> tuple[F.LIState, Tensor]:  # type: ignore[no-redef]
        return F.LIState(state.v + x), (state.v > 1.0).float()

    assert len(said(lambda: [F.scan(each, rest, DRIVEN) for each in (first, step)])) == 2


def test_as_an_error_it_reaches_the_caller() -> None:
    for mode in MODES:
        model = st.SpikingNet(hidden(st.StepLayer(compare, Nothing)), mode=mode)
        with pytest.raises(RuntimeWarning, match=r"^compare: its output has no gradient"):
            model(X)
        clear_caches()


QUIET: dict[str, Callable[[], object]] = {
    "a surrogate": lambda: F.scan(soft, F.LIState(torch.zeros(2, 3)), DRIVEN),
    "a surrogate in a network": lambda: trained(st.StepLayer(soft, F.LIState))(),
    "one output of two": lambda: F.scan(with_membrane, F.LIState(torch.zeros(2, 3)), DRIVEN, backend="loop"),
    "one output of two, fused": lambda: F.scan(with_membrane, F.LIState(torch.zeros(2, 3)), DRIVEN, backend="fused"),
    "a first layer": lambda: st.SpikingNet(nn.Sequential(layer()))(X),
    "an input that is cut off": lambda: F.scan(hard, F.LIState(torch.zeros(2, 3)), DRIVEN.detach()),
    "no_grad": torch.no_grad()(lambda: trained(layer())()),
    "inference_mode": torch.inference_mode()(lambda: trained(layer())()),
    "a neuron that is told to": lambda: trained(like.norse.LIFCell(like.norse.LIFParameters(method="heaviside")))(),
    "vmap beside a parameter that learns": lambda: torch.func.vmap(
        lambda x: F.scan(soft, F.LIState(torch.zeros(3)), x, params={"decay": DECAY})[1], in_dims=1
    )(X),
    "a record of the membrane": lambda: st.record(st.SpikingNet(hidden(layer())), X, "v", layers=["1"]),
    "an encoder": lambda: st.SpikingNet(hidden(st.LIF()))(st.spikeio.PeriodicEncoder(5)(X[0])),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_said_of(case: str) -> None:
    assert said(QUIET[case], times=2) == []


@pytest.mark.parametrize("T", [1, 2, 3, 6])
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_said_of_an_output_that_comes_steps_later(mode: Mode, T: int) -> None:
    model = st.SpikingNet(hidden(st.StepLayer(late, Line)), mode=mode)
    run: list[Callable[[], object]] = [lambda: model(X[:T].transpose(0, 1))]
    if mode == "step":
        run.append(lambda: F.scan(late, Line(X[0], X[0]), DRIVEN[:T], backend="loop"))
    assert [said(each) for each in run] == [[]] * len(run)


# --- names, in all messages -------------------------------------------------------------------------------------------


class Own:
    """A step that is an object."""

    def __call__(self, state: F.LIState, x: torch.Tensor) -> tuple[F.LIState, torch.Tensor]:
        """Advance one step, in a way that is not compiled."""
        v = state.v + x
        return F.LIState(v), v.sort(0).values


RESTING: Any = F.Refractory(Own())
NAMES: list[tuple[Any, str]] = [
    (Own(), "Own"),
    (partial(F.lif_step, decay=0.5), "lif_step"),
    (F.Recurrent(F.lif_step, F.dense), "Recurrent(lif_step)"),
    (F.recorded(RESTING, "v"), "Recorded(Refractory(Own))"),
    (F.Refractory(lambda state, x: (state, x)), "Refractory(<lambda> (test_no_gradient.py:{n}))"),
]


@pytest.mark.parametrize(("step", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_message_names_the_step_inside(step: Any, name: str) -> None:
    lines = Path(__file__).read_text().splitlines()
    at = next(number for number, text in enumerate(lines, 1) if "lambda state, x" in text)
    with pytest.raises(ValueError, match=re.escape(f"scan: backend='parallel' cannot run {name.format(n=at)}, which")):
        F.scan(step, F.LIState(torch.zeros(4)), torch.rand(3, 4), backend="parallel")


def test_a_warning_names_the_step_inside() -> None:
    step: Any = F.recorded(Own(), "v")
    with pytest.warns(RuntimeWarning, match=r"scan: Recorded\(Own\) ran on the Python loop"):
        F.scan(step, F.LIState(torch.zeros(4)), torch.rand(3, 4))


SOURCES = [(path, path.read_text()) for path in (Path(__file__).parents[2] / "spikingtorch").rglob("*.py")]
WARNING = "warnings.warn"


def test_every_warning_points_at_the_line_of_the_user() -> None:
    """A number of frames is right for one road to the warning alone, and record or a network add frames."""
    warning = [(path, ast.parse(text)) for path, text in SOURCES if WARNING in text]
    calls = [(path, call) for path, tree in warning for call in ast.walk(tree) if is_warning(call)]
    assert len(calls) > 10
    levels = {(path.name, ast.unparse(each.value)) for path, call in calls for each in call.keywords[-1:]}
    assert {each for each in levels if each[1] != "level_of_user()"} == set()


def is_warning(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == WARNING
