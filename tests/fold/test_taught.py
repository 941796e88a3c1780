"""Operations that the library does not know, and what a user says of them."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, train

NAME = "spikingtorch_tests::smooth"


@pytest.fixture(scope="module")
def smooth() -> Any:
    """A custom operation that smooths each row."""

    @torch.library.custom_op(NAME, mutates_args=())
    def operation(x: Tensor) -> Tensor:
        return 0.5 * (x + x.roll(1, -1))

    operation.register_autograd(lambda ctx, grad: 0.5 * (grad + grad.roll(-1, -1)))
    return torch.ops.spikingtorch_tests.smooth


def through(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = torch.ops.spikingtorch_tests.smooth(x)
    return out


def test_steps_as_long_as_nobody_says_what_it_does(smooth: Any) -> None:
    report = st.SpikingNet(Two(through).double(), 3).explain(train())
    assert report.mode == "step"
    assert "an operation that is not known to keep samples apart (smooth, line" in report.reason


@pytest.mark.parametrize("chosen", ["packet", "overload"])
def test_folds_as_taught(smooth: Any, chosen: str) -> None:
    rules = {smooth if chosen == "packet" else smooth.default: "rows"}
    net = Two(through).double()
    model: Any = st.SpikingNet(net, 3, fold_rules=rules)  # type: ignore[arg-type]
    step = st.SpikingNet(copy.deepcopy(net), 3, mode="step")
    found = []
    for each in (model, step):
        x = train().requires_grad_()
        out = each(x)
        found.append([out, *torch.autograd.grad(out.sum(), [x, *each.parameters()])])
    assert_close(found[0], found[1])
    assert model.explain().mode == "fold"
    assert copy.deepcopy(model).explain(train()).mode == "fold"
    assert pickle.loads(pickle.dumps(model)).explain(train()).mode == "fold"
    assert st.SpikingNet(net, 3).explain(train()).mode == "step"  # what one network is told, others do not hear


def test_what_is_taught_does_not_excuse_the_rest(smooth: Any) -> None:
    net = Two(lambda net, x, init: through(net, x.T, init).T).double()
    report = st.SpikingNet(net, 3, fold_rules={smooth: "rows"}).explain(train())
    assert (report.mode, "works along the axis of the batch" in report.reason) == ("step", True), report.reason


@pytest.mark.parametrize(
    ("rules", "kind", "message"),
    [
        ({"mylib::smooth": "rows"}, TypeError, "fold_rules has the key 'mylib::smooth', expected an operation such as"),
        ({torch.relu: "rows"}, TypeError, "expected an operation such as torch.ops"),
        ({torch.ops.aten.relu: "column"}, ValueError, "says 'column' of aten.relu, expected 'pointwise' .* or 'rows'"),
    ],
)
def test_bad_rules(rules: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        st.SpikingNet(Two(), 3, fold_rules=rules)
