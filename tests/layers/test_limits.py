"""Parameters that learn stay where they make sense."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import IF, LI, LIF, BioLIF, CoarseLIF, McPitts, SpikingDecay, SpikingNet, StepLayer
from spikingtorch import functional as F
from spikingtorch.layers.limits import FLOOR, Limits
from tests.drawn import uniform
from tests.every_layer import call
from tests.folded_layer import One

# layer, name of the parameter, its range
LEARNING: dict[str, tuple[Any, str, float, float]] = {
    "IF v0": (lambda **options: IF(v0=0.7, learnable=True, **options), "v0", FLOOR, torch.inf),
    "LIF tau": (lambda **options: LIF(tau=3.0, learnable=True, **options), "tau", FLOOR, torch.inf),
    "LIF tau per neuron": (
        lambda **options: LIF(tau=torch.tensor([3.0, 0.5, 9.0]), learnable="tau", **options),
        "tau",
        FLOOR,
        torch.inf,
    ),
    "LIF decay": (lambda **options: LIF(decay=0.5, learnable="decay", **options), "decay", 0.0, 1.0),
    "LIF v0": (lambda **options: LIF(v0=0.3, learnable="v0", **options), "v0", FLOOR, torch.inf),
    "LI tau": (lambda **options: LI(tau=2.0, learnable=True, **options), "tau", FLOOR, torch.inf),
    "LI decay": (lambda **options: LI(decay=1.0, learnable=True, **options), "decay", 0.0, 1.0),
    "CoarseLIF tau": (lambda **options: CoarseLIF(2.0, learnable="tau", **options), "tau", FLOOR, torch.inf),
    "SpikingDecay tau": (lambda **options: SpikingDecay(2.0, learnable="tau", **options), "tau", 1.0, torch.inf),
    "McPitts thr": (lambda **options: McPitts(0.5, learnable=True, **options), "thr", FLOOR, torch.inf),
    "BioLIF v0": (lambda **options: BioLIF(0.5, learnable=True, **options), "v0", FLOOR, torch.inf),
    "a small tau": (lambda **options: LIF(tau=1e-5, dt=1.0, learnable="tau", **options), "tau", FLOOR, torch.inf),
}
FAR: list[float] = [-1e30, -1.0, 1e30]


def run(layer: Any) -> Tensor:
    return torch.stack([call(layer, x, t == 0) for t, x in enumerate(uniform(20, 2, 3) * 2)])


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("kind", LEARNING)
def test_no_step_of_an_optimizer_leaves_the_limits(kind: str, far: float) -> None:
    make, name, low, high = LEARNING[kind]
    layer = make()
    parameter = layer.get_parameter(name)
    before = parameter.detach().clone()
    assert torch.equal(before, make(constrain=False).get_parameter(name))  # as it was given, bit for bit
    run(layer)
    assert torch.equal(parameter, before)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    parameter.grad = torch.full_like(parameter, -far)
    optimizer.step()
    parameter.grad = None
    out = run(layer)
    assert out.isfinite().all()
    assert layer.get_parameter(name) is parameter
    expected = torch.full_like(parameter, far).clamp(low, high) if abs(far) > 1.0 else (before + far).clamp(low, high)
    assert torch.equal(parameter, expected)
    if abs(far) == 1.0 and high == torch.inf:  # it is not stuck at its limit
        out.sum().backward()
        assert parameter.grad is None or parameter.grad.isfinite().all()
    free = make(constrain=False)
    with torch.no_grad():
        free.get_parameter(name).fill_(far)
    run(free) if kind != "SpikingDecay tau" else None
    assert (free.get_parameter(name) == far).all()


@pytest.mark.sampled
@pytest.mark.parametrize("kind", LEARNING)
def test_where_nothing_may_be_written_the_value_is_the_same(kind: str) -> None:
    make, name, low, high = LEARNING[kind]
    x = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(1)) * 2
    model = SpikingNet(One(make()).requires_grad_(False))
    torch.compiler.reset()
    key = next(each for each, _ in model.named_parameters() if each.endswith(name))
    start = dict(model.named_parameters())[key].detach()
    for value in (start, torch.full_like(start, 2.0), torch.full_like(start, -0.5)):
        within = value.clamp(low, high)

        def loss(value: Tensor) -> Tensor:
            return torch.func.functional_call(model, {key: value}, (x,)).square().sum()

        grad, out = torch.func.grad_and_value(loss)(value)
        expected, wanted = torch.func.grad_and_value(loss)(within)
        assert torch.equal(out, wanted)
        assert torch.equal(grad, expected)
    if kind not in ("LIF tau", "LIF decay", "BioLIF v0"):  # compiled, all are one code
        return
    free = copy.deepcopy(model)
    dict(free.named_parameters())[key].copy_(value)
    compiled = torch.compile(free, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x).square().sum(), wanted)


def test_a_parameter_at_its_limit_learns_its_way_back() -> None:
    layer: Any = LI(decay=0.5, learnable=True)
    model = SpikingNet(nn.Sequential(layer))
    x, optimizer = torch.ones(1, 9, 1), torch.optim.SGD(model.parameters(), lr=100.0)
    for want in (0.0, 1.0, 0.0):  # decay 0 keeps the membrane at 1, decay 1 sums
        for _ in range(3):
            optimizer.zero_grad()
            loss = (model(x)[0, -1, 0] - (1.0 if want == 0.0 else 9.0)).square()
            loss.backward()
            optimizer.step()
        model(x)
        assert layer.decay.item() == want


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "load"])
def test_a_copy_is_kept_within_as_well(way: str) -> None:
    layer: Any = LIF(tau=3.0, learnable="tau")
    run(layer)
    other = copy.deepcopy(layer) if way == "deepcopy" else pickle.loads(pickle.dumps(layer))
    if way == "load":
        other.load_state_dict(layer.state_dict())
    assert [name for name, _ in other.named_parameters()] == ["tau"]
    with torch.no_grad():
        other.tau.fill_(-1.0)
    run(other)
    assert (other.tau.item(), layer.tau.item()) == (FLOOR, 3.0)


def test_a_second_call_writes_nothing() -> None:
    layer: Any = LIF(tau=3.0, learnable="tau")
    one, other = run(layer), run(layer)  # both graphs hold the parameter
    version = layer.tau._version
    (one + other).sum().backward()
    model = SpikingNet(nn.Sequential(layer))
    first, second = model(torch.rand(2, 4, 3)), model(torch.rand(2, 4, 5))  # the second is proven anew
    assert layer.tau._version == version
    (first.sum() + second.sum()).backward()


ASSIGNED: dict[str, tuple[Any, str, Any, str]] = {
    "tau": (lambda: LIF(), "tau", -1.0, r"LIF: tau=-1\.0, expected a finite value above 0"),
    "decay": (lambda: LI(decay=0.5), "decay", 1.5, r"LI: decay=1\.5, expected a finite value at least 0 and at most 1"),
    "nudt": (lambda: BioLIF(0.5), "nudt", 0.0, "BioLIF: nudt=0.0, expected a finite value above 0"),
    "not finite": (lambda: IF(), "v0", float("nan"), "IF: threshold=nan, expected a finite value"),
    "buffer": (
        lambda: LIF(tau=torch.ones(3)),
        "tau",
        torch.zeros(3),
        "LIF: tau has values from 0 to 0, expected a finite value above 0",
    ),
    "learning": (
        lambda: LIF(learnable="v0"),
        "v0",
        nn.Parameter(torch.tensor(-0.5)),
        r"LIF: threshold=-0\.5, expected .* at least 9.53674e-07, since it learns\. constrain=False lets it go",
    ),
    "divisor": (lambda: SpikingDecay(2.0, learnable="tau"), "tau", nn.Parameter(torch.tensor(0.5)), "at least 1"),
}


@pytest.mark.parametrize("kind", ASSIGNED)
def test_what_is_assigned_later_is_checked_as_in_the_constructor(kind: str) -> None:
    make, name, value, message = ASSIGNED[kind]
    layer = make()
    before = getattr(layer, name)
    with pytest.raises(ValueError, match=message):
        setattr(layer, name, value)
    assert getattr(layer, name) is before


CONSTRUCTED: dict[str, tuple[Any, str]] = {
    "threshold": (lambda **options: IF(v0=-0.5, learnable=True, **options), r"IF: v0=-0\.5, .* since it learns"),
    "divisor": (lambda **options: SpikingDecay(0.5, learnable=True, **options), r"tau=0\.5, .* at least 1, since it"),
    "parameter": (
        lambda **options: McPitts(nn.Parameter(torch.zeros(3)), **options),
        r"McPitts: threshold has values from 0 to 0, .* at least 9.53674e-07, since",
    ),
}


@pytest.mark.filterwarnings("ignore:.*not above the membrane at rest")
@pytest.mark.parametrize("kind", CONSTRUCTED)
def test_what_learns_is_checked_in_the_constructor(kind: str) -> None:
    make, message = CONSTRUCTED[kind]
    with pytest.raises(ValueError, match=message):
        make()
    assert "constrain=False" in repr(make(constrain=False))


@pytest.mark.filterwarnings("ignore:.*not above the membrane at rest")
def test_a_threshold_that_does_not_learn_may_be_anything() -> None:
    assert IF(v0=-0.5)(torch.zeros(1, 1)).item() == 1.0
    assert LIF(decay=0.0, learnable="decay").get_parameter("decay").item() == 0.0


def test_a_checkpoint_is_within_the_limits() -> None:
    layers: list[Any] = [LIF(tau=3.0, learnable="tau", constrain=each != 1) for each in range(3)]
    layer, free, other = layers
    fixed: list[Any] = [LIF(tau=torch.tensor([8.0])) for _ in range(2)]
    for each in (layer, free, fixed[0]):
        each.tau.data.fill_(-2.0)
    other.load_state_dict(layer.state_dict())
    assert other.tau.item() == layer.tau.item() == FLOOR
    for one, another in ((free, other), fixed):
        with pytest.raises(RuntimeError, match=r"the layer \(LIF\): LIF: tau=-2.*expected a finite value above 0"):
            another.load_state_dict(one.state_dict())


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_a_network_that_reads_a_parameter_reads_one_within(mode: Any) -> None:
    def net() -> nn.Module:
        return One(LI(tau=2.0, learnable=True), lambda layer, x, init: layer(x * layer.get_parameter("tau"), init))

    model = SpikingNet(net(), mode=mode)
    model.get_parameter("net.layer.tau").data.fill_(-0.5)
    out = model(torch.ones(1, 3, 1))
    within = SpikingNet(net(), mode="step")
    within.get_parameter("net.layer.tau").data.fill_(FLOOR)
    assert torch.equal(out, within(torch.ones(1, 3, 1)))


def test_a_graph_that_holds_a_parameter_out_of_its_limits_raises() -> None:
    layer: Any = LI(decay=0.5, learnable=True)
    layer.decay.data.fill_(3.0)
    cube = (layer.decay**3).sum()
    layer(torch.ones(1, 1), True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        cube.backward()


def test_a_parameter_that_is_nan_is_an_error() -> None:
    layer: Any = LIF(learnable="tau")
    layer.tau.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="LIF: tau holds NaN"):
        layer(torch.ones(1, 3), True)


def test_parameters_that_are_taken_away_expanded_shared_or_parametrized() -> None:
    layer: Any = LIF(learnable="tau")
    del layer.tau
    layer.tau = 5.0
    assert layer(torch.full((1, 2), 1.5), True).tolist() == [[1.0, 1.0]]
    assert LIF(tau=nn.Parameter(torch.tensor(8.0).expand(3)))(torch.ones(1, 3)).shape == (1, 3)
    models = [SpikingNet(nn.Sequential(LI(tau=tau, dt=1.0, learnable="tau"))) for tau in (8.0, 1e-4)]
    params, buffers = torch.func.stack_module_state(models)
    x = torch.rand(4, 6, 3)

    def run_one(params: Any, buffers: Any) -> Tensor:
        return torch.func.functional_call(models[0], (params, buffers), (x,))

    outs = torch.func.vmap(run_one)(params, buffers)
    assert torch.allclose(outs[1], models[1](x))

    class Exponential(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.exp()

        def right_inverse(self, y: Tensor) -> Tensor:
            return y.log()

    layer = LIF(learnable="tau")
    nn.utils.parametrize.register_parametrization(layer, "tau", Exponential())
    layer.load_state_dict(layer.state_dict())
    assert layer.tau.item() == pytest.approx(8.0)


def test_a_layer_is_made_without_memory() -> None:
    with torch.device("meta"):
        layer = LIF(tau=2.0, v0=torch.ones(3), learnable="tau")
    assert layer.get_parameter("tau").is_meta


WRONG: dict[str, tuple[Any, str]] = {
    "a pair": ({"decay": (0.0, 1.0)}, r"Own: limits\['decay'\] is \(0.0, 1.0\), expected .*'decay': Limits\(least=0.0"),
    "a number": ({"decay": 0.5}, r"Own: limits\['decay'\] is 0.5, expected Limits of spikingtorch.layers.limits"),
    "a list": ([("decay", Limits())], r"Own: limits is a list, expected a dict from names of parameters to Limits"),
    "a class": ({"decay": Limits}, r"Own: limits\['decay'\] is <class .*, expected Limits"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_limits_of_a_layer_of_ones_own(name: str) -> None:
    wrong, message = WRONG[name]

    class Own(StepLayer):
        limits = wrong

    with pytest.raises(TypeError, match=message):
        Own(F.lif_step, F.LIFState, decay=0.5, learnable="decay")
