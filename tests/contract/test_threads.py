"""One network and several threads and copies: whose sequence a state belongs to."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS
from tests.contract.oracle import HIDDEN, QUIETLY, N, Network, State, cotangent, cut, draw
from tests.contract.test_failures import FAILURES, FUSED
from tests.processes import at_once

pytestmark = QUIETLY
REFUSES = r"another thread has begun.*init=True.*copy.deepcopy"
MODES: Any = ("auto", "step")


class Stream:
    """A network with its oracle, and another thread that goes on to live."""

    def __init__(self, network: Network, mode: Any, elsewhere: Callable[[Callable[[], Any]], Any]) -> None:
        self.network, self.model, self.elsewhere = network, network.model(mode=mode), elsewhere
        self.states: dict[str, State] = {}

    def call(self, thread: str, seed: int, init: bool) -> None:
        """Call the network in a thread, and compare it with the oracle of that thread's sequence."""
        x = draw(seed)

        def work() -> Any:
            return self.model(x, init=init)

        out = work() if thread == "here" else self.elsewhere(work)
        state = self.network.rest() if init else self.states[thread]
        want = self.network.run(dict(self.model.net.named_parameters()), state, x, begins=init)
        self.states[thread] = cut(state)
        assert_close(out.detach(), want.detach())

    def refuses(self, thread: str, *works: Callable[[], Any]) -> None:
        for work in works:
            with pytest.raises(RuntimeError, match=REFUSES):
                _ = work() if thread == "here" else self.elsewhere(work)

    def looks(self) -> list[Callable[[], Any]]:
        """Return what asks for the state of a sequence."""
        layer = self.model.net.get_submodule(next(iter(self.network.state)).rpartition(".")[0].removesuffix(".neuron"))
        model, mask = self.model, torch.tensor([True, False, True])
        alone = torch.ones(N, HIDDEN, dtype=torch.double)
        goes_on = [lambda: model(draw(3), init=False), lambda: model(draw(3), init=mask), lambda: layer(alone)]
        return [*goes_on, lambda: layer.v, lambda: layer.s, lambda: layer.state, model.get_state]


@pytest.fixture
def elsewhere() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield lambda work: pool.submit(work).result()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["handed", "recurrent", "a step within", "shared"])
def test_sequences_overtake_each_other(name: str, mode: Any, elsewhere: Any) -> None:
    stream = Stream(NETWORKS[name], mode, elsewhere)
    stream.call("here", 0, True)
    stream.refuses("there", *stream.looks()[:3])
    stream.call("there", 1, True)
    stream.refuses("here", *stream.looks())
    stream.call("there", 2, False)
    stream.call("here", 3, True)
    stream.refuses("there", *stream.looks())
    stream.call("here", 4, False)
    stream.call("there", 5, True)
    stream.call("there", 6, False)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_that_is_set_is_the_threads_own(mode: Any, elsewhere: Any) -> None:
    stream = Stream(NETWORKS["two"], mode, elsewhere)
    stream.call("here", 0, True)
    kept = stream.model.get_state()
    stream.call("there", 1, True)
    stream.model.set_state(kept)
    stream.call("here", 2, False)
    stream.refuses("there", *stream.looks())


def test_who_never_called_may_look_and_what_another_forgets_is_not_none(elsewhere: Any) -> None:
    stream = Stream(NETWORKS["two"], "auto", elsewhere)
    layer: Any = stream.model.net.n1
    stream.call("here", 0, True)
    assert torch.equal(elsewhere(lambda: layer.v), layer.v)
    elsewhere(stream.model.reset)
    stream.refuses("here", *stream.looks())


@pytest.mark.parametrize("mode", MODES)
def test_a_call_that_fails_overtakes_nobody(mode: Any, elsewhere: Any) -> None:
    stream = Stream(FUSED, mode, elsewhere)
    for thread, other in (("here", "there"), ("there", "here")):
        for what in ("before all layers", "between layers, at another step", "a layer is given NaN", "x has NaN"):
            fail, error = FAILURES[what]

            def work(fail: Any = fail) -> Any:
                return fail(stream.model, True)

            stream.call(thread, 0, True)
            with pytest.raises(error):
                _ = work() if other == "here" else elsewhere(work)
            stream.call(thread, 1, False)


def test_a_thread_that_was_overtaken_is_refused_after_a_call_of_it_that_failed(elsewhere: Any) -> None:
    stream = Stream(FUSED, "step", elsewhere)
    stream.call("here", 0, True)
    stream.call("there", 1, True)
    with pytest.raises(FAILURES["between layers"][1]):
        FAILURES["between layers"][0](stream.model, True)
    stream.refuses("here", *stream.looks())


Run = Callable[[torch.Tensor, bool], torch.Tensor]


def parts(run: Run, params: Any, index: int, begins: tuple[bool, ...]) -> Any:
    """Return outputs and gradients of calls that differ by an index."""
    outs = [run(draw(index + k), init) for k, init in enumerate(begins)]
    return [(out.detach(), torch.autograd.grad(out, [*params.values()], cotangent(out))) for out in outs]


@pytest.mark.parametrize("mode", [*MODES, "fold"])
def test_copies_run_side_by_side(mode: Any) -> None:
    network = NETWORKS["recurrent"]
    model = network.model(mode=mode)
    model(draw(0))
    models = [copy.deepcopy(model) for _ in range(3)]
    for index, each in enumerate(models):
        each.net.get_parameter("n1.tau").data *= 1.0 + 0.1 * index
    weights = [dict(each.net.named_parameters()) for each in models]
    going_on = (False,) * 4
    got = at_once(*[lambda index=index: parts(models[index], weights[index], index, going_on) for index in range(3)])
    for index, params in enumerate(weights):
        state = network.rest()
        network.run(dict(model.net.named_parameters()), state, draw(0))

        def oracle(x: torch.Tensor, init: bool, params: Any = params, state: State = state) -> torch.Tensor:
            state |= cut(state)
            return network.run(params, state, x, begins=init)

        assert_close(got[index], parts(oracle, params, index, going_on))


@pytest.mark.parametrize("mode", [*MODES, "fold"])
def test_whole_sequences_of_one_network_at_once(mode: Any) -> None:
    network = NETWORKS["recurrent"]
    model = network.model(mode=mode)
    params = dict(model.net.named_parameters())

    got = at_once(*[lambda index=index: parts(model, params, index, (True,) * 4) for index in range(3)])
    for index in range(3):
        want = parts(lambda x, _: network.run(params, network.rest(), x), params, index, (True,) * 4)
        assert_close(got[index], want)
