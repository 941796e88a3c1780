"""MultiStep: all steps of a layer, time first, beside the same steps one by one and beside a SpikingNet."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.like import spikingjelly
from spikingtorch.testing import assert_close
from tests.every_layer import COPIES, MAKERS, NOISE, call, drawn, leaves_of, slopes
from tests.test_like import MAKERS as LIKE
from tests.ways import compiled

T, N, M = 6, 4, 5
Make = Callable[..., st.StepLayer]
func: Any = torch.func


def at_once(layer: Any, x: Tensor, *init: Any) -> Any:
    """Call a MultiStep as ``call`` does its layer at each step."""
    if isinstance(layer.layer, st.StochasticLIF):
        return layer(x, *init, noise=torch.full_like(x, NOISE, requires_grad=False))
    return layer(x, 0.5 * x, *init) if isinstance(layer.layer, st.BioLIF) else layer(x, *init)


def one_by_one(layer: Any, x: Tensor, init: bool | Tensor = False) -> Any:
    """Call a layer at each step."""
    found = [call(layer, each, init if t == 0 else False) for t, each in enumerate(x)]
    if isinstance(found[0], tuple):
        return tuple([torch.stack(each) for each in zip(*found, strict=True)])
    return torch.stack(found)


def agree(make: Make, x: Tensor, inits: tuple[Any, ...] = ((), (), (True,)), exact: bool = False) -> None:
    """Compare calls one after the other: outputs, state and last output, and the gradients of all of them."""
    single, multi = make().to(x.dtype), st.MultiStep(make().to(x.dtype))
    multi.layer.load_state_dict(single.state_dict())
    xs, ys = (x.detach().requires_grad_() for _ in range(2))
    for init in inits:
        want = (one_by_one(single, xs, *init), single.state, single.s)
        found = (at_once(multi, ys, *init), multi.layer.state, multi.layer.s)
        if exact:
            assert all(map(torch.equal, leaves_of(found), leaves_of(want)))
        same(slopes(found, ys, *multi.parameters()), slopes(want, xs, *single.parameters()))


def same(found: list[Tensor], want: list[Tensor]) -> None:
    """Compare with the tolerance of the library; what is rounded to half precision with torch's own."""
    if found[0].dtype in (torch.float16, torch.bfloat16):
        torch.testing.assert_close(found, want)
    else:
        assert_close(found, want)


MASK = torch.tensor([True, False, False, True])


@pytest.mark.sampled
@pytest.mark.parametrize("name", [*MAKERS, *LIKE])
def test_every_layer(name: str) -> None:
    agree(MAKERS.get(name) or LIKE[name], drawn(T, N, M))


OPTIONS: dict[str, Make] = {
    "dense": lambda: st.LIF(recurrent=nn.Linear(M, M, bias=False, dtype=torch.float64).requires_grad_()),
    "per neuron": lambda: st.IF(recurrent=torch.full((M,), 0.3)),
    "learns": lambda: st.CubaLIF(tau=torch.full((M,), 4.0), learnable=True),
    "refractory": lambda: st.LIF(refractory=2.0),
    "returns": lambda: st.LIF(v0=0.5, learnable="tau", returns=("v", "spikes", "u")),
    "sums": lambda: st.BioLIF(0.5, track_act=True),
    "soft": lambda: spikingjelly.ParametricLIFNode(v_reset=None, detach_reset=True),
    "of a step": lambda: st.StepLayer(st.functional.li_step, st.functional.LIState, decay=0.7, learnable="decay"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    torch.manual_seed(0)
    made = OPTIONS[name]()
    agree(partial(copy.deepcopy, made), drawn(T, N, M), ((), (MASK,), (True,), (False,)))


FORMS: dict[str, Tensor] = {
    "one step": drawn(1, N, M),
    "float32": drawn(T, N, M, dtype=torch.float32),
    "bfloat16": drawn(T, N, M, dtype=torch.bfloat16),
    "float16": drawn(T, N, M, dtype=torch.float16),
    "batch first": drawn(N, T, M).transpose(0, 1),
    "every other": drawn(T, N, 2 * M)[..., ::2],
    "expanded": drawn(N, M).expand(T, N, M),
    "channels-last": drawn(T, N, 4, 4, 3).permute(0, 1, 4, 2, 3),
    "images": drawn(T, N, 3, 4, 4),
    "no features": drawn(T, N),
    "no samples": drawn(T, 0, M),
    "long": drawn(40, N, M),
}


@pytest.mark.parametrize("make", [st.LIF, LIKE["spikingjelly.LIFNode"]], ids=["at zero", "elsewhere"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_inputs(form: str, make: Make) -> None:
    x = FORMS[form]
    agree(make, x, exact=True)
    assert st.MultiStep(make().to(x.dtype))(x).is_contiguous() or form == "channels-last"


def test_the_graph_goes_on_until_it_is_cut() -> None:
    x, y = drawn(T, N, M).requires_grad_(), drawn(T, N, M, seed=1)
    multi = st.MultiStep(st.LI().double())
    multi(x)
    assert torch.autograd.grad(multi(y).sum(), x)[0].abs().sum() > 0.0
    multi(x)
    multi.detach_()
    assert not multi(y).requires_grad
    multi.reset()
    assert multi.v is None


def test_what_learns_is_put_back_into_its_limits() -> None:
    multi = st.MultiStep(st.LIF(tau=2.0, learnable="tau"))
    tau = multi.layer.get_parameter("tau")
    with torch.no_grad():
        tau.fill_(-1.0)
    assert torch.isfinite(multi(torch.rand(T, N, M))).all()
    assert tau.item() > 0.0


@pytest.mark.parametrize("way", COPIES)
def test_copies(way: str) -> None:
    x, multi = drawn(T, N, M), st.MultiStep(st.LIF(tau=torch.full((M,), 4.0), learnable="tau").double())
    multi(x)
    again = COPIES[way](multi)
    assert torch.equal(again(x), multi(x))
    assert again.state_dict().keys() == {"tau", "v0", "_extra_state"} - ({"v0"} - multi.layer.state_dict().keys())


def test_the_state_dict_has_the_keys_of_the_layer() -> None:
    def net(wrap: Callable[[st.StepLayer], nn.Module]) -> nn.Sequential:
        return nn.Sequential(nn.Linear(M, M), wrap(st.LIF(tau=3.0, learnable="tau")), nn.Sequential(wrap(st.ALIF())))

    multi, plain = net(st.MultiStep), net(lambda layer: layer)
    assert multi.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        plain.get_parameter("0.weight").fill_(2.0)
        plain.get_parameter("1.tau").fill_(7.0)
    multi.load_state_dict(plain.state_dict())
    assert [multi.get_parameter(name).mean().item() for name in ("0.weight", "1.layer.tau")] == [2.0, 7.0]
    multi[1].load_state_dict(plain[1].state_dict())
    with pytest.raises(RuntimeError, match="Unexpected"):
        multi[1].load_state_dict(plain[1].state_dict() | {"layer.beta": torch.zeros(())})


def test_without_gradients_and_under_autocast() -> None:
    x, multi, single = drawn(T, N, M, dtype=torch.float32).requires_grad_(), st.MultiStep(st.LIF()), st.LIF()
    want = one_by_one(single, x)
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(multi(x, True), want)
            assert multi(x[:1]).requires_grad == (context is torch.enable_grad)
    with torch.no_grad():
        out = multi(x[:1])
    out += torch.ones((), requires_grad=True)
    assert out.requires_grad
    linear = nn.Linear(M, M)
    with torch.autocast("cpu", torch.bfloat16):
        got = slopes(multi(linear(x), True), x, *linear.parameters())
        same(got, slopes(one_by_one(single, linear(x), True), x, *linear.parameters()))


def test_transforms() -> None:
    x, multi, single = drawn(T, N, M), st.MultiStep(st.LIF().double()), st.LIF().double()

    def of(run: Callable[[Tensor], Tensor]) -> list[Tensor]:
        loss = lambda xs: (run(xs) * torch.linspace(0.0, 1.0, M, dtype=xs.dtype)).sum()  # noqa: E731
        batches = torch.stack([x, 0.5 * x])
        return [func.grad(loss)(x), func.vmap(run)(batches), func.vmap(func.grad(loss))(batches)]

    assert_close(of(lambda xs: multi(xs, True)), of(lambda xs: one_by_one(single, xs, True)))
    assert torch.equal(multi(x), one_by_one(single, x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(reentrant: bool) -> None:
    x, weight = drawn(T, N, M).requires_grad_(), drawn(M, M).requires_grad_()
    multi = st.MultiStep(st.LIF().double())
    plain = copy.deepcopy(multi)

    def block(xs: Tensor) -> Tensor:
        return multi(xs @ weight, True) if reentrant else multi(xs @ weight)

    for k in range(2):
        got = checkpoint(block, x, use_reentrant=reentrant)
        want = plain(x @ weight, True) if reentrant else plain(x @ weight)
        of_want = torch.autograd.grad((want * drawn(*want.shape, seed=k)).sum(), (x, weight), retain_graph=True)
        (got * drawn(*got.shape, seed=k)).sum().backward()
        assert_close([got.detach(), x.grad, weight.grad], [want.detach(), *of_want])
        x.grad = weight.grad = None
        multi.detach_()
        plain.detach_()


@pytest.mark.sampled
@pytest.mark.parametrize("make", [st.LIF, LIKE["spikingjelly.IFNode"]])
def test_compiled(make: Make) -> None:
    x, y = (drawn(T, N, M).requires_grad_() for _ in range(2))
    net = nn.Sequential(nn.Linear(M, M, dtype=torch.float64), st.MultiStep(make().double()))
    plain = copy.deepcopy(net)
    assert_close(slopes(compiled(net)(x), x), slopes(plain(y), y))


class Drawn(st.StepLayer):
    """Draws a parameter at each step anew."""

    def __init__(self) -> None:
        super().__init__(st.functional.lif_step, st.functional.LIFState, decay=0.5)

    def step_params(self) -> dict[str, Any]:
        """Return a decay at random."""
        return super().step_params() | {"decay": torch.rand(())}


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a network": (
        lambda: st.MultiStep(nn.Sequential(st.LIF())),  # type: ignore[arg-type]
        TypeError,
        r"MultiStep: layer is a Sequential, expected one spiking layer.*SpikingNet\(net, batch_first=False\)",
    ),
    "a class": (lambda: st.MultiStep(st.LIF), TypeError, "layer is the class LIF"),  # type: ignore[arg-type]
    "no time": (
        lambda: st.MultiStep(st.LIF())(torch.ones(3)),
        ValueError,
        r"MultiStep: x has shape \(3,\), expected \(T, N, \.\.\.\), time first",
    ),
    "no steps": (lambda: st.MultiStep(st.LIF())(torch.ones(0, 3)), ValueError, r"shape \(0, 3\), which has no steps"),
    "whole numbers": (
        lambda: st.MultiStep(st.LIF())(torch.ones(2, 3, dtype=torch.int64)),
        TypeError,
        r"MultiStep: x has dtype torch\.int64, expected a floating one",
    ),
    "init": (lambda: st.MultiStep(st.LIF())(torch.ones(2, 3), 1), TypeError, "LIF: init=1 is a int, expected a bool"),
    "drawn": (
        lambda: st.MultiStep(Drawn())(torch.ones(2, 3)),
        ValueError,
        "MultiStep: cannot run all steps of its Drawn at once because it draws the parameters of a Drawn layer",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case: str) -> None:
    act, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        act()


# neurons and steps: fewer than a vector, tails of a block, more than one thread takes
@pytest.mark.parametrize("size", [(1, 1, 1), (5, 2, 3), (18, 2, 257), (40, 3, 600)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_nan_and_infinity_are_found_anywhere_and_great_numbers_taken(dtype: torch.dtype, size: tuple[int, ...]) -> None:
    multi, bounds = st.MultiStep(st.BioLIF(0.5).to(dtype)), torch.finfo(dtype)
    rest = torch.zeros(size, dtype=dtype)
    kept = multi(rest, rest), multi.v
    for place in ((0, 0, 0), tuple([n - 1 for n in size]), tuple([n // 2 for n in size])):
        for value in (torch.nan, torch.inf, -torch.inf):
            odd = rest.clone()
            odd[place] = value
            for given in ((odd, rest), (rest, odd)):
                with pytest.raises(ValueError, match=r"BioLIF: x\w* holds NaN or infinite"):
                    multi(*given)
                assert multi.v is kept[1]
        for value in (bounds.max, bounds.min, bounds.tiny / 2):
            great = rest.clone()
            great[place] = value
            st.MultiStep(st.IF().to(dtype))(great)
    assert torch.equal(multi(rest, rest, True), kept[0])


@pytest.mark.parametrize("make", [st.LIF, OPTIONS["returns"], st.StochasticLIF, LIKE["spikingjelly.LIFNode"]])
@pytest.mark.parametrize("sizes", [(1, N), (T, 1), (1, 1)])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_one_step_or_one_sample_without_gradients(make: Make, sizes: tuple[int, int], context: Any) -> None:
    multi, single = st.MultiStep(make().double()), make().double()
    images = drawn(*sizes, 3, 4, 2).permute(0, 1, 4, 2, 3)
    for x in (drawn(*sizes, M), images, drawn(*sizes)):
        for init in ((True,), (), (False,), (torch.ones(sizes[1], dtype=torch.bool),), (True,)):
            with context():
                found, want = at_once(multi, x, *init), one_by_one(single, x, *init)
                assert all(map(torch.equal, leaves_of((found, multi.layer.state)), leaves_of((want, single.state))))
                before = [leaf.clone() for leaf in leaves_of(multi.layer.state)]
                for out in leaves_of(found):
                    out += 1.0
                assert all(map(torch.equal, leaves_of(multi.layer.state), before))


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.MultiStep(st.LIF()), r"MultiStep: it runs over time by itself.*take the layer.*LIF\(\.\.\.\)"),
        (lambda: spikingjelly.LIFNode(step_mode="m"), r"LIFNode \(step_mode='m'\): it runs.* leave it at step"),
    ],
    ids=["MultiStep", "step_mode"],
)
def test_a_network_runs_over_time_by_itself(make: Callable[[], nn.Module], message: str, mode: Any) -> None:
    with pytest.raises(RuntimeError, match=message):
        st.SpikingNet(nn.Sequential(nn.Linear(M, M), make()), mode=mode)(torch.rand(N, T, M))


def test_a_monitor_counts_what_its_network_does() -> None:
    layer = st.LIF()
    model, multi = st.SpikingNet(nn.Sequential(layer)), st.MultiStep(layer)
    with st.SpikeMonitor(model), pytest.raises(RuntimeError, match="MultiStep: a SpikeMonitor watches its LIF"):
        multi(torch.rand(T, N, M))
    multi(torch.rand(T, N, M))


def set_step_mode(net: nn.Module, mode: str) -> None:
    """Set the attribute as SpikingJelly does."""
    for module in net.modules():
        if hasattr(module, "step_mode"):
            module.step_mode = mode  # type: ignore[assignment]


@pytest.mark.sampled
@pytest.mark.parametrize("name", [name for name in LIKE if name.startswith("spikingjelly")])
def test_a_node_of_many_steps_is_a_multi_step_of_the_node(name: str) -> None:
    x = drawn(T, N, M).requires_grad_()
    options = {} if name.endswith("SynapseFilter") else {"backend": "cupy"}
    node, multi = LIKE[name](step_mode="m", **options).double(), st.MultiStep(LIKE[name]().double())
    for _ in range(2):
        outs = [(layer(x), *([] if layer.v is None else [layer.v])) for layer in (node, multi)]
        got, want = (slopes(out, x, *layer.parameters()) for out, layer in zip(outs, (node, multi), strict=True))
        assert_close(got, want)
    assert node.state_dict().keys() == multi.state_dict().keys()
    assert torch.equal(st.MultiStep(copy.deepcopy(node))(x, True), node(x, True))


def test_a_node_is_cut_from_its_graph_by_the_name_of_theirs() -> None:
    node: Any = spikingjelly.IFNode(step_mode="m")
    node(torch.rand(T, N, M, requires_grad=True))
    node.detach()
    assert not node.v.requires_grad


def test_the_step_mode_can_be_set() -> None:
    net = nn.Sequential(nn.Linear(M, M), spikingjelly.IFNode(), nn.Sequential(spikingjelly.LIFNode()))
    x = torch.rand(T, N, M) * 3.0
    want = torch.stack([net(each) for each in x])
    set_step_mode(net, "m")
    for module in net.modules():
        if callable(reset := getattr(module, "reset", None)):
            reset()
    assert torch.equal(net(x), want)
    assert repr(net[1]).endswith("step_mode='m')")
    with pytest.raises(ValueError, match="IFNode: step_mode='t', expected 's' or 'm'"):
        set_step_mode(net, "t")
    set_step_mode(net, "s")
    folded = st.SpikingNet(net, mode="fold", warn_silent=False)(x.transpose(0, 1)).transpose(0, 1)
    assert torch.equal(folded, want)
