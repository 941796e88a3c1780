"""Each error says what came, what is expected and how to fix it."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet, losses, metrics
from tests.losses.cases import BY_NAME, Case

CLASSES: list[tuple[str, Callable[..., Tensor]]] = [
    *((case.name, case.call) for case in BY_NAME.values() if case.target == "class" and case.population == 1),
    ("rate_accuracy", metrics.rate_accuracy),
    ("first_spike_accuracy", metrics.first_spike_accuracy),
]
of_classes = pytest.mark.parametrize(("name", "call"), CLASSES)
each_case = pytest.mark.parametrize("case", BY_NAME.values(), ids=BY_NAME.keys())
X = torch.zeros(2, 4, 3)
Y = torch.tensor([0, 2])


def says(call: Callable[[], Any], kind: type[Exception], *parts: str) -> None:
    """Assert that a call raises one kind of error, with each of these in its message."""
    with pytest.raises(kind, match=re.escape(parts[0])) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@of_classes
def test_targets(name: str, call: Callable[..., Tensor]) -> None:
    says(lambda: call(X, Y.int()), TypeError, f"{name}: target has dtype torch.int32", "torch.int64", "target.long()")
    says(lambda: call(X, Y.float()), TypeError, f"{name}: target has dtype torch.float32", "target.long()")
    rows = torch.nn.functional.one_hot(Y, 3)
    says(lambda: call(X, rows.float()), TypeError, f"{name}: target has dtype torch.float32", "target.argmax(1)")
    says(lambda: call(X, rows), ValueError, f"{name}: target has shape (2, 3), expected (2,)", "target.argmax(1)")
    says(lambda: call(X, Y[:, None]), ValueError, f"{name}: target has shape (2, 1)", "target.squeeze(1)")
    swapped = X.transpose(0, 1)
    other = "are (T, N, classes), pass batch_first=False"
    says(lambda: call(swapped, Y), ValueError, f"{name}: target has shape (2,), expected (4,)", other)
    says(lambda: call(X, Y, batch_first=False), ValueError, f"{name}: target", "expected (4,)", "batch_first=True")
    says(lambda: call(X, [0, 2]), TypeError, f"{name}: target is a list", "torch.tensor(target)")
    says(lambda: call(X, Y[:1]), ValueError, f"{name}: target has shape (1,), expected (2,)")
    says(lambda: call(X, Y[None]), ValueError, f"{name}: target has shape (1, 2), expected (2,)")
    says(lambda: call(X, Y + 1), ValueError, f"{name}: target holds class 3, expected 0 to 2", "has 3 classes")
    says(lambda: call(X, Y - 100), ValueError, f"{name}: target holds class -100, expected 0 to 2")
    says(lambda: call(X, Y.to("meta")), ValueError, f"{name}: target is on meta", "target.to(")


def test_classes_of_steps() -> None:
    call, owner = losses.per_step_cross_entropy, "per_step_cross_entropy"
    each = torch.tensor([[0, 1, 2, 0], [0, 1, 2, 3]])
    says(lambda: call(X, each), ValueError, f"{owner}: target holds class 3, expected 0 to 2")
    assert call(X, each, [4, 3]) == call(X, each[:, :1].expand(2, 4))  # the padding is not read
    says(lambda: call(X, each.T), ValueError, "expected (2,): one class index for each sample, or (2, 4), one for each")
    assert call(X.transpose(0, 1), each.clamp(max=2).T, batch_first=False).isfinite()
    rows = torch.nn.functional.one_hot(each)[..., :3]
    says(lambda: call(X, rows), ValueError, "target has shape (2, 4, 3)", "target.argmax(2)")
    says(lambda: call(X, rows.float()), TypeError, "target has dtype torch.float32", "target.argmax(2)")
    says(lambda: call(X, Y, label_smoothing=1.5), ValueError, f"{owner}: label_smoothing=1.5", "at most 1")


@of_classes
def test_outputs_of_classes(name: str, call: Callable[..., Tensor]) -> None:
    says(lambda: call(X[0], Y), ValueError, "has shape (4, 3), expected (N, T, classes)")
    says(lambda: call(X[..., None], Y), ValueError, "has shape (2, 4, 3, 1), expected (N, T, classes)")
    says(lambda: call(X[..., :0], Y), ValueError, "has shape (2, 4, 0), expected (N, T, classes)")
    of_one: Any = SpikingNet(nn.Sequential(LIF(returns=("v",))))(X)
    says(
        lambda: call(of_one, Y), TypeError, f"{name}: ", "is a tuple, expected a torch.Tensor", "returns=('v',)", "[0]"
    )
    two: Any = (X, X)
    says(
        lambda: call(two, Y),
        TypeError,
        "is a tuple, expected a torch.Tensor; take ",
        "[0], or another of its 2 tensors",
    )


@each_case
def test_every_loss(case: Case) -> None:
    x, target = case.draw(3, 4, torch.float32)
    owner = case.name
    says(lambda: case.call(x.long(), target), TypeError, f"{owner}: ", "has dtype torch.int64", ".float()")
    empty = target[:, :0] if target is not None and target.ndim > 1 else target
    says(lambda: case.call(x[:, :0], empty), ValueError, f"{owner}: ", "no steps on axis 1")
    says(lambda: case.call(x, target, [4, 5, 1]), ValueError, f"{owner}: lengths[1] is 5")
    says(lambda: case.call(x, target, [4, 0, 1]), ValueError, f"{owner}: lengths[1] is 0")
    says(lambda: case.call(x, target, [4, 4]), ValueError, f"{owner}: lengths has shape (2,)")
    says(lambda: case.call(x, target, torch.ones(3)), TypeError, f"{owner}: lengths has dtype torch.float32")
    if owner != "first_spike_time":
        says(lambda: case.call(x, target, reduction="avg"), ValueError, f"{owner}: reduction='avg'", "'mean', 'sum'")
    for value in (torch.nan, torch.inf):
        wrong = x.clone()
        wrong[1, 3] = value
        says(lambda wrong=wrong: case.call(wrong, target), ValueError, f"{owner}: ")  # type: ignore[misc]
        case.call(wrong, target, [4, 3, 4])


def test_spikes_are_binary() -> None:
    soft = torch.full((2, 4, 3), 0.25)
    calls: list[Callable[[], Tensor]] = [
        lambda: losses.first_spike_time(soft),
        lambda: losses.first_spike_cross_entropy(soft, Y),
        lambda: metrics.first_spike_accuracy(soft, Y),
    ]
    for call in calls:
        says(call, ValueError, "spikes holds 0.25, expected spikes, 0 or 1", "max_over_time_cross_entropy")


def test_of_the_outputs_only_what_counts_has_to_be_finite() -> None:
    bad = X.clone()
    bad[0, 0, 0] = math.nan
    assert losses.last_step_cross_entropy(bad, Y) == losses.last_step_cross_entropy(X, Y)
    says(lambda: losses.max_over_time_cross_entropy(bad, Y), ValueError, "the maximum of outputs over time holds NaN")
    bad[0, 0] = -math.inf
    assert losses.max_over_time_cross_entropy(bad, Y).isfinite()
    bad[:, -1] = math.nan
    says(lambda: losses.last_step_cross_entropy(bad, Y), ValueError, "the last step of outputs holds NaN")


VOTES, TAU = torch.zeros(2, 4, 6), torch.tensor(2.0)
# a loss, its arguments and options, the error and parts of its message
WRONG: list[tuple[str, dict[str, Any], type[Exception], tuple[str, ...]]] = [
    ("first_spike_cross_entropy", {"temperature": 0.0}, ValueError, ("temperature=0.0", "above 0")),
    ("first_spike_cross_entropy", {"temperature": 1e-40}, ValueError, ("times by temperature=1e-40 holds", "infinite")),
    ("van_rossum_distance", {"tau": -1.0}, ValueError, ("van_rossum_distance: tau=-1.0", "above 0")),
    ("van_rossum_distance", {"tau": TAU}, TypeError, ("tau is a Tensor", "tau.item()")),
    ("rate_cross_entropy", {"scale": -1.0}, ValueError, ("rate_cross_entropy: scale=-1.0", "at least 0")),
    ("rate_cross_entropy", {"scale": 1e39}, ValueError, ("scale=1e+39 times the mean", "infinite")),
    ("rate_mse", {"correct": 30.0, "incorrect": 0.0}, ValueError, ("rate_mse: correct=30.0", "at most 1")),
    ("count_mse", {"correct": 5.0, "incorrect": 0.0}, ValueError, ("count_mse: correct=5.0", "at most 4")),
    ("count_mse", {"correct": 2.0, "incorrect": torch.ones(2)}, ValueError, ("count_mse: incorrect of shape (2,)",)),
    ("per_step_cross_entropy", {"lamb": 1.5}, ValueError, ("per_step_cross_entropy: lamb=1.5", "at most 1")),
    ("per_step_cross_entropy", {"lamb": 0.5, "phi": -1.0}, ValueError, ("phi=-1.0", "at least 0")),
    ("per_step_cross_entropy", {"lamb": TAU}, TypeError, ("lamb is a Tensor", "lamb.item()")),
    ("firing_rate_penalty", {"low": 0.5, "high": 0.1}, ValueError, ("low=0.5 is above high=0.1", "low <= high")),
    ("firing_rate_penalty", {"low": 0.0, "high": 20.0}, ValueError, ("high=20.0", "at most 1")),
    ("firing_rate_penalty", {}, ValueError, ("neither low nor high", "low=0.01, high=0.2")),
]
for owner, more in (("count_cross_entropy", {}), ("count_mse", {"correct": 8.0, "incorrect": 0.0})):
    wrong = f"{owner}: population=4 neurons of a class", "(N, T, classes * population)"
    few = f"{owner}: target holds class 2, expected 0 to 1", "has 2 classes"
    WRONG += [(owner, {"x": VOTES, "population": 4} | more, ValueError, wrong)]
    WRONG += [(owner, {"x": VOTES, "population": 3} | more, ValueError, few)]
    WRONG += [(owner, {"population": 0} | more, ValueError, (f"{owner}: population=0",))]
    WRONG += [(owner, {"population": 2.0} | more, TypeError, (f"{owner}: population=2.0",))]
WRONG += [("count_mse", {"x": VOTES, "population": 2, "correct": 9.0, "incorrect": 0.0}, ValueError, ("at most 8",))]


@pytest.mark.parametrize(("name", "options", "kind", "parts"), WRONG)
def test_parameters(name: str, options: dict[str, Any], kind: type[Exception], parts: tuple[str, ...]) -> None:
    given = {**options}
    x = given.pop("x", X)
    targets: dict[str, tuple[Tensor, ...]] = {"firing_rate_penalty": (), "van_rossum_distance": (x,)}
    says(lambda: getattr(losses, name)(x, *targets.get(name, (Y,)), **given), kind, *parts)


def test_shapes_of_sequences() -> None:
    says(
        lambda: losses.van_rossum_distance(X, X[:, :3], tau=2.0),
        ValueError,
        "van_rossum_distance: target has shape (2, 3, 3)",
        "expected that of spikes, (2, 4, 3)",
    )
    says(lambda: losses.firing_rate_penalty(X[0, 0], low=0.0, high=1.0), ValueError, "has shape (3,), expected (N, T")
    says(lambda: metrics.firing_rate(X[0, 0]), ValueError, "firing_rate: spikes has shape (3,), expected (N, T")
