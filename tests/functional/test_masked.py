"""Masked steps, and norms over time, against their twins in JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import SpikingNet, ThresholdDependentBatchNorm, TimeBatchNorm1d, TimeBatchNorm2d
from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.testing import assert_close, check_twin
from tests.folded_layer import Lambda

T, N = 7, 5
LENGTHS = torch.tensor([7, 1, 3, 6, 2])
RUNNING = torch.arange(T)[:, None] < LENGTHS  # (T, N)


@pytest.mark.sampled
@pytest.mark.parametrize("backend", ["loop", "fused"])
@pytest.mark.parametrize("neuron", ["lif", "li", "biolif", "recurrent"])
def test_a_masked_step_and_its_twin(neuron: str, backend: F.Backend) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(T, N, 3, dtype=torch.double, generator=generator) * 1.5
    lif: dict[str, Any] = {"decay": torch.rand(3, dtype=torch.double, generator=generator), "threshold": 0.7}
    weight = torch.rand(3, 3, dtype=torch.double, generator=generator) - 0.5
    cases: dict[str, tuple[Any, ...]] = {
        "lif": (F.lif_step, J.lif_step, F.LIFState, x, lif),
        "li": (F.li_step, J.li_step, F.LIState, x, {"decay": 0.8}),
        "biolif": (F.biolif_step, J.biolif_step, F.BioLIFState, F.BioLIFInput(x, 0.2 * x), {"nudt": 0.4}),
        "recurrent": (F.lif_step, J.lif_step, F.LIFState, x, lif | {"recurrent_weight": weight}),
    }
    step, twin, state, xs, params = cases[neuron]
    masked: Any = F.Masked(step)
    masked_twin: Any = J.Masked(twin)
    rest: Any = F.zeros_state(state, x[0])
    if neuron == "recurrent":
        rest, masked, masked_twin = (
            F.RecurrentState(rest, torch.zeros_like(x[0])),
            F.Recurrent(masked),
            J.Recurrent(masked_twin),
        )
    # its axes are those of samples, which the loop alone takes, or as many as x has
    running = RUNNING if (neuron, backend) == ("li", "loop") else RUNNING[..., None]
    check_twin(masked, masked_twin, rest, (xs, running), params=params, backend=backend)


NORMS: dict[str, tuple[Any, tuple[int, ...], float]] = {
    "1d": (lambda: TimeBatchNorm1d(3), (3,), 1.0),
    "1d over a line": (lambda: TimeBatchNorm1d(3), (3, 4), 1.0),
    "2d": (lambda: TimeBatchNorm2d(3), (3, 2, 4), 1.0),
    "threshold": (lambda: ThresholdDependentBatchNorm(3, threshold=0.4, alpha=0.7), (3, 2, 4), 0.28),
    "threshold, 3d": (lambda: ThresholdDependentBatchNorm(3, threshold=0.4), (3, 2, 2, 2), 0.4),
}


@pytest.mark.sampled
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["all", "padded"])
@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_over_time_and_its_twin(kind: str, lengths: Tensor | None) -> None:
    make, shape, scale = NORMS[kind]
    torch.manual_seed(0)
    norm = make().double()
    nn.init.uniform_(norm.norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.norm.bias)
    x = torch.rand(N, T, *shape, dtype=torch.double, requires_grad=True)
    cotangent = torch.rand_like(x)
    y = SpikingNet(nn.Sequential(norm))(x, lengths=lengths)
    found = torch.autograd.grad(y, [x, norm.norm.weight, norm.norm.bias], cotangent)

    with jax.enable_x64(True):
        weight, bias = to_jax(norm.norm.weight.detach()), to_jax(norm.norm.bias.detach())
        running = None if lengths is None else jnp.asarray(RUNNING.T.numpy())

        def normed(x: Any, weight: Any, bias: Any) -> Any:
            out, mean, var = J.time_batch_norm(x, weight, bias, running=running, scale=scale)
            return out, (mean, var)

        out, pull, (mean, var) = jax.vjp(normed, to_jax(x.detach()), weight, bias, has_aux=True)
        expected = [to_torch(each) for each in (out, *pull(to_jax(cotangent)))]
        statistics = [to_torch(mean), to_torch(var)]
    assert_close([y.detach(), *found], expected, kind)
    assert_close(norm.norm.running_mean, 0.1 * statistics[0], "running mean")
    assert_close(norm.norm.running_var, 0.9 + 0.1 * statistics[1], "running variance")


@pytest.mark.parametrize("options", [{"mode": "step"}, {"time_chunk": 2}, {"mode": "fold", "time_chunk": 2}], ids=str)
@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_over_time_needs_a_whole_sequence(kind: str, options: Any) -> None:
    make, shape, _ = NORMS[kind]
    x = torch.rand(N, T, *shape)
    model = SpikingNet(nn.Sequential(make()), **options)
    name = type(model.net[0]).__name__  # type: ignore[index]
    with pytest.raises(ValueError, match=f"{name}: in training it takes its statistics over all steps of a sequence"):
        model(x)
    model.mode, model.time_chunk = "auto", None
    model(x)
    with pytest.raises(ValueError, match="all steps of a sequence"):
        model(x, init=False)
    model.eval()
    expected = model(x)
    others: Any = ({"mode": "step"}, {"mode": "fold"}, {"time_chunk": 2})
    for other in others:
        assert_close(SpikingNet(model.net, **other).eval()(x), expected)


def test_a_norm_over_time_of_one_step_and_in_a_network_that_steps() -> None:
    x = torch.rand(N, 1, 3)
    norm = TimeBatchNorm1d(3)
    assert_close(SpikingNet(nn.Sequential(norm))(x)[:, 0], nn.BatchNorm1d(3)(x[:, 0]))

    with pytest.raises(ValueError, match="or says why it cannot"):
        SpikingNet(Lambda(lambda net, x: net.norm(x - x.mean(0)), norm=TimeBatchNorm1d(3)))(torch.rand(N, T, 3))


def test_a_synchronised_norm_over_time_folds() -> None:
    net: Any = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(TimeBatchNorm1d(3)))
    assert isinstance(net[0].norm, nn.SyncBatchNorm)
    model = SpikingNet(net.eval())
    model.train()
    assert model.explain(torch.rand(N, T, 3)).mode == "fold"


@pytest.mark.parametrize("bad", [{"threshold": 0.0}, {"threshold": -1.0}, {"alpha": 0.0}, {"threshold": float("nan")}])
def test_thresholds_that_cannot_be(bad: Any) -> None:
    with pytest.raises(ValueError, match=f"ThresholdDependentBatchNorm: {next(iter(bad))}=.*above 0"):
        ThresholdDependentBatchNorm(3, **bad)
