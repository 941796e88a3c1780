"""What lies in memory in another way folded than stepped, or of one sample than of several."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:SpikingNet. Net runs step")]


class Net(nn.Module):
    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.l1, self.l2, self.s1 = nn.Linear(10, 10), nn.Linear(10, 4), LIF()
        self.place = nn.Parameter(torch.randn(1, 1, 10))
        self.run = run

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.run(self, x, init)


def spikes(net: Any, x: Tensor, init: Any) -> Tensor:
    """Spikes of neurons whose input is transposed."""
    out: Tensor = net.s1(4 * net.l1(x).view(-1, 2, 5).transpose(1, 2), init)
    return out


def contiguous(net: Any, x: Tensor, init: Any) -> Tensor:
    z = spikes(net, x, init)
    y = z.contiguous()
    y *= 3.0
    return z + y


def flattened(net: Any, x: Tensor, init: Any) -> Tensor:
    z = spikes(net, x, init)
    return z.flatten(1).mul_(3.0) + z.flatten(1)


def transposed(net: Any, x: Tensor, init: Any) -> Tensor:
    h = 4 * net.l1(x)
    z = h.t().contiguous()
    z += 1.0
    out: Tensor = net.s1(h, init)
    return out


def sequence_first(net: Any, x: Tensor, init: Any) -> Tensor:
    h = x.transpose(0, 1).contiguous()
    h += net.place
    out: Tensor = net.l2(net.s1(4 * net.l1(h.transpose(0, 1)), init)) + net.l2(net.l1(x))
    return out


@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("run", [contiguous, flattened, transposed, sequence_first])
def test_as_stepped(run: Callable[..., Tensor], N: int) -> None:
    torch.manual_seed(0)
    net = Net(run).double()
    x = torch.rand(N, 8, 6, 10).double() if run is sequence_first else torch.rand(N, 8, 10).double()
    modes: Any = ("auto", "step")
    found = []
    for mode in modes:
        given = x.clone()
        with torch.no_grad():
            found.append((SpikingNet(net, mode=mode)(given), given))
    assert found[1][0].any()
    torch.testing.assert_close(found[0], found[1])


def test_one_sample_folds_where_nothing_depends_on_it() -> None:
    model = SpikingNet(Net(lambda net, x, init: net.l2(net.s1(net.l1(x), init))))
    model(torch.rand(1, 8, 10))
    assert model.explain().mode == "fold"
