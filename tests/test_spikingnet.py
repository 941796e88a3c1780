"""SpikingNet: shapes, the init contract and its layers, state, and errors. That it is a loop over time: tests/fold."""

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import LIF, SpikingNet
from spikingtorch.testing import assert_close
from tests.contract.networks import After, Block, ByName, Required
from tests.contract.oracle import HIDDEN
from tests.fold_nets import Chain, network, train
from tests.folded_layer import Lambda, over_time


@pytest.fixture
def model() -> st.SpikingNet:
    return network("linear", torch.float32)


@pytest.fixture
def x(model: st.SpikingNet) -> Tensor:
    return train(model, 5, 7)


def test_init_contract(model: st.SpikingNet, x: Tensor) -> None:
    inits: list[object] = []
    model.net.register_forward_pre_hook(lambda _, given: inits.append(given[1]))
    model.mode = "step"
    assert 0 < model(x).mean() < 1
    assert inits == [True] + [False] * 6
    assert all(type(init) is bool for init in inits)


@pytest.mark.parametrize("Nout", [3, (3,), [3], torch.Size([3]), np.int64(3)])
def test_nout(Nout: Any, model: st.SpikingNet, x: Tensor) -> None:
    assert st.SpikingNet(model.net, Nout)(x).shape == (5, 7, 3)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 4, 4), (2, 3, 4, 5)])
def test_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    model = st.SpikingNet(over_time(st.IF()).net, shape)
    assert model(torch.ones(2, 3, *shape)).shape == (2, 3, *shape)


def test_activity_enters_a_loss_inside_a_transform() -> None:
    layer: Any = st.BioLIF(0.5, v0=0.1, track_act=True)
    model = over_time(layer, 2, mode="auto")

    def loss(x: Tensor) -> Tensor:
        model(x)
        return layer.act.sum()

    x = torch.rand(2, 3, 2, requires_grad=True)
    (want,) = torch.autograd.grad(loss(x), x)
    assert want.any()
    assert_close(torch.func.grad(loss)(x.detach()), want)
    copy.deepcopy(model)


# --- bad input --------------------------------------------------------------------------------------------------------

ONES = torch.ones(5, 7, 4)
NESTED = torch.nested.nested_tensor([ONES[0], ONES[1, :3]], layout=torch.jagged)
BAD: dict[str, tuple[Any, type[Exception]]] = {
    r"x has dtype torch\.int64.*x\.float\(\)": (ONES.long(), TypeError),
    r"x has dtype torch\.bool": (ONES.bool(), TypeError),
    r"SpikingNet: x holds NaN or infinite values": (ONES * torch.nan, ValueError),
    r"x has shape \(5,\), expected \(N, T, \.\.\.\).*an encoder adds the steps": (torch.ones(5), ValueError),
    r"x has shape \(5, 0, 4\), which has no steps": (ONES[:, :0], ValueError),
    r"x is torch\.float64, the network torch\.float32.*\.to\(dtype\)": (ONES.double(), TypeError),
    r"x is on meta, the network on cpu.*\.to\(device\)": (ONES.to("meta"), ValueError),
    r"x is a list, expected a torch\.Tensor": ([1.0], TypeError),
    r"x has the layout torch\.sparse_coo, expected a dense one, x\.to_dense\(\)": (ONES.to_sparse(), TypeError),
    r"x is a nested tensor.*torch\.nested\.to_padded_tensor\(x, 0\.0\).*lengths=": (NESTED, TypeError),
}


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
def test_an_error_of_a_layer_names_its_path(mode: Any) -> None:
    net = nn.Sequential(nn.Linear(4, 4), st.LIF(), nn.Sequential(nn.Linear(4, 4), st.LIF()))
    next(net[2].parameters()).data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="LIF: x holds NaN") as caught:
        st.SpikingNet(net, mode=mode)(ONES)
    assert caught.value.__notes__ == ["SpikingNet: raised by layer 2.1 (LIF)"]
    with pytest.raises(ValueError, match="SpikingNet: x holds NaN") as caught:
        st.SpikingNet(net, mode=mode)(ONES * torch.nan)
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_a_failed_call_keeps_nothing_alive(mode: Any) -> None:
    """The tensors of a call go with its error. Each second run by torch's checkpoint ends with an error, in time."""

    class FaultError(Exception):
        pass

    def fail(module: nn.Module, x: Tensor) -> Tensor:
        raise FaultError

    model, faults = SpikingNet(nn.Sequential(nn.Linear(4, 4), LIF(), Lambda(fail)), mode=mode), []
    gc.disable()
    try:
        for _ in range(2):
            try:
                model(ONES)
            except FaultError as fault:
                faults.append(weakref.ref(fault))
        assert [fault() for fault in faults] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
def test_an_error_names_the_layer_whose_state_diverged(mode: Any) -> None:
    first = nn.Sequential(st.ResonateAndFire(90.0, -0.1, dt=0.1, returns=("v",)), Lambda(lambda _, found: found[0]))
    model = st.SpikingNet(nn.Sequential(st.LI(), first, nn.Linear(4, 4), st.LI(), st.LIF()), mode=mode)
    with pytest.raises(ValueError, match="LI: x holds NaN") as caught:
        model(torch.ones(5, 100, 4))
    assert caught.value.__notes__[1:] == ["SpikingNet: the state of layer 1.0 (ResonateAndFire) is not finite"]


@pytest.mark.parametrize("init", [None, 0, torch.ones(5), torch.ones(5, 4) > 0, torch.ones(7) > 0], ids=str)
def test_init_that_is_no_bool(init: Any, model: st.SpikingNet) -> None:
    with pytest.raises((TypeError, ValueError), match=r"SpikingNet: init.* expected .*bool.* for each sample"):
        model(ONES, init)


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_bad_input(message: str, model: st.SpikingNet) -> None:
    x, error = BAD[message]
    with pytest.raises(error, match=message):
        model(x)


def test_what_is_no_net() -> None:
    with pytest.raises(TypeError, match=r"net is a type.*make one of the class: Chain\(\)"):
        st.SpikingNet(Chain, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"net is a function, expected a torch\.nn\.Module"):
        st.SpikingNet(lambda x, init: x, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("Nout", [0, (0,), (2.5,), (-1,), True, 10.0])
def test_bad_nout(Nout: Any, model: st.SpikingNet) -> None:
    with pytest.raises(ValueError, match="expected the shape of one output"):
        st.SpikingNet(model.net, Nout)


def test_a_net_in_a_net_is_refused() -> None:
    with pytest.raises(TypeError, match="net is a SpikingNet"):
        st.SpikingNet(st.SpikingNet(st.IF()))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"mode": "Step"}, r"mode='Step' is not one of 'auto', 'step', 'fold'"),
    ({"mode": None}, r"mode=None is not one of 'auto', 'step', 'fold'"),
    ({"event_driven": "sometimes"}, r"event_driven='sometimes' is not one of 'auto', 'off', 'on'"),
    ({"hooks": "once"}, r"hooks='once' is not one of 'step', 'sequence'"),
    ({"statistics": "batch"}, r"statistics='batch' is not one of 'step', 'sequence'"),
    ({"time_chunk": "sqrt"}, "time_chunk='sqrt', expected a whole number of steps, or 'auto'"),
    ({"recompute": True}, r"recompute=True runs each chunk again .* with time_chunk=K or time_chunk='auto'"),
    ({"recompute": 1}, "recompute=1, expected True or False"),
    ({"truncate": True}, r"truncate=True cuts the graph between chunks; .* with time_chunk=K"),
    *[
        ({"time_chunk": each}, f"time_chunk={each}, expected a whole number of steps, 1 or more")
        for each in (0, -3, 2.5, True)
    ],
]


@pytest.mark.parametrize(("option", "message"), WRONG, ids=str)
def test_options_are_checked_when_given_and_when_set_later(option: dict[str, Any], message: str) -> None:
    ((name, value),) = option.items()
    model = st.SpikingNet(st.IF())
    before = getattr(model, name)
    with pytest.raises(ValueError, match=f"^SpikingNet: {message}$"):
        st.SpikingNet(st.IF(), **option)
    with pytest.raises(ValueError, match=message):
        setattr(model, name, value)
    assert getattr(model, name) == before
    model.time_chunk = 3
    model.truncate = model.recompute = True
    model(ONES)
    with pytest.raises(ValueError, match="say how long one is"):
        model.time_chunk = None


CHUNKS = [(1, 3, [1], [1]), (9, 2**17, [3, 3, 3], [3, 3, 3]), (10, 3, [4, 6], [10]), (10, 2**14, [4, 6], [8, 2])]


@pytest.mark.parametrize(("T", "neurons", "first", "second"), [*CHUNKS, (10, 0, [4, 4, 2], [4, 4, 2])])
def test_chunks_of_an_automatic_size(
    T: int, neurons: int, first: list[int], second: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square root of T, and more for few neurons, once they are known; not where chunks cut the graph."""
    model = st.SpikingNet(st.IF(), time_chunk="auto", truncate=not neurons)
    x = torch.rand(2, T, neurons or 3)
    whole, run = st.SpikingNet(st.IF())(x), model._run
    seen: list[int] = []

    def noted(chunk: Any, *given: Any) -> Any:
        seen.append(chunk.x.shape[1])
        return run(chunk, *given)

    monkeypatch.setattr(model, "_run", noted)
    for sizes in (first, second):
        seen.clear()
        assert torch.equal(model(x), whole)
        assert seen == sizes


MODES: Any = ("auto", "step", "fold")


class Ambiguous(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neurons = LIF()

    def forward(self, x: Tensor, start: bool = False) -> Any:
        return self.neurons(x, start)


class NoInput(nn.Module):
    def forward(self) -> None: ...


@pytest.mark.parametrize("net", [nn.Identity(), nn.Linear(2, 2), nn.Sequential(nn.ReLU()), NoInput(), Ambiguous()])
def test_networks_that_no_init_reaches_are_refused(net: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"must take two arguments, forward\(self, x, init\)"):
        SpikingNet(net)


INPUTS = torch.rand(4, 9, HIDDEN, generator=torch.Generator().manual_seed(5), dtype=torch.double)
MASK = torch.tensor([True, False] * 2)


def twice(model: SpikingNet) -> Tensor:
    """Return the outputs of two calls, in the second of which some samples go on."""
    return torch.stack([model(INPUTS), model(INPUTS, MASK)])


@pytest.mark.sampled
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [After, ByName, Required, Block])
def test_a_network_that_is_changed_hands_init_to_its_new_modules(kind: Any, mode: Any) -> None:
    torch.manual_seed(0)
    block = kind().double()
    want = twice(SpikingNet(nn.Sequential(block), mode="step"))
    layers = nn.Sequential(LIF())
    model = SpikingNet(layers, mode=mode)
    model(INPUTS)
    layers[0] = block
    assert torch.equal(twice(model), want)
    for net in (block, torch.optim.swa_utils.AveragedModel(block)):
        model.net = net
        assert torch.equal(twice(model), want)
    model.net = nn.Linear(HIDDEN, HIDDEN)
    with pytest.raises(TypeError, match="must take two arguments"):
        model(INPUTS)
