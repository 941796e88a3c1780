"""All steps of a network at once: the same spikes, gradients and state as step by step, whatever the calls."""

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
from tests.fold_nets import (
    NETS,
    assert_as_exact,
    assert_gradients,
    decided,
    gradients,
    layers,
    network,
    run,
    spiking,
    states,
    train,
)

MODES: tuple[Mode, ...] = ("step", "fold", "auto")
# all pairs of a dtype, a batch and a length
F32, F64 = torch.float32, torch.float64
KINDS = [(F64, 1, 1), (F64, 3, 2), (F64, 3, 17), (F32, 3, 1), (F32, 1, 2), (F32, 1, 17)]


@pytest.mark.sampled
@pytest.mark.parametrize(("dtype", "N", "T"), KINDS)
@pytest.mark.parametrize("name", NETS)
def test_folded_is_stepwise(name: str, dtype: torch.dtype, N: int, T: int) -> None:
    stepwise, folded, auto = (network(name, dtype, mode=mode) for mode in MODES)
    x = decided(stepwise, N, T)
    want, got = run(stepwise, x), run(folded, x)
    if T == 17:
        fires = [layer for layer in want.spikes if spiking(layers(stepwise)[layer])]
        firing = {layer: float((want.spikes[layer] != 0).double().mean()) for layer in fires}
        assert firing
        assert all(0 < rate < 1 for rate in firing.values()), firing
    for layer, spikes in want.spikes.items():
        if set(spikes.unique().tolist()) <= {0.0, 1.0}:
            assert torch.equal(got.spikes[layer], spikes), layer
        assert_close(got.spikes[layer], spikes, layer)
    if dtype == F32:
        assert_as_exact(got.gradients, want.gradients, run(copy.deepcopy(stepwise).double(), x.double()).gradients)
    else:
        assert_gradients(got.gradients, want.gradients)
    assert_close(got.state, want.state, "state")
    assert torch.equal(auto(x), got.out if T > 1 else want.out)
    assert auto.explain().mode == "fold"


# --- chunks and streams -----------------------------------------------------------------------------------------------

SOME = torch.tensor([True, False, True])
# first and last step of each call, and its init
CALLS: dict[str, list[tuple[int, int, Any]]] = {
    "one call": [(0, 9, True)],
    "stream": [(0, 3, True), (3, 4, False), (4, 9, False)],
    "some begin anew": [(0, 5, True), (5, 9, SOME)],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "steps": {"time_chunk": 1},
    "chunks": {"time_chunk": np.int64(3)},
    "one chunk": {"time_chunk": 9},
    "long chunk": {"time_chunk": 20},
    "truncated": {"time_chunk": 2, "truncate": True},
    "truncated steps": {"time_chunk": 1, "truncate": True},
    "truncated behind the end": {"time_chunk": 20, "truncate": True},
    "carried": {"carry_graph": True},
    "carried chunks": {"time_chunk": 2, "carry_graph": True},
    "carried truncated": {"time_chunk": 2, "carry_graph": True, "truncate": True},
}
OTHERS = ["linear", "CoarseLIF", "BioLIF, by_subtraction", "BioLIF, none", "SpikingDecay", "LI", "tutorial"]
CASES = [
    (name, *case)
    for number, case in enumerate(itertools.product(CALLS, OPTIONS))
    for name in ("LIF, learning", OTHERS[number % 7])
]


def by_hand(twin: st.SpikingNet, x: Tensor, calls: Any, options: dict[str, Any]) -> Tensor:
    """Make the same calls as a loop over the steps of the network, which cuts the graph where a model would."""
    outputs = []
    for first, last, init in calls:
        for t in range(first, last):
            chunk_ends = (t - first) % options.get("time_chunk", 9) == 0
            if (not options.get("carry_graph")) if t == first else (chunk_ends and options.get("truncate")):
                twin.detach_()
            outputs.append(twin.net(x[:, t], init if t == first else False))
    return torch.stack(outputs, 1)


def activity(model: st.SpikingNet) -> Any:
    """Return a number that depends on how active the layers were, where they know."""
    return sum(value.square().sum() for what, value in states(model).items() if what.endswith(".act"))


@pytest.mark.sampled
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "calls", "options"), CASES)
def test_calls_are_a_loop(name: str, calls: str, options: str, mode: Mode) -> None:
    chosen = OPTIONS[options]
    model, twin = network(name, mode=mode, **chosen), network(name)
    x = train(model, 3, 9).requires_grad_()
    got = torch.cat([model(x[:, first:last], init) for first, last, init in CALLS[calls]], 1)
    want = by_hand(twin, x, CALLS[calls], chosen)
    assert_close(got, want)
    assert_close(states(model), states(twin))
    attached = [value.requires_grad for what, value in states(model).items() if what.endswith(".v")]
    assert attached == ["carry_graph" in chosen] * len(attached)
    assert_gradients(gradients(got + activity(model), model, x), gradients(want + activity(twin), twin, x))
    with torch.no_grad():
        assert_close(torch.cat([model(x[:, first:last], init) for first, last, init in CALLS[calls]], 1), want.detach())


def test_init_of_some_samples() -> None:
    model = network("CoarseLIF", mode="fold")
    x, more = train(model, 3, 5), train(model, 3, 4, seed=2)
    first = model(x)
    goes_on = model(more, init=False)
    for init in (torch.tensor(True), torch.tensor([True] * 3)):
        assert torch.equal(model(x, init=init), first)
    got = model(more, init=SOME)
    assert_close(got, torch.where(SOME[:, None, None], model(more), goes_on))
    assert not torch.equal(goes_on, model(more))
    with pytest.raises(ValueError, match=r"init is a tensor of torch\.bool and shape \(2,\), expected .*\(3,\)"):
        model(x, init=torch.tensor([True, False]))
    with pytest.raises(ValueError, match=r"init is a tensor of torch\.float32"):
        model(x, init=torch.ones(3))


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("mode", MODES)
def test_empty_batch(mode: Mode, chunk: int | None) -> None:
    model = network("linear", mode=mode, time_chunk=chunk)
    x = train(model, 3, 7)[:0].requires_grad_()
    out = model(x)
    assert out.shape == (0, 7, 3)
    assert gradients(out, model, x)["x"].shape == x.shape
