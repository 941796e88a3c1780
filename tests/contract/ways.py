"""Ways to call a network: each gives the outputs for x, and the network that goes on from there."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from tests.contract.oracle import T, draw
from tests.every_layer import COPIES
from tests.processes import at_once

Run = Callable[[Any, Tensor], tuple[Tensor, Any]]


class Way(NamedTuple):
    """A way to call a network.

    Attributes:
        why: what of the contract it stands for.
        run: calls it; x is (N, T, FEATURES).
        cuts: steps before which no gradient goes back; None where gradients are not asked for.
        options: of the network.
        since: the first step whose output has a gradient.
    """

    why: str
    run: Run
    cuts: tuple[int, ...] | None = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    since: int = 0


MIDDLE = 4


def whole(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    return model(x), model


def in_parts(between: Callable[[Any], Any] = lambda model: model, size: int = MIDDLE) -> Run:
    """Call a network on the parts of a stream, and do something between them that may return another network."""

    def run(model: Any, x: Tensor) -> tuple[Tensor, Any]:
        first, *others = x.split(size, 1)
        outs = [model(first)]
        held = [layer.v for layer in layers_of(model)]
        before = [v.clone() for v in held]
        for part in others:
            model = between(model)
            outs.append(model(part, init=False))
        assert all(map(torch.equal, held, before)), "what somebody holds of a state was written on"
        return torch.cat(outs, 1), model

    return run


def looking(way: Callable[[Any, Tensor, bool], Tensor]) -> Run:
    """Call a network in another way for each part of a stream."""

    def run(model: Any, x: Tensor) -> tuple[Tensor, Any]:
        return torch.cat([way(model, part, k == 0) for k, part in enumerate(x.split(MIDDLE, 1))], 1), model

    return run


def layers_of(model: Any) -> list[Any]:
    return [each for each in model.modules() if isinstance(each, st.StepLayer)]


# --- between two parts ------------------------------------------------------------------------------------------------


def copied(way: str) -> Callable[[Any], Any]:
    """Return what copies a network; what happens to the original afterwards is nothing to the copy."""

    def between(model: Any) -> Any:
        twin = COPIES[way](model)
        model(draw(7), init=False)
        model.reset()
        return twin

    return between


def put_aside(model: Any) -> Any:
    state = model.get_state()
    model(draw(7))
    model.set_state(state)
    for each in state.values():
        each.fill_(float("nan"))  # what is set is the network's own
    return model


def set_to_its_own(model: Any) -> Any:
    model.set_state(model.get_state())
    return model


def handed_over(model: Any) -> Any:
    """Hand the state to another network of the same weights."""
    twin = copy.deepcopy(model)
    twin.reset()
    twin.set_state(model.get_state())
    return twin


def loaded(model: Any) -> Any:
    """Load weights, of which the state is no part."""
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    return model


def watched(model: Any) -> Any:
    with torch.no_grad():
        model.explain(draw(7))
        st.summary(model, draw(7))
    return model


def written_on(model: Any) -> Any:
    """Write on what get_state returns."""
    for each in model.get_state().values():
        each.fill_(7.0)
    return model


def detached(model: Any) -> Any:
    model.detach_()
    return model


def detached_by_layer(model: Any) -> Any:
    for layer in layers_of(model):
        layer.detach_()
    return model


# --- other calls ------------------------------------------------------------------------------------------------------


def recorded(model: Any, x: Tensor, begins: bool) -> Tensor:
    return st.record(model, x, ("spikes", "v"), init=begins).out


def monitored(model: Any, x: Tensor, begins: bool) -> Tensor:
    with st.SpikeMonitor(model, every=1) as monitor:
        out: Tensor = model(x, init=begins)
        monitor.metrics()
    return out


def by_mask(model: Any, x: Tensor, begins: bool) -> Tensor:
    return model(x, init=torch.full((len(x),), begins))


def full_lengths(model: Any, x: Tensor, begins: bool) -> Tensor:
    return model(x, init=begins, lengths=torch.full((len(x),), x.shape[1]))


def checkpointed(model: Any, x: Tensor, begins: bool) -> Tensor:
    return checkpoint(model, x, begins, use_reentrant=False)


def reentrant(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    return checkpoint(model, x, use_reentrant=True), model


def repeated_late(use_reentrant: bool) -> Run:
    """Begin a stream inside checkpoint, whose backward pass repeats that when the network has gone on."""

    def run(model: Any, x: Tensor) -> tuple[Tensor, Any]:
        first: Tensor = checkpoint(model, x[:, :MIDDLE], use_reentrant=use_reentrant)
        kept = model.get_state()
        model(draw(7))
        model.set_state(kept)
        return torch.cat([first, model(x[:, MIDDLE:], init=False)], 1), model

    return run


def overwritten(model: Any, x: Tensor, begins: bool) -> Tensor:
    """Write on what is given out, of which no gradient reads anything."""
    out = model(x, init=begins)
    kept: Tensor = out.clone()
    out.data.fill_(float("nan"))
    return kept


def doubled(model: Any, x: Tensor, begins: bool) -> Tensor:
    """Write on what is given out, as autograd sees."""
    return 0.5 * model(x, init=begins).mul_(2.0)


def differentiated(model: Any, x: Tensor, begins: bool) -> Tensor:
    """Go backward through a graph once more, which is kept."""
    out: Tensor = model(x, init=begins)
    torch.autograd.grad(out.sum(), [*model.parameters()], retain_graph=True, allow_unused=True)
    return out


class Mine(Tensor):
    """A tensor of the user's own."""


def subclassed(model: Any, x: Tensor, begins: bool) -> Tensor:
    out = model(x.as_subclass(Mine), init=begins)
    assert type(out) is Mine
    return out.as_subclass(Tensor)


def laid_out_otherwise() -> Any:
    """Return hooks that give saved tensors back in another layout."""
    hooks: Any = torch.autograd.graph.saved_tensors_hooks
    return hooks(
        lambda tensor: tensor.detach().transpose(0, -1).contiguous() if tensor.ndim else tensor.detach().clone(),
        lambda tensor: tensor.transpose(0, -1) if tensor.ndim else tensor,
    )


def within(context: Callable[[], Any]) -> Run:
    def run(model: Any, x: Tensor) -> tuple[Tensor, Any]:
        with context():
            return model(x), model

    return run


def by_time(model: Any, x: Tensor, begins: bool) -> Tensor:
    out: Tensor = model(x.transpose(0, 1), init=begins)
    assert f"x taken as (T, N, ...): {len(x)} samples of {x.shape[1]} steps" in str(model.explain())
    return out.transpose(0, 1)


def by_hand(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    """Call net itself, one step after the other, and detach nothing."""
    model.reset()
    net = model.net
    steps = [
        net(x_t, t == 0) if not isinstance(net, torch.nn.Sequential) else net(x_t) for t, x_t in enumerate(x.unbind(1))
    ]
    return torch.stack(steps, 1), model


def by_hand_before(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    """Go on, by a call of the network, from what calls of net have left with its graph."""
    first, _ = by_hand(model, x[:, :MIDDLE])
    return torch.cat([first, model(x[:, MIDDLE:], init=False)], 1), model


def after_another(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    model(draw(8, 3, 2))  # of another size: init=True starts a new sequence
    return model(x), model


def begun_elsewhere(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    """Begin a sequence in a thread that ends."""
    return torch.cat([*at_once(lambda: model(x[:, :MIDDLE])), model(x[:, MIDDLE:], init=False)], 1), model


def wholly_elsewhere(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(in_parts(), model, x).result()


def begun_in(mode: Callable[[], Any]) -> Run:
    def run(model: Any, x: Tensor) -> tuple[Tensor, Any]:
        with mode():
            first = model(x[:, :MIDDLE])
        assert not first.requires_grad
        return torch.cat([first.clone(), model(x[:, MIDDLE:], init=False)], 1), model

    return run


def as_function(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    """Call a network as a pure function, which leaves the model alone, and set the state that it returns."""
    state, outs = None, []
    for part in x.split(MIDDLE, 1):
        state, _, out = st.run(model, state, part)
        outs.append(out)
        assert model.get_state() == {}
    model.set_state(state)
    return torch.cat(outs, 1), model


def ended_in_transform(model: Any, x: Tensor) -> tuple[Tensor, Any]:
    """Put a transform between two sequences, after which the next one starts at rest."""
    model(draw(8))
    torch.func.vmap(lambda x: model(x))(draw(7)[None])
    return model(x, init=False), model


STEPS = tuple(range(1, T))
WAYS: dict[str, Way] = {
    "whole": Way("a sequence", whole),
    "parts": Way("a stream", in_parts(), (MIDDLE,)),
    "one by one": Way("a stream of single steps", in_parts(size=1), STEPS),
    "chunks": Way("the state is carried on", whole, options={"time_chunk": np.int64(4)}),
    "chunks of one": Way("one step at a time", whole, options={"time_chunk": 1}),
    "a long chunk": Way("all steps at once", in_parts(), (MIDDLE,), {"time_chunk": 20, "truncate": True}),
    "truncated": Way("truncated back-propagation", whole, (4,), {"time_chunk": 4, "truncate": True}),
    "truncated steps": Way("no gradient through time", whole, STEPS, {"time_chunk": 1, "truncate": True}),
    "carried chunks": Way("a graph through all", in_parts(), options={"time_chunk": 3, "carry_graph": True}),
    "carried, truncated": Way("it is cut", in_parts(), (3,), {"time_chunk": 3, "truncate": True, "carry_graph": True}),
    "run again": Way("chunks run twice", whole, options={"time_chunk": 2, "recompute": True}),
    "run again, in parts": Way("parts", in_parts(), (MIDDLE,), {"time_chunk": 3, "truncate": False, "recompute": True}),
    "run again, carried": Way(
        "through all parts", in_parts(), options={"time_chunk": "auto", "carry_graph": True, "recompute": True}
    ),
    "run again, by mask": Way("some begin", looking(by_mask), (MIDDLE,), {"time_chunk": 2, "recompute": True}),
    "run again, truncated": Way("a chunk alone", whole, (4,), {"time_chunk": 4, "truncate": True, "recompute": True}),
    "run again, late": Way("inside checkpoint", repeated_late(False), (MIDDLE,), {"time_chunk": 2, "recompute": True}),
    "run again, reentrant": Way("inside the other checkpoint", reentrant, (), {"time_chunk": 2, "recompute": True}),
    "run again, time first": Way(
        "time first", looking(by_time), (MIDDLE,), {"batch_first": False, "time_chunk": 2, "recompute": True}
    ),
    "carried": Way("the graph is kept", in_parts(), options={"carry_graph": True}),
    "detached": Way("and cut where one wants", in_parts(detached), (MIDDLE,), {"carry_graph": True}),
    "layers detached": Way("layer by layer, too", in_parts(detached_by_layer), (MIDDLE,), {"carry_graph": True}),
    "carried state": Way("get_state has the graph", in_parts(set_to_its_own), options={"carry_graph": True}),
    "by hand": Way("layers by themselves, called by net", by_hand),
    "by hand before": Way("a network that goes on cuts the graph", by_hand_before, (MIDDLE,)),
    "after another": Way("init=True starts a new sequence", after_another),
    "by mask": Way("init is a tensor", looking(by_mask), (MIDDLE,)),
    "by mask, carried": Way("and the graph is kept", looking(by_mask), options={"carry_graph": True}),
    "lengths": Way("nothing is padded", looking(full_lengths), (MIDDLE,)),
    "time first": Way("batch_first=False", looking(by_time), (MIDDLE,), {"batch_first": False}),
    "time first, truncated": Way(
        "in chunks", looking(by_time), (3, MIDDLE), {"batch_first": False, "time_chunk": 3, "truncate": True}
    ),
    "deepcopy": Way("copies carry the numbers", in_parts(copied("deepcopy")), (MIDDLE,), since=MIDDLE),
    "pickle": Way("so does it", in_parts(copied("pickle")), (MIDDLE,), {"carry_graph": True, "time_chunk": 3}, MIDDLE),
    "file": Way("and a file", in_parts(copied("torch.save")), (MIDDLE,), since=MIDDLE),
    "put aside": Way("get_state and set_state", in_parts(put_aside), (MIDDLE,)),
    "handed over": Way("another model goes on", in_parts(handed_over), (MIDDLE,), since=MIDDLE),
    "weights loaded": Way("state_dict holds no state", in_parts(loaded), None),
    "looked at": Way("explain and summary leave all as it was", in_parts(watched), (MIDDLE,)),
    "written on": Way("get_state returns copies", in_parts(written_on), (MIDDLE,)),
    "cast": Way("to, eval and train keep it", in_parts(lambda model: model.to(torch.double).eval().train()), (MIDDLE,)),
    "recorded": Way("a recorder changes nothing", looking(recorded), (MIDDLE,)),
    "monitored": Way("nor does a monitor", looking(monitored), (MIDDLE,)),
    "checkpointed": Way("parts of a stream run twice", looking(checkpointed), (MIDDLE,)),
    "reentrant": Way("whole sequences run twice", reentrant),
    "repeated late": Way("the stream has gone on before the second run", repeated_late(False), (MIDDLE,)),
    "reentrant, late": Way("with both kinds", repeated_late(True), (2, MIDDLE), {"time_chunk": 2, "truncate": True}),
    "overwritten": Way("outputs are the caller's", looking(overwritten), (MIDDLE,)),
    "doubled": Way("also where autograd sees what is written", looking(doubled), (MIDDLE,)),
    "differentiated": Way("a graph is kept if that is asked for", looking(differentiated), (MIDDLE,)),
    "subclass": Way("a tensor of the user's own class", looking(subclassed), (MIDDLE,)),
    "saved otherwise": Way("hooks on saved tensors", within(laid_out_otherwise)),
    "saved on the CPU": Way("and torch's own", within(torch.autograd.graph.save_on_cpu)),
    "a function": Way("run takes and returns the state, with its graph", as_function, options={"carry_graph": True}),
    "begun elsewhere": Way("a stream whose thread has ended", begun_elsewhere, (MIDDLE,)),
    "elsewhere": Way("all in a thread that has ended", wholly_elsewhere, (MIDDLE,)),
    "no_grad": Way("a stream that was begun without a graph", begun_in(torch.no_grad), (MIDDLE,), since=MIDDLE),
    "inference": Way("and in inference mode", begun_in(torch.inference_mode), (MIDDLE,), since=MIDDLE),
    "transformed": Way("the state is cleared by a transform", ended_in_transform),
}
