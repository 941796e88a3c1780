"""DelayedRecurrence: spikes that come back later, beside a loop over the history of all spikes; saved and refused."""

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import quantize
from spikingtorch.interop import nir
from spikingtorch.testing import assert_close

pytestmark = pytest.mark.usefixtures("one_thread")
M, LONGEST, DECAY = 6, 5, 0.8


def made(width: float = 1.5, **options: Any) -> Any:
    torch.manual_seed(0)
    layer = st.LIF(decay=DECAY, recurrent=st.DelayedRecurrence(M, LONGEST, width), **options)
    return layer.double()


def by_history(x: Tensor, weight: Tensor, delay: Tensor, width: float) -> Tensor:
    """Return the spikes (N, T, M) of the equation of DelRec."""
    spikes: list[Tensor] = []
    state, surrogate = F.LIFState(torch.zeros_like(x[:, 0])), cast(F.Surrogate, st.LIF().surrogate)
    for t in range(x.shape[1]):
        current = x[:, t]
        for k in range(1, min(t, 1 + LONGEST) + 1):
            share = torch.clamp(1.0 + width - (k - 1 - delay).abs(), min=0.0) / (1.0 + width) ** 2
            current = current + (share * spikes[t - k]) @ weight.T
        state, spike = F.lif_step(state, current, decay=DECAY, surrogate=surrogate)
        spikes.append(spike)
    return torch.stack(spikes, 1)


@pytest.mark.parametrize("width", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("mode", ["auto", "step"])
def test_it_is_the_loop_over_all_spikes(mode: Any, width: float) -> None:
    layer, x = made(width), 1.5 * torch.rand(3, 20, M, dtype=torch.double)
    model, leaves = (
        st.SpikingNet(layer, mode=mode),
        cast(Any, [x.requires_grad_(), layer.recurrent.weight, layer.recurrent.delay]),
    )
    out = model(x)
    want = by_history(*[*leaves, width])
    assert 0.1 < want.mean() < 0.9
    pull = torch.randn_like(out)
    assert_close([out, *torch.autograd.grad(out, leaves, pull)], [want, *torch.autograd.grad(want, leaves, pull)])
    assert torch.equal(torch.cat([model(x[:, :7]), model(x[:, 7:], init=False)], 1), out)
    padded, running = model(x, lengths=torch.tensor([20, 1, 9])), torch.arange(20) < torch.tensor([[20], [1], [9]])
    assert torch.equal(padded, out * running[..., None])
    model(x[2:, :9])
    alone = model(x[2:], init=False)
    model(x, lengths=torch.tensor([20, 1, 9]))
    assert_close(model(x, init=False)[2:], alone)


def test_rounded_saved_clamped_and_with_rest() -> None:
    layer, other, x = made(), made(4.0), torch.rand(2, 20, M, dtype=torch.double)
    with torch.no_grad():
        layer.recurrent.delay[0] = 9.0
    st.SpikingNet(layer)(x)
    assert layer.recurrent.delay[0] == LONGEST
    other.load_state_dict(layer.state_dict())
    assert (other.recurrent.width, torch.equal(other.recurrent.delay, layer.recurrent.delay)) == (1.5, True)
    whole = layer.recurrent.round_().delay.long()
    assert torch.equal(layer.recurrent.spread(), nn.functional.one_hot(whole, LONGEST + 1).T.double())
    rests = made(refractory=2.0, returns=("spikes", "v"))
    stepped, folded = (st.SpikingNet(copy.deepcopy(rests), mode=mode)(x) for mode in ("step", "fold"))
    assert_close(stepped, folded)
    assert st.SpikingNet(rests).explain(x).layers[0].backend.backend == "loop"
    assert [*st.record(st.SpikingNet(rests), x, ("u", "v"))[""]] == ["u", "v"]
    assert st.summary(st.SpikingNet(rests), x).rows[0].acs > 0


REFUSED: dict[str, Callable[[], Any]] = {
    "longest=0, expected a whole number": lambda: st.DelayedRecurrence(M, 0),
    "width=-1.0, expected a finite value at least 0": lambda: st.DelayedRecurrence(M, 3, -1.0),
    "recurrent leads back to 6 features": lambda: made()(torch.rand(2, 5)),
    "delays the spikes that come back to it": lambda: nir.to_nir(
        st.SpikingNet(nn.Sequential(made().float())), torch.rand(1, 4, M)
    ),
    "it is a DelayedRecurrence for neurons": lambda: quantize.to_integer(
        st.SpikingNet(nn.Sequential(st.FixedPointIF(recurrent=st.DelayedRecurrence(M, 3)))), torch.ones(1, 4, M)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_know_it_refuses_it(message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        REFUSED[message]()
