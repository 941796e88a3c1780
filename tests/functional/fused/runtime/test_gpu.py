"""The target for GPUs without Triton and without a device: what it hands to a kernel."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from spikingtorch import LIF, SpikingNet
from spikingtorch.functional.fused.runtime.layout import layouts_of
from tests.functional.fused.runtime.recorder import Recorder, executable, lif, recorded
from tests.fused import draw


@pytest.fixture
def target() -> Iterator[Recorder]:
    with recorded() as found:
        yield found


def test_the_arguments_of_both_passes(target: Recorder) -> None:
    """What the pointers and strides are for, `make test-gpu-text` shows by values; types are those of the source."""
    x = draw(20, 5, dtype=torch.float32).requires_grad_()
    v, out = lif(x, threshold=torch.ones(5, requires_grad=True), gain=0.5)
    torch.autograd.grad(out, [x], draw(20, 5, dtype=torch.float32, seed=1))
    assert [(name, lanes) for name, lanes, _ in target.runs] == [("forward", 5), ("backward", 5)]
    for source, (_, _, given) in zip(target.sources, target.runs, strict=True):
        types = dict(source.types)
        assert given.keys() == types.keys() - {"BLOCK"}
        assert {name for name, value in given.items() if value is None} == {*source.missing}
        for each in given.keys() - {*source.missing}:
            assert type(given[each]) is (float if types[each] in ("fp32", "fp64") else int), each
        assert (given["x0_ptr"], given["s0_ptr"]) == (x.data_ptr(), v.data_ptr())
    forward, backward = target.sources
    assert forward.missing == ("b0_ptr", "z0_ptr", "w0_ptr")
    assert backward.missing == ("c0_ptr",), "no gradient of the last state comes in"


def test_one_kernel_for_all_lengths_sizes_and_strides(target: Recorder) -> None:
    """A sequence of a single chunk keeps no state. It is handed the first one in its place, and never looks at it."""
    for dim, sizes in ((0, (1, 3)), (0, (8, 40)), (0, (300, 2, 5)), (1, (3, 9, 21)), (1, (4, 33, 2, 2))):
        x = draw(*sizes, dtype=torch.float32).transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
        v, out = lif(x, dim)
        torch.autograd.grad(out.sum(), [x, v])
        given = target.runs[-1][2]
        assert (given["k0_ptr"] == given["s0_ptr"] == v.data_ptr()) == (x.shape[dim] <= 8)
    assert len(set(target.sources)) == 2, "one forward pass and one backward pass"


def test_a_long_inference_keeps_nothing(target: Recorder) -> None:
    with torch.no_grad():
        lif(draw(20, 5, dtype=torch.float32))
    assert target.sources[-1].missing == ("b0_ptr", "z0_ptr", "w0_ptr", "k0_ptr")
    assert target.runs[-1][2]["k0_ptr"] is None


def test_a_stepper_moves_every_address(target: Recorder) -> None:
    x = draw(1, 5, dtype=torch.float32)
    lif(x)
    launch = executable().forward_launcher([torch.zeros(5), x], keep=False).launch
    names = [name for name, _ in target.sources[0].types if name != "b0_ptr"]  # nothing was counted
    step = launch.stepper([(1000, 20), (2000, 40), (3000, 0), (4000, 4)], (0.9,) * 7)
    step(0)
    step(3)
    first, later = (given for _, _, given in target.runs[-2:])
    assert names[:4] == ["s0_ptr", "x0_ptr", "f0_ptr", "y0_ptr"]
    assert [first[name] for name in names[:4]] == [1000, 2000, 3000, 4000]
    assert [later[name] for name in names[:4]] == [1060, 2120, 3000, 4012]
    assert later["k0_ptr"] == later["s0_ptr"], "what stands for another array moves with it"


def test_states_at_rest_are_written_once_and_waited_for(target: Recorder) -> None:
    """A later call may come on another stream than the one that has written the zeros."""
    model = SpikingNet(nn.Sequential(LIF()), mode="fold", warn_silent=False)
    for _ in range(3):
        model(draw(3, 20, 5, dtype=torch.float32))
    assert target.settled == 1
    assert {given["s0_ptr"] for _, _, given in target.runs} != {None}
    assert "z0_ptr" not in target.sources[-1].missing, "the outputs of the last step once more"


def test_the_same_form_on_another_device_is_another_one() -> None:
    with FakeTensorMode():
        places = ("cpu", "cuda:0", "cuda:1")
        assert len({str(layouts_of([torch.empty(3, device=place)])) for place in places}) == 3
