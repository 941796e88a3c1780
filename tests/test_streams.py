"""The state of a network: kept, set, split and put together."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import IF, LI, LIF, BioLIF, CoarseLIF, SequenceDropout, SpikingNet, TimeBatchNorm1d
from tests.every_layer import through_a_file
from tests.folded_layer import Coded, One, conducted


def network() -> nn.Sequential:
    torch.manual_seed(0)
    recurrent = LIF(v0=0.4, recurrent=nn.Linear(6, 6, bias=False))
    bio = One(BioLIF(0.5, 0.2, track_act=True), conducted)
    layers = [nn.Linear(4, 6), recurrent, CoarseLIF(tau=2.0, v0=0.3), SequenceDropout(0.3), bio, LI(tau=3.0)]
    return nn.Sequential(*layers, TimeBatchNorm1d(6).eval()).double()


def sequences(N: int, T: int = 8) -> Tensor:
    return torch.rand(N, T, 4, dtype=torch.double, generator=torch.Generator().manual_seed(N)) * 2


@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_a_stream_goes_on_from_a_state_bit_for_bit(mode: Any) -> None:
    model, x = SpikingNet(network(), mode=mode), sequences(3)
    torch.manual_seed(1)
    whole = torch.cat([model(x[:, :5]), model(x[:, 5:], init=False)], 1)
    torch.manual_seed(1)
    first = model(x[:, :5])
    state, act = model.get_state(), model.net[4].layer.act  # type: ignore[index]
    other = SpikingNet(network(), mode=mode)  # which a file brings to the same state
    drawn = torch.get_rng_state()
    other.set_state(through_a_file(state, True))
    assert torch.equal(torch.get_rng_state(), drawn)
    model(sequences(3) / 2, init=False)  # another stream
    model.set_state(state)
    for each in (model, other):
        assert torch.equal(whole, torch.cat([first, each(x[:, 5:], init=False)], 1))
    assert list(state) == ["1.neuron.v", "1.s", "2.v", "2.s", "3.mask", "4.layer.v", "4.layer.act", "5.v"]
    model.set_state(state)
    assert torch.equal(model.net[4].layer.act, act)  # type: ignore[index]


def test_states_of_two_batches_are_put_together_and_taken_apart() -> None:
    net = network().eval()
    model = SpikingNet(net)
    x = sequences(5)
    expected = model(x)[:, 5:]
    parts = []
    for rows in (slice(0, 2), slice(2, 5)):
        model(x[rows, :5])
        parts.append(model.get_state())
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    model.set_state(joined)
    assert torch.allclose(model(x[:, 5:], init=False), expected, rtol=1e-12, atol=1e-12)
    model.set_state({name: each[[4, 1]] for name, each in joined.items()})
    assert torch.allclose(model(x[[4, 1], 5:], init=False), expected[[4, 1]], rtol=1e-12, atol=1e-12)


def test_a_layer_that_no_call_reaches_has_none() -> None:
    def net() -> nn.Module:
        return Coded(lambda net, x, init: net.used(x, init), used=LI(tau=2.0), spare=IF())

    model, x = SpikingNet(net()), sequences(2)
    model(x)
    state = model.get_state()
    assert {name: tuple(each.shape) for name, each in state.items()} == {"used.v": (2, 4), "spare.not_called": (2, 0)}
    expected = model(x, init=False)
    for other in (model, SpikingNet(net())):
        other.reset()
        other.set_state({name: torch.cat([each, each])[[0, 3]] for name, each in sorted(state.items())})
        assert torch.equal(other(x, init=False), expected)


def test_a_layer_inside_another_one_has_a_state_of_its_own() -> None:
    class Outer(LI):
        def __init__(self) -> None:
            super().__init__(tau=2.0)
            self.child = LI(tau=3.0)

        def forward(self, x: Tensor, init: Any = None) -> Any:
            return super().forward(x, init) + self.child(x[:, :2], init).sum(1, keepdim=True)

    model, x = SpikingNet(nn.Sequential(Outer()), mode="step"), sequences(3)
    model(x)
    state = model.get_state()
    expected = model(x, init=False)
    model.set_state(dict(sorted(state.items())))
    assert torch.equal(model(x, init=False), expected)
    model.set_state(dict(sorted(state.items(), reverse=True)))
    assert torch.equal(model(x, init=False), expected)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: each for key, each in state.items() if not key.startswith(name)}


WRONG: dict[str, tuple[Any, type[Exception]]] = {
    "state holds 9.v, which this network has no state for; it has 1, 2, 3, 4.layer, 5": (
        lambda state: {**state, "9.v": state["2.v"]},
        ValueError,
    ),
    r"state lacks 1\.s, which layer 1 \(LIF\) keeps": (lambda state: without(state, "1.s"), ValueError),
    r"state holds nothing for 2 \(CoarseLIF\)": (lambda state: without(state, "2."), ValueError),
    r"state\['2.s'\] has shape \(3, 6\) and dtype torch.float64, expected \(3, 5\)": (
        lambda state: {**state, "2.v": state["2.v"][:, :5]},
        ValueError,
    ),
    r"state\['2.s'\] has shape .* and dtype torch.float64, expected .* torch.float32": (
        lambda state: {**state, "2.v": state["2.v"].float()},
        ValueError,
    ),
    "state is of different numbers of samples": (lambda state: {**state, "5.v": state["5.v"][:2]}, ValueError),
    r"state\['5.v'\] is a list, expected a tensor": (lambda state: {**state, "5.v": [0.0]}, TypeError),
}


@pytest.mark.parametrize("message", WRONG)
def test_states_of_other_networks(message: str) -> None:
    change, error = WRONG[message]
    model = SpikingNet(network())
    model(sequences(3))
    state = model.get_state()
    with pytest.raises(error, match=message):
        model.set_state(change(state))
    now = model.get_state()  # nothing of it was taken over
    assert all(torch.equal(now[name], state[name]) for name in state)


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_a_network_that_is_called_within_another_one_shares_the_state_of_any_of_its_layers(mode: Any) -> None:
    """Also where not all of its layers are the other one's."""
    shared = LI(tau=4.0)
    inner = SpikingNet(nn.Sequential(IF(v0=0.1), shared), mode=mode)

    def outer(net: Any, x: Tensor, init: Any) -> Any:
        first = net.layer(x, init)
        inner(x[:, None], init=False)
        return first

    x = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))
    model = SpikingNet(Coded(outer, layer=shared, others=[inner]), mode="step")
    out = model(x)
    twin, fires, want = LI(tau=4.0), IF(v0=0.1), []
    for t, x_t in enumerate(x.unbind(1)):
        want.append(twin(x_t, init=t == 0))
        twin(fires(x_t, init=False), init=False)
    assert torch.equal(out, torch.stack(want, 1))
    assert shared.v is not None and twin.v is not None  # noqa: PT018
    assert torch.equal(shared.v, twin.v)
