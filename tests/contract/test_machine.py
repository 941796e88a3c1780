"""A network to which random things happen in random order: outputs, states and gradients beside the oracle's."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch
from hypothesis import stateful
from hypothesis import strategies as st
from torch import Tensor, nn

from spikingtorch import LI
from spikingtorch.testing import assert_close
from tests.contract.networks import RECURRENT, a_layer, recurrent_step
from tests.contract.oracle import HIDDEN, QUIETLY, N, Network, State, cotangent, cut, draw
from tests.contract.test_failures import FAILURES, Fused
from tests.contract.ways import checkpointed, monitored, recorded

pytestmark = [*QUIETLY, pytest.mark.filterwarnings("ignore:SpikingNet. layer .* has:RuntimeWarning")]
UNHURRIED: Any = hypothesis.HealthCheck  # all of them
REFUSES = "another thread has begun"
MEMBRANES = {"n1": "n1.neuron.v", "n2": "n2.v"}


class Fed(Fused):
    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = a_layer(learnable="tau", recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False)), LI(2.0)


FED = Network("two layers, one recurrent, and what fails", Fed, recurrent_step, RECURRENT)


class Copy(NamedTuple):
    """A network aside, with its oracle's state and the thread that its sequence belongs to."""

    model: Any
    state: State | None
    owner: str | None
    overtaken: frozenset[str]


seeds, lengths = st.integers(0, 30), st.sampled_from([1, 2, 5])
masks = st.lists(st.booleans(), min_size=N, max_size=N).map(torch.tensor)
threads = st.sampled_from(["main", "main", "main", "other"])


def same_state(got: State, want: State | None) -> None:
    if want is None:
        assert got == {}
    else:
        assert_close(cut(got), cut(want))


class Calls(stateful.RuleBasedStateMachine):
    """One network and its oracle; what is known of the network is the oracle's state, None at rest."""

    @stateful.initialize(mode=st.sampled_from(["auto", "step", "fold"]))
    def begin(self, mode: Any) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.model: Any = FED.model(mode=mode, Nout=HIDDEN)
        self.state: State | None = None
        self.owner: str | None = None  # None: whoever comes
        self.overtaken: frozenset[str] = frozenset()  # threads whose sequences others have replaced
        self.kept: State | None = None
        self.aside: Copy | None = None

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.pool.shutdown()

    def params(self) -> dict[str, Tensor]:
        return dict(self.model.net.named_parameters())

    def started(self, init: Any) -> State:
        """Return the state that a call starts from."""
        if self.state is None or init is True:
            return FED.rest()
        if init is False:
            return dict(self.state)
        return {name: torch.where(init[:, None], 0.0, each) for name, each in self.state.items()}

    def may_go_on(self, thread: str) -> bool:
        return self.owner in (None, thread) and thread not in self.overtaken

    def takes(self, thread: str) -> None:
        """Note that a sequence of a thread begins."""
        if self.owner not in (None, thread) and self.state is not None:
            self.overtaken |= {self.owner or ""}
        self.owner, self.overtaken = thread, self.overtaken - {thread}

    def do(self, thread: str, work: Callable[[], Any]) -> Any:
        return work() if thread == "main" else self.pool.submit(work).result()

    def call(self, x: Tensor, init: Any, way: Callable[..., Any] | None = None, thread: str = "main") -> None:
        """Call the network and its oracle, and compare outputs and gradients."""
        call = way or (lambda model, x, init: model(x, init=init))
        if init is not True and not self.may_go_on(thread):
            with pytest.raises(RuntimeError, match=REFUSES):
                self.do(thread, lambda: call(self.model, x, init))
            return
        x.requires_grad_()
        out = self.do(thread, lambda: call(self.model, x, init))
        state = self.started(init)
        state = state if self.model.carry_graph else cut(state)
        want = FED.run(self.params(), state, x)
        assert_close(out.detach(), want.detach())
        leaves, options = [x, *self.params().values()], {"materialize_grads": True, "retain_graph": True}
        slopes: Any = torch.autograd.grad
        assert_close(slopes(out, leaves, cotangent(out), **options), slopes(want, leaves, cotangent(want), **options))
        self.takes(thread)
        self.state = state if self.model.carry_graph else cut(state)

    @stateful.rule(seed=seeds, steps=lengths, thread=threads)
    def a_sequence(self, seed: int, steps: int, thread: str) -> None:
        self.call(draw(seed, steps), True, thread=thread)

    @stateful.rule(seed=seeds, steps=lengths, thread=threads)
    def goes_on(self, seed: int, steps: int, thread: str) -> None:
        self.call(draw(seed, steps), False, thread=thread)

    @stateful.precondition(lambda self: self.state is not None)
    @stateful.rule(seed=seeds, steps=lengths, mask=masks)
    def some_begin(self, seed: int, steps: int, mask: Tensor) -> None:
        self.call(draw(seed, steps), mask)

    @stateful.rule(seed=seeds, init=st.booleans(), way=st.sampled_from([recorded, monitored, checkpointed]))
    def called_otherwise(self, seed: int, init: bool, way: Callable[..., Any]) -> None:
        """Call the network under a recorder or a monitor, or in checkpoint, whose backward pass calls it once more."""
        if way is not checkpointed or not self.model.carry_graph:
            self.call(draw(seed), init, way)

    @stateful.rule(what=st.sampled_from([*FAILURES]), init=st.one_of(st.booleans(), masks), thread=threads)
    def fails(self, what: str, init: Any, thread: str) -> None:
        if init is True and thread in self.overtaken:
            return  # what the thread may see afterwards is a case of test_threads.py
        fail, error = FAILURES[what]
        with pytest.raises((error, RuntimeError)):
            self.do(thread, lambda: fail(self.model, init))

    @stateful.rule(seed=seeds)
    def without_gradients(self, seed: int) -> None:
        if not self.may_go_on("main"):
            return
        with torch.no_grad():
            out, state = self.model(draw(seed), init=False), cut(self.started(False))
            assert_close(out, FED.run(self.params(), state, draw(seed)))
        self.takes("main")
        self.state = state

    @stateful.precondition(lambda self: not self.model.carry_graph)
    @stateful.rule(seed=seeds)
    def transformed(self, seed: int) -> None:
        """Transform a sequence, after which there is no state."""
        x, params = draw(seed, 3), self.params()

        def total(params: dict[str, Tensor], x: Tensor) -> Tensor:
            named = {f"net.{name}": each for name, each in params.items()}
            out: Tensor = torch.func.functional_call(self.model, named, (x,))
            return (out * cotangent(torch.empty(out.shape))).sum()

        got = torch.func.grad(total)({name: each.detach() for name, each in params.items()}, x)
        want = FED.run(params, FED.rest(), x)
        wanted = torch.autograd.grad(want, [*params.values()], cotangent(want))
        assert_close([*got.values()], list(wanted))
        self.takes("main")
        self.state, self.owner = None, None

    @stateful.rule(mode=st.sampled_from(["auto", "step", "fold"]), chunk=st.sampled_from([None, None, 2]))
    def runs_otherwise(self, mode: Any, chunk: Any) -> None:
        self.model.mode, self.model.time_chunk = mode, chunk

    @stateful.rule(carries=st.booleans())
    def keeps_its_graph(self, carries: bool) -> None:
        self.model.carry_graph = carries

    @stateful.rule()
    def forgets(self) -> None:
        self.model.reset()
        self.takes("main")
        self.state, self.owner = None, None

    @stateful.precondition(lambda self: self.state is not None and self.may_go_on("main"))
    @stateful.rule()
    def cuts_its_graph(self) -> None:
        self.model.detach_()
        self.state = cut(self.state or {})

    @stateful.precondition(lambda self: self.may_go_on("main"))
    @stateful.rule()
    def keeps_a_state(self) -> None:
        self.kept = self.model.get_state()
        same_state(self.kept or {}, self.state)

    @stateful.precondition(lambda self: self.kept is not None)
    @stateful.rule()
    def goes_back(self) -> None:
        self.takes("main")
        self.model.set_state(self.kept)
        self.state = dict(self.kept or {}) or None
        self.owner = None if self.state is None else "main"

    @stateful.rule(way=st.sampled_from([copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]))
    def copies(self, way: Callable[[Any], Any]) -> None:
        """Go on with a copy, and put the original aside."""
        self.aside = Copy(self.model, self.state, self.owner, self.overtaken)
        self.model, self.owner, self.overtaken = way(self.model), None, frozenset()
        self.state = None if self.state is None else cut(self.state)

    @stateful.precondition(lambda self: self.aside is not None)
    @stateful.rule()
    def changes_places(self) -> None:
        here = Copy(self.model, self.state, self.owner, self.overtaken)
        assert self.aside is not None
        self.model, self.state, self.owner, self.overtaken = self.aside
        self.aside = here

    # of a copy that nobody has called, the one layer would be this thread's, and the others whose comes first
    @stateful.precondition(lambda self: self.state is not None and self.may_go_on("main") and self.owner is not None)
    @stateful.rule(seed=seeds)
    def a_layer_alone(self, seed: int) -> None:
        """Call the readout by itself, which goes on from where the network has left it."""
        assert self.state is not None
        x = draw(seed, HIDDEN)[:, :, 0]
        decay, gain = torch.tensor(-0.5).double().exp(), 2.0 * -torch.tensor(-0.5).double().expm1()
        want = decay * self.state["n2.v"] + gain * x
        assert_close(self.model.net.n2(x).detach(), want.detach())
        self.state["n2.v"] = want

    @stateful.invariant()
    def shows_its_state(self) -> None:
        if not hasattr(self, "model"):
            return
        net = self.model.net
        if "main" in self.overtaken:
            with pytest.raises(RuntimeError, match=REFUSES):
                _ = net.n1.v
        elif self.state is None:
            assert net.n1.v is net.n2.v is net.n1.s is None
            same_state(self.model.get_state(), None)
        else:
            same_state(self.model.get_state(), self.state)
            for layer, name in MEMBRANES.items():
                assert_close(getattr(net, layer).v.detach(), self.state[name].detach())
            assert_close(net.n1.state.s.detach(), self.state["n1.s"].detach())


@pytest.mark.parametrize(("examples", "steps"), [(12, 12), pytest.param(60, 40, marks=pytest.mark.long)])
def test_random_calls(examples: int, steps: int) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate],  # to shrink what fails takes minutes: name Phase.shrink for that
        print_blob=False,
        suppress_health_check=[*UNHURRIED],
    )
    stateful.run_state_machine_as_test(Calls, settings=settings)
