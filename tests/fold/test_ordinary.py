"""Networks as users write them: which of them fold, and that mode "auto" computes what steps do."""

import copy
import re
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from tests.fold.ordinary import dense, mixing, numerical, others, sequences, spiking, vision
from tests.fold.ordinary.record import Ordinary

pytestmark = pytest.mark.usefixtures("one_thread")

NETS: dict[str, Ordinary] = {
    name: net
    for file in (vision, dense, spiking, sequences, numerical, others, mixing)
    for name, net in file.NETS.items()
}
APART = [name for name, net in NETS.items() if not net.mixes]
T, BATCHES = 4, (3, 5)
# networks that keep samples apart and run step by step all the same, and what the report says of it
REFUSED: dict[str, str] = {
    "edgeconv": r"computes with the number of samples.*arange",
    "sparse experts": r"reads the value of a tensor.*nonzero",
    "set transformer": r"computes with the number of samples.*split",
}
TOLERANCE = 1e-9


class Numbers(NamedTuple):
    outputs: list[Tensor]
    gradients: list[dict[str, Tensor]]
    buffers: dict[str, Tensor]


def build(name: str, **options: float) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name].make(**options).double()


def model_of(net: nn.Module, name: str, mode: Mode = "auto") -> st.SpikingNet:
    return st.SpikingNet(net, NETS[name].out, mode=mode, warn_silent=False)


def sequence(name: str, N: int) -> Tensor:
    """Return an input whose steps differ in mean and deviation."""
    shape = NETS[name].shape
    generator = torch.Generator().manual_seed(N)
    scale = torch.linspace(0.5, 1.5, T, dtype=torch.float64).view(T, *(1,) * len(shape))
    return scale * torch.rand(N, T, *shape, generator=generator, dtype=torch.float64)


def numbers(model: st.SpikingNet, name: str) -> Numbers:
    found = Numbers([], [], {})
    for N in BATCHES:
        x = sequence(name, N).requires_grad_()
        out = model(x)
        leaves = {"x": x, **dict(model.named_parameters())}
        cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(N), dtype=torch.float64)
        grads = torch.autograd.grad(out, list(leaves.values()), cotangent, allow_unused=True, materialize_grads=True)
        found.outputs.append(out.detach())
        found.gradients.append(dict(zip(leaves, grads, strict=True)))
    return found._replace(buffers={key: buffer.clone() for key, buffer in model.named_buffers()})


def assert_near(got: Tensor, want: Tensor, scale: float, what: str) -> None:
    torch.testing.assert_close(got, want, rtol=0.0, atol=TOLERANCE * scale, msg=lambda text: f"{what}: {text}")


@pytest.mark.parametrize("name", NETS)
def test_marks(name: str) -> None:
    """A sample alone has the output that it has in a batch, but in networks that are marked."""
    model, x = model_of(build(name).eval(), name, "step"), sequence(name, 3)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(sample) for sample in x.split(1)])
    assert torch.allclose(together, alone, rtol=0.0, atol=TOLERANCE) != NETS[name].mixes


def test_most_of_those_that_may_fold_do() -> None:
    assert set(REFUSED) <= set(APART)
    assert len(APART) >= 45
    assert len(REFUSED) <= 0.15 * len(APART)


@pytest.mark.sampled
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("name", NETS)
def test_verdict(name: str, training: bool) -> None:
    report = model_of(build(name).train(training), name).explain(sequence(name, BATCHES[0]))
    assert report.mode == ("step" if NETS[name].mixes or name in REFUSED else "fold"), report.reason
    assert re.search(REFUSED.get(name, ""), report.reason), report.reason


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:SpikingNet. .* runs step by step:RuntimeWarning")
@pytest.mark.parametrize("name", NETS)
def test_numbers_of_steps(name: str) -> None:
    net = build(name, drop=0.0) if NETS[name].draws else build(name)
    auto = model_of(copy.deepcopy(net), name)
    got = numbers(auto, name)
    assert auto.explain().mode == ("step" if NETS[name].mixes or name in REFUSED else "fold")
    want = numbers(model_of(net, name, "step"), name)
    for call, (out, steps) in enumerate(zip(got.outputs, want.outputs, strict=True)):
        assert steps.std() > 0.0  # the network is alive
        assert_near(out, steps, float(steps.abs().max()), f"output of call {call}")
    for call, (few, more) in enumerate(zip(got.gradients, want.gradients, strict=True)):
        assert more["x"].abs().max() > 0.0
        # norms take away what a bias before them adds, so that its gradient is zero but for rounding
        largest = max(float(grad.abs().max()) for grad in more.values())
        for key, grad in few.items():
            assert_near(grad, more[key], largest, f"gradient of {key}, call {call}")
    for key, buffer in got.buffers.items():
        assert_near(buffer.double(), want.buffers[key].double(), 1.0, key)
