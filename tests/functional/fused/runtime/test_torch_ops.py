"""The raw operators: torch's own checks of them, what does not fit, which no memory is touched for, and export."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import recurrent
from spikingtorch.functional.fused.ir import Product, from_text
from spikingtorch.functional.fused.ir import recurrent as recurrent_program
from spikingtorch.testing import assert_close
from tests import fused_steps
from tests import recurrences as cases
from tests.fused import Scan
from tests.fused_steps import N, loop, value
from tests.processes import python
from tests.surroundings import forget
from tests.ways import scanned
from tests.widths import drawn

pytestmark = pytest.mark.usefixtures("afresh")
T, SHAPE = 20, (3, 5)
Arguments = dict[str, Any]
OPERATORS: Any = torch.ops.spikingtorch
SYNAPSES = pytest.mark.parametrize("synapse", ["dense", "dense in C", "convolution"])


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return drawn(dtype, shape, 0)


class Calls(TorchDispatchMode):
    """Writes down with which arguments the raw operators of the library are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "spikingtorch":
            self.found[func._opname] = args
        return func(*args, **(kwargs or {}))


def arguments(operator: str, scan: Scan) -> Arguments:
    """Return arguments of a raw operator that fit, by name: those that a scan calls it with."""
    with Calls() as calls:
        scan.gradients("fused")
    found = pytree.tree_map_only(Tensor, Tensor.detach, calls.found[operator])
    names = [each.name for each in getattr(OPERATORS, operator).default._schema.arguments]
    return dict(zip(names, found, strict=True))


def of_lif(dtype: torch.dtype) -> Scan:
    state, x, decay, threshold = (numbers(*shape, dtype=dtype) for shape in (SHAPE, (T, *SHAPE), (5,), (1,)))
    return Scan(F.lif_step, F.LIFState(state), x, {"decay": decay, "threshold": threshold})


def of_scan(operator: str, dtype: torch.dtype = torch.float32) -> Arguments:
    return arguments(operator, of_lif(dtype))


def of_two(state: F.LIFState, x: tuple[Tensor, Tensor], **params: Any) -> tuple[F.LIFState, Tensor]:
    return F.lif_step(state, x[0] * x[1], **params)


def recurrence(operator: str, synapse: str = "dense", second: bool = False) -> Arguments:
    """Return arguments for a product, and for one input or two."""
    images = synapse == "convolution"
    shape, weight = ((2, 4, 6), (4, 4, 3)) if images else (SHAPE, (5, 5))
    state, x = F.RecurrentState(F.LIFState(numbers(*shape)), numbers(*shape)), numbers(T, *shape)
    params = {"decay": numbers(shape[-1]), "threshold": numbers(1), "recurrent_weight": numbers(*weight)}
    step: Any = F.Recurrent(of_two if second else F.lif_step, F.convolution if images else F.dense)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrent, "runs_in_c", lambda *_: synapse == "dense in C")
        found = arguments(operator, Scan(step, state, (x, x + 0.5) if second else x, params))
    assert product_of(found)[0] == synapse
    return found


def product_of(found: Arguments) -> tuple[str, int, str]:
    product = from_text(found["program"]).product
    assert product is not None
    return product


SCANS = ("scan_forward", "scan_backward")
GOOD: dict[str, Callable[[str], Arguments]] = {"elementwise": of_scan, "recurrent": recurrence}

# --- what fits --------------------------------------------------------------------------------------------------------


def of_matrix(case: cases.Case, names: tuple[str, ...]) -> Scan:
    return cases.with_records(cases.draw(case, 8), *names)  # as many steps as the loop in C takes at least


CALLED: dict[str, Callable[[], Scan]] = {
    **{f"scan of {dtype}": partial(of_lif, dtype) for dtype in (torch.float32, torch.float64)},
    **{
        f"{case.name}, records: {names}": partial(of_matrix, case, names)
        for case in cases.FEW
        for names in ((), ("v", "u"))
        if case.synapse is not F.per_channel
    },
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", CALLED)
def test_raw_operators(name: str) -> None:
    """They have no gradients of their own, and refuse a tensor that requires one, alone or in a list of arguments."""
    with Calls() as calls:
        CALLED[name]().run("fused")
        CALLED[name]().gradients("fused")
    assert set(calls.found) == {*SCANS}
    for operator, found in calls.found.items():
        call, given = getattr(OPERATORS, operator), pytree.tree_map_only(Tensor, Tensor.detach, found)
        torch.library.opcheck(call.default, given)
        for leaf in pytree.tree_leaves(given[:3]):
            if not isinstance(leaf, Tensor):
                continue
            leaf.requires_grad_()
            with pytest.raises(RuntimeError, match=r"requires a gradient.*functional\.scan"):
                call(*given)
            with torch.no_grad():
                assert not any(result.requires_grad for result in call(*given))
            leaf.requires_grad_(False)


def test_opcheck_of_a_forward_pass_that_keeps_nothing() -> None:
    torch.library.opcheck(OPERATORS.scan_forward.default, tuple((of_scan("scan_forward") | {"keep": False}).values()))


@SYNAPSES
@pytest.mark.parametrize("name", SCANS)
def test_recurrence_in_scattered_memory(name: str, synapse: str) -> None:
    given = recurrence(name, synapse, second=True)

    def scattered(tensor: Any) -> Any:
        return tensor.mT.contiguous().mT if isinstance(tensor, Tensor) and tensor.ndim > 1 else tensor

    moved = {key: pytree.tree_map(scattered, value) for key, value in given.items()}
    assert_close(*(getattr(OPERATORS, name)(*each.values()) for each in (moved, given)))


# --- what does not ----------------------------------------------------------------------------------------------------

# what is changed in arguments that fit, and what the error says of it
X, META = numbers(T, 3, 5), numbers(T, 3, 5).to("meta")
XS: list[tuple[Arguments, str]] = [
    ({"xs": []}, "got 0 xs, expected 1"),
    ({"xs": [X, X]}, "got 2 xs, expected 1"),
    ({"xs": [X.double()]}, "xs[0] is torch.float64 of shape (20, 3, 5) on cpu, expected torch.float32"),
    ({"xs": [X[..., :4]]}, "that do not broadcast, of shapes"),
    ({"xs": [X[:, 0]]}, "xs[0] is torch.float32 of shape (20, 5) on cpu, expected torch.float32 of shape (20, 3"),
    ({"xs": [X[:0]]}, "xs[0] of shape (0, 3, 5), expected an axis of it, with one step at least"),
    ({"xs": [META]}, "got tensors on cpu and meta"),
    ({"scalars": ()}, "got 0 scalars, expected 6"),
]
EACH: list[tuple[Arguments, str]] = [
    ({"states": []}, "got 0 states, expected 1"),
    ({"states": [X[0] > 0]}, "states[0] is torch.bool of shape (3, 5) on cpu, expected torch.float32"),
    ({"states": [X[:2]]}, "expected torch.float32 of shape (20, 2, 3, 5)"),
    ({"params": [numbers(1)]}, "got 1 params, expected 2"),
    ({"params": [numbers(5), numbers(5)]}, "params[0] has shape (5,), expected a single number"),
    ({"params": [numbers(1), numbers(5).to(torch.int8)]}, "params[1] is torch.int8 of shape (5,)"),
]
FORWARD: list[tuple[Arguments, str]] = [
    ({"dim": 3}, "dim=3 and xs[0] of shape (20, 3, 5)"),
    ({"dim": -1}, "dim=-1 and xs[0] of shape (20, 3, 5)"),
]
BACKWARD: list[tuple[Arguments, str]] = [
    ({"kept": []}, "got 0 kept, expected 1"),
    ({"kept": [X[:0]]}, "kept[0] is torch.float32 of shape (0, 3, 5) on cpu, expected torch.float32 of sh"),
    ({"kept": [X[:1].double()]}, "kept[0] is torch.float64"),
    ({"kept": [META[:1]]}, "got tensors on cpu and meta"),
    ({"cotangents": [None]}, "got 1 cotangents, expected 2"),
    ({"cotangents": [None, X[:6]]}, "of shape (6, 3, 5) on cpu, expected torch.float32 of shape (20, 3, 5)"),
    ({"cotangents": [None, X.half()]}, "cotangents[1] is torch.float16"),
    ({"cotangents": [None, META]}, "got tensors on cpu and meta"),
    ({"cotangents": [X[0, :, :4], None]}, "cotangents[0] is torch.float32 of shape (3, 4) on cpu, expected"),
    ({"cotangents": [X[0, 0], None]}, "cotangents[0] is torch.float32 of shape (5,)"),
    ({"wanted": [True] * 3}, "got 3 wanted, expected 4"),
]
LAST: list[Tensor] = [numbers(1), numbers(5)]
RECURRENCE: list[tuple[Arguments, str]] = [
    ({"states": [X[0]]}, "got 1 states, expected 2"),
    ({"states": [X[0], X[0].double()]}, "states[1] is torch.float64"),
    ({"states": [X[0], META[0]]}, "got tensors on cpu and meta"),
    ({"params": [*LAST, numbers(4, 4)]}, "weight has shape (4, 4) for spikes of shape (3, 5); expected (M, M)"),
    ({"params": [*LAST, numbers(5, 5).double()]}, "params[2] is torch.float64"),
    ({"params": LAST}, "got 2 params, expected 3"),
]
INCOMING: list[tuple[Arguments, str]] = [
    ({"kept": []}, "got 0 kept, expected 3"),
    ({"cotangents": [None, X]}, "got 2 cotangents, expected 3"),
    ({"cotangents": [None, X[0, :, :4], None]}, "cotangents[1] is torch.float32 of shape (3, 4)"),
    ({"cotangents": [None, None, X[:4]]}, "cotangents[2] is torch.float32 of shape (4, 3, 5)"),
    ({"cotangents": [None, None, X.half()]}, "cotangents[2] is torch.float16"),
    ({"wanted": [True] * 5}, "got 5 wanted, expected 6"),
]


def check_refused(name: str, given: Arguments, message: str) -> None:
    with pytest.raises(ValueError, match=f"^scan: .*{message}"):
        getattr(OPERATORS, name)(*given.values())


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        ("elementwise", "scan_forward", XS + EACH + FORWARD),
        ("elementwise", "scan_backward", XS + EACH + BACKWARD),
        ("recurrent", "scan_forward", XS + RECURRENCE + FORWARD),
        ("recurrent", "scan_backward", XS + RECURRENCE + INCOMING),
    ],
)
def test_call_that_does_not_fit(kind: str, name: str, changes: list[tuple[Arguments, str]], monkeypatch: Any) -> None:
    given = GOOD[kind](name)
    if kind == "recurrent":
        sparse = Product("sparse", *product_of(given)[1:])
        changes = [*changes, ({"program": recurrent_program(sparse).to_text()}, "got synapse 'sparse'")]
    for change, message in changes:
        forget(monkeypatch)
        for _ in range(2):  # nothing of it is remembered
            check_refused(name, given | change, re.escape(message))
        getattr(OPERATORS, name)(*given.values())


@SYNAPSES
@pytest.mark.parametrize("index", range(3))
def test_trace_that_does_not_fit(index: int, synapse: str) -> None:
    given = recurrence("scan_backward", synapse)
    changes: list[Callable[[Tensor], Tensor]] = [lambda t: t[1:], lambda t: t.double(), lambda t: t[..., :1]]
    for change in changes:
        kept = [change(each) if k == index else each for k, each in enumerate(given["kept"])]
        check_refused("scan_backward", given | {"kept": kept}, rf"kept\[{index}\] is torch")


def test_gradient_that_there_is_not() -> None:
    def step(state: F.LIFState, x: Tensor, unused: Tensor) -> Any:
        v = 0.5 * state.v + x
        return F.LIFState(v), v

    scan = Scan(step, F.LIFState(numbers(3)), numbers(4, 3), {"unused": numbers(3)})
    given = arguments("scan_backward", scan) | {"wanted": [True, True, False]}
    OPERATORS.scan_backward(*given.values())
    with pytest.raises(ValueError, match=r"got wanted \[True, True, True\], but only these gradients exist"):
        OPERATORS.scan_backward(*(given | {"wanted": [True] * 3}).values())


# --- export -----------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A scan after a product of matrices."""

    def __init__(self, run: Callable[..., Any] = scanned) -> None:
        super().__init__()
        self.run = run
        self.weight = nn.Parameter(fused_steps.draw(N, N, seed=3))
        self.decay = nn.Parameter(fused_steps.draw(N, seed=2))

    def forward(self, x: Tensor) -> Any:
        params = {"decay": self.decay, "threshold": 0.9}
        return self.run(fused_steps.leaky, fused_steps.rest(), x @ self.weight, params)[1]


LOADED = """
import sys
import torch
import spikingtorch
x, want = torch.load(sys.argv[1])
for file in sys.argv[2:]:
    module = torch.export.load(file).module()
    with torch.no_grad():
        print(torch.equal(module(x), want), "scan_exported" in str(module.graph))
"""


@pytest.mark.long
def test_an_exported_module_has_values_and_gradients_and_survives_a_file(tmp_path: Path) -> None:
    x, plain, files = fused_steps.draw(seed=77), Net(loop), [str(tmp_path / "x.pt")]
    want = plain(x)
    slopes = torch.autograd.grad(value(want), list(plain.parameters()))
    torch.save((x, want.detach()), files[0])
    for strict in (False, True):
        program = torch.export.export(Net(), (fused_steps.draw(),), strict=strict)
        module = program.module()
        assert_close(module(x), want)
        named = dict(module.named_parameters())
        got = torch.autograd.grad(value(module(x)), [named[name] for name, _ in plain.named_parameters()])
        assert_close(got, slopes)
        files.append(str(tmp_path / f"{strict}.pt2"))
        torch.export.save(program, files[-1])
    assert python("-W", "ignore", "-c", LOADED, *files).split() == ["True"] * 4
