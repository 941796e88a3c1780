"""scan: the loop, trees, time axes, precision, what it asks of its arguments, and single steps of layers."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.verification.cases import CASES, Case, by_name
from tests.fused_steps import counting


def lif(x: Tensor, **changes: Any) -> tuple[F.LIFState, Tensor]:
    """Scan LIF neurons over x, with some arguments changed."""
    arguments: dict[str, Any] = {
        "step": F.lif_step,
        "state": F.LIFState(v=torch.zeros(x.shape[1:], dtype=x.dtype)),
        "xs": x,
        "params": {"decay": 0.9},
    }
    state, out = F.scan(**(arguments | changes))
    return state, out


def test_backward_time_grows_with_T_and_not_its_square() -> None:
    x = torch.rand(17, 3, requires_grad=True)
    out = lif(x, backend="loop")[1]
    todo, names = [out.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in names:
            names.add(node)
            todo += [parent for parent, _ in node.next_functions]
    kinds = {node.name() for node in names}
    assert "UnbindBackward0" in kinds
    assert "SelectBackward0" not in kinds


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_float32_inside(dtype: torch.dtype) -> None:
    x = torch.rand(300, 4, generator=torch.Generator().manual_seed(0)).to(dtype) * 0.01
    params = {"decay": torch.tensor(0.999, dtype=dtype), "threshold": torch.full((4,), 0.7, dtype=dtype)}
    state, out = lif(x, params=params, state=F.LIFState(torch.zeros(4, dtype=dtype)))
    wide = {name: value.float() for name, value in params.items()}
    want_state, want = lif(x.float(), params=wide)
    assert out.dtype == dtype
    assert state.v.dtype == torch.float32
    assert torch.equal(out.float(), want)
    assert torch.equal(state.v, want_state.v)
    assert 0 < out.float().mean() < 1


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_no_steps(case: Case) -> None:
    xs, params = case.draw(1)
    none = tuple(x[:0] for x in xs) if isinstance(xs, tuple) else xs[:0]
    before = case.initial(xs)
    state, out = F.scan(case.step, before, none, params=params)
    assert out.shape == (0, 8)
    assert out.dtype == torch.float64
    for a, b in zip(tree_leaves(state), tree_leaves(before), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("shape", "dim", "neurons"), [((2, 0, 3), 1, (2, 3)), ((5, 0, 3), 0, (0, 3))])
def test_no_steps_along_another_axis_and_no_neurons(shape: Any, dim: int, neurons: Any) -> None:
    assert lif(torch.ones(shape), dim=dim, state=F.LIFState(torch.zeros(neurons)))[1].shape == shape


def test_nan_is_handed_on() -> None:
    x = torch.ones(3, 2)
    x[1, 0] = torch.nan
    assert lif(x)[1].isnan().tolist() == [[False, False], [True, False], [True, False]]


def test_zeros_state_of_a_custom_neuron() -> None:
    class Adaptive(NamedTuple):
        v: Tensor
        threshold: Tensor

    state = F.zeros_state(Adaptive, torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True))
    assert [(t.shape, t.dtype, t.requires_grad) for t in state] == [((2, 3), torch.float32, False)] * 2


def test_reset_where_is_safe_for_nan() -> None:
    state = F.LIFState(v=torch.tensor([[torch.nan], [2.0]], requires_grad=True))
    got = F.reset_where(torch.tensor([True, False]), state)
    assert got.v.tolist() == [[0.0], [2.0]]
    assert torch.autograd.grad(got.v.sum(), state.v)[0].tolist() == [[0.0], [1.0]]


# --- bad input --------------------------------------------------------------------------------------------------------

X, DOUBLE = torch.ones(5, 3), torch.zeros(3).double()


def raises(state: F.LIFState, x: Tensor, decay: float) -> Any:
    raise KeyError("some name")


NESTED = torch.nested.nested_tensor([X, X[:2]], layout=torch.jagged)


def recurrent(synapse: Any, v: Tensor, weight: Any, **changes: Any) -> dict[str, Any]:
    """Return arguments of a scan of neurons whose spikes come back through weights."""
    given = {"state": F.RecurrentState(F.LIFState(v), v), "xs": torch.rand(4, *v.shape)}
    params = {"decay": 0.9, "recurrent_weight": weight}
    return given | {"step": F.Recurrent(F.lif_step, synapse), "params": params} | changes


V, WEIGHT = torch.zeros(3, 5), torch.zeros(5, 5)
dense = partial(recurrent, F.dense, V)
# for each synapse: neurons, what is said of the shapes that weights should have, and shapes that do not fit
KERNELS = [(4, 4, 2, 3), (3, 4, 3, 3), (4, 3, 3, 3), (8, 4, 3, 3), (4, 4, 3), (4, 4)]
SHAPES: dict[Any, tuple[Tensor, str, list[Any]]] = {
    F.dense: (V, "5", [(4, 5), (5, 4), (4, 4), (1, 5), (5,), (), (5, 5, 1)]),
    F.per_channel: (V, r"3, 5|\(5,\)", [(4,), (5, 1), (2, 5), (7, 1, 3, 5)]),
    F.convolution: (torch.zeros(2, 4, 5, 5), "odd sizes", KERNELS),
}


def states(neuron: Tensor, s: Tensor) -> dict[str, Any]:
    return dense(WEIGHT, state=F.RecurrentState(F.LIFState(neuron), s))


MIXED = "mixed dtypes: .*float32.*float64|mixed dtypes: .*float64.*float32"
RECURRENT: list[tuple[dict[str, Any], type[Exception], str]] = [
    (dense(WEIGHT, params={"decay": 0.9}), TypeError, "recurrent_weight"),
    *((dense(each), TypeError, "recurrent_weight") for each in (None, 0.5, "all to all", WEIGHT.long())),
    (dense(WEIGHT.double()), TypeError, MIXED),
    (states(V, V.double()), TypeError, MIXED),
    (states(V.double(), V), TypeError, MIXED),
    (dense(WEIGHT, xs=torch.rand(4, 3, 5).double()), TypeError, MIXED),
    (dense(WEIGHT, state=F.LIFState(V)), TypeError, "(?=.*RecurrentState).*LIFState"),
    (dense(WEIGHT, state=(F.LIFState(V), V)), TypeError, "(?=.*RecurrentState).*tuple"),
    *(
        (states(V, s), ValueError, rf"(?=.*\bs\b)(?=.*\({said}\)).*\(3, 5\)")
        for s, said in ((V[:, :4], "3, 4"), (V[0], "5,"))
    ),
    *(
        (recurrent(synapse, v, torch.zeros(shape)), ValueError, f"(?s)(?=.*{re.escape(str(shape))}).*({said})")
        for synapse, (v, said, shapes) in SHAPES.items()
        for shape in shapes
    ),
]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"xs": X.long()}, TypeError, r"no input is floating: xs is torch\.int64.*xs\.float\(\)"),
        ({"xs": X.bool()}, TypeError, r"no input is floating: xs is torch\.bool"),
        ({"xs": [[1.0]]}, TypeError, r"xs\[0\]\[0\] is a float, expected a tensor"),
        ({"xs": ()}, ValueError, "xs holds no tensor"),
        ({"xs": NESTED}, TypeError, r"xs is a nested tensor.*to_padded_tensor\(xs, 0"),
        ({"xs": torch.tensor(1.0)}, ValueError, r"xs has shape \(\), which has no time axis dim=0"),
        ({"dim": 2}, ValueError, r"xs has shape \(5, 3\), which has no time axis dim=2"),
        ({"dim": -3}, ValueError, r"no time axis dim=-3"),
        ({"xs": (X, X[:4])}, ValueError, r"inputs differ in length along dim=0: \{'xs\[0\]': 5, 'xs\[1\]': 4\}"),
        ({"state": None}, TypeError, "state is a NoneType, expected a tensor"),
        ({"state": F.LIFState(DOUBLE)}, TypeError, r"mixed dtypes: .*'state\.v': 'torch\.float64'"),
        ({"state": F.LIFState(torch.zeros(3, device="meta"))}, ValueError, r"mixed devices: .*'state\.v': 'meta'"),
        ({"params": {"decay": DOUBLE}}, TypeError, r"mixed dtypes: .*decay.*float64"),
        ({"params": {"decay": torch.ones(5, 1)}}, ValueError, r"state\.v of shape \(3,\) into \(5, 3\).*decay"),
        ({"state": F.LIFState(torch.zeros(()))}, ValueError, r"turned state\.v of shape \(\) into \(3,\).*zeros_state"),
        ({"state": F.LIFState(DOUBLE.long())}, TypeError, r"state\.v from torch\.int64 into"),
        (
            {"state": F.IFState(torch.zeros(3))},
            TypeError,
            r"given the state IFState.* returned LIFState.*: return IFState\(v\), output, or start from a LIFState$",
        ),
        ({"state": F.LIFState(torch.zeros(1))}, ValueError, r"turned state\.v of shape \(1,\) into \(3,\)"),
        ({"state": F.LIFState(torch.zeros(4))}, RuntimeError, "must match the size"),
        ({"params": {"decay": torch.ones(4)}}, RuntimeError, "must match the size"),
        ({"params": {"decay": 0.9, "tau": 1.0}}, TypeError, "unexpected keyword argument 'tau'"),
        ({"params": {}}, TypeError, "missing 1 required keyword-only argument: 'decay'"),
        ({"step": raises}, KeyError, "some name"),
        ({"step": lambda s, x, decay: s}, TypeError, r"a step returns the pair \(state, output\)"),
        ({"step": lambda s, x, decay: (s, 1.0)}, TypeError, "returned output = 1.0; outputs are tensors"),
        ({"step": lambda s, x, **_: (s._replace(v=0.0), x)}, TypeError, r"returned state\.v = 0\.0, expected a tensor"),
        *RECURRENT,
    ],
)
def test_errors(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    """They are the same on every backend, notes included, and at a second call, though the like has run."""
    lif(X)
    found = []
    for backend in ("loop", "auto", "auto", "fused"):
        with pytest.raises(error, match=message) as caught:
            lif(X, backend=backend, **changes)
        found.append((caught.type, str(caught.value), getattr(caught.value, "__notes__", None)))
    assert found == [found[0]] * 4
    assert found[0][0] is error


def test_an_unknown_backend() -> None:
    lif(X)
    with pytest.raises(ValueError, match="backend='warp' is not one of 'auto', 'loop', 'fused'"):
        lif(X, backend="warp")


Wrapped = Callable[[Any], tuple[Any, Any]]


@pytest.mark.parametrize(
    ("around", "returned"),
    [
        (lambda step: (step, F.LIFState(X[0])), r"\(\(3,\),\)"),
        (lambda step: (F.Refractory(step), F.RefractoryState(F.LIFState(X[0]), X[0])), r"\(\(3,\),\)"),
        (lambda step: (F.Recurrent(step, F.per_channel), F.RecurrentState(F.LIFState(X[0]), X[0])), r"Recurrent.*"),
    ],
)
def test_a_state_in_another_form_says_what_to_return(around: Wrapped, returned: str) -> None:
    def plain_tuple(state: F.LIFState, x: Tensor) -> Any:
        return (state.v + x,), x

    step, state = around(plain_tuple)
    params = {"recurrent_weight": X[0]} if isinstance(step, F.Recurrent) else {}
    text = (
        rf"plain_tuple\)? was given the state .*LIFState.* and returned {returned}\. .*: return LIFState\(v\), output"
    )
    with pytest.raises(TypeError, match=rf"{text}(\n|$)"):
        F.scan(step, state, X, params=params)


def test_a_state_that_is_one_tensor_says_so() -> None:
    step: Any = lambda v, x: ((v + x,), x)  # noqa: E731
    with pytest.raises(TypeError, match=r"the state \(3,\) and returned \(\(3,\),\)\. .*: return a Tensor, output$"):
        F.scan(step, torch.zeros(3), X)


def test_parameter_that_does_not_broadcast_is_named() -> None:
    with pytest.raises(RuntimeError) as caught:
        lif(X, params={"decay": torch.ones(4)})
    assert "params['decay']: (4,)" in caught.value.__notes__[0]
    assert "state.v: (3,)" in caught.value.__notes__[0]


def test_state_or_inputs_of_another_form_are_named() -> None:
    state: Any = (torch.zeros(3),)
    with pytest.raises(AttributeError, match="'tuple' object has no attribute 'v'") as caught:
        F.scan(F.lif_step, state, X, params={"decay": 0.5})
    assert "lif_step, called with a tuple for its state, ((3,),)" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="can't multiply") as of_tuple:
        F.scan(F.lif_step, F.LIFState(torch.zeros(3)), (X, X), params={"decay": 0.5})
    assert "for x a tuple, ((3,), (3,))" in of_tuple.value.__notes__[0]


@pytest.mark.parametrize("target", ["state", "x", "threshold"])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
@pytest.mark.parametrize("backend", ["loop", "auto", "fused", "compile"])
def test_in_place_steps_are_refused(target: str, mode: type[torch.no_grad], backend: Any) -> None:
    def step(state: F.LIFState, x: Tensor, threshold: Tensor) -> tuple[F.LIFState, Tensor]:
        {"state": state.v, "x": x, "threshold": threshold}[target].add_(1.0)
        return F.LIFState(state.v + x), x

    with mode(), pytest.raises(ValueError, match=r"wrote on its state, input or parameters in place.*v = v \+ x"):
        F.scan(step, F.LIFState(torch.zeros(3)), torch.ones(5, 3), params={"threshold": torch.ones(3)}, backend=backend)


def mean_step(state: F.LIFState, x: Tensor, decay: Any = 0.9) -> tuple[F.LIFState, Tensor]:
    """A membrane that all neurons share in, which no kernel knows."""
    v = decay * state.v + x
    return F.LIFState(v), (v - v.mean(-1, keepdim=True)).sin()


@pytest.mark.filterwarnings("ignore:.*aten.mean")
@pytest.mark.parametrize(
    ("step", "neurons", "kernels"), [(F.lif_step, 2047, 0), (F.lif_step, 2048, 3), (mean_step, 4096, 0)]
)
def test_many_neurons_take_a_kernel(step: Any, neurons: int, kernels: int) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(st.StepLayer(step, F.LIFState, decay=0.9), mode="step")
    x, cotangent = (2 * torch.rand(1, 3, neurons)).requires_grad_(), torch.randn(1, 3, neurons)
    with counting() as ran:
        got = model(x)
    assert ran.forward == kernels
    rest = F.LIFState(torch.zeros(1, neurons))
    want = F.scan(step, rest, x, params={"decay": 0.9}, dim=1, backend="loop")[1]
    assert torch.equal(got, want)
    # the slope of the surrogate may differ in the last digit
    torch.testing.assert_close(*(torch.autograd.grad(out, x, cotangent)[0] for out in (got, want)))


def test_what_no_kernel_knows_is_told() -> None:
    def least_step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        return F.LIFState(state.v + x), x - x.min()

    with pytest.warns(RuntimeWarning, match=r"least_step ran on the Python loop .* aten\.min"):
        st.StepLayer(least_step, F.LIFState)(torch.rand(1, 4096), True)


def test_a_product_is_computed_apart() -> None:
    layer = st.LIF(recurrent=nn.Linear(64, 64, bias=False))
    with counting() as ran:
        layer(torch.rand(64, 64), True)
    assert ran.forward == 0


def test_channels_last_images_stay_channels_last() -> None:
    x = torch.rand(4, 8, 9, 10).to(memory_format=torch.channels_last)
    layer: Any = st.LIF(decay=0.9)
    with counting() as ran:
        out = layer(x, True)
    assert ran.forward == 1
    assert x.stride() == out.stride() == layer.v.stride()
    want = layer(x.contiguous(), True)
    assert torch.equal(out, want)
