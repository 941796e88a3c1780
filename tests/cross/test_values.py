"""Kernels of AArch64 in the emulator, and of ziglang, beside those of this machine: the same bits and gradients."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from spikingtorch.functional.core import allocation
from spikingtorch.functional.sparse import pooling
from spikingtorch.verification.cases import CASES, Case, by_name
from tests.cross.machines import Emulated, Machine, Zig, emulated, kernels_of
from tests.drawn import normal
from tests.functional.fused.codegen.test_exactness import TRANSCENDENTAL, of_case
from tests.functional.fused.lower import test_operations as operations
from tests.functional.fused.runtime.recurrent import test_c_loop as recurrent
from tests.functional.sparse import test_few_channels, test_kernels, test_pooling, test_sampled
from tests.functional.sparse.cases import CASES as LAYERS
from tests.functional.sparse.cases import Case as Layer
from tests.functional.sparse.cases import draw, outcome
from tests.fused import Scan, assert_same_bits
from tests.guards import Guards

FLOATS = (torch.float32, torch.float64)
HALVES = (torch.float16, torch.bfloat16)
# vectors of 16 bytes, which all of AArch64 has, and those of SVE beside them, here of 32 bytes
PROCESSORS = ("generic", "neoverse_v1")
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=str)


@pytest.fixture(params=PROCESSORS)
def processor(request: pytest.FixtureRequest) -> Emulated:
    return emulated(request.param)


@pytest.fixture(params=[*PROCESSORS, "ziglang"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Zig() if request.param == "ziglang" else emulated(request.param)


# --- layers that skip zeros -------------------------------------------------------------------------------------------


@every_layer
def test_a_layer(layer: Layer, machine: Machine) -> None:
    for density, graded in ((0.2, True), (0.4, False)):
        torch.manual_seed(0)
        tensors = draw(layer, density, graded)
        machine.same(partial(outcome, layer.event, tensors, layer.options))


@every_layer
def test_a_gradient_at_some_places(layer: Layer, machine: Machine) -> None:
    torch.manual_seed(0)
    x, weight, support = test_sampled.draw(layer, 0.3)
    machine.same(lambda: test_sampled.gradient(test_sampled.sampled(layer.operation, support), x, weight))


@every_layer
def test_nothing_beside_arrays(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    guards = Guards()
    monkeypatch.setattr(allocation, "allocated", guards.allocated)
    with kernels_of(emulated()):
        found = test_kernels.skips_zeros(layer, guards.place)
    guards.check()
    assert all(bool(tensor.isfinite().all()) for tensor in found)


@pytest.mark.parametrize("case", test_few_channels.CASES.values(), ids=list(test_few_channels.CASES))
def test_gradients_of_few_channels(case: Layer, machine: Machine) -> None:
    if case.weight[1] * case.weight[-1] > 8 and not isinstance(machine, Zig):
        pytest.skip("where a row of the kernel takes more than two vectors of 16 bytes, gradients are torch's")
    torch.manual_seed(0)
    tensors = test_few_channels.draw(case)
    machine.same(partial(outcome, test_few_channels.layer_of(case.operation), tensors, case.options))


@pytest.mark.parametrize("windows", test_pooling.WINDOWS.values(), ids=test_pooling.WINDOWS)
def test_a_pool(windows: dict[str, Any], machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "LEAST", 1)

    def pooled() -> list[Tensor]:
        found: list[Tensor] = []
        for layout in test_pooling.LAYOUTS.values():
            x = layout(test_pooling.images()).requires_grad_()
            out: Any = pooling.max_pool2d(x, **windows)
            found += [out.nan_to_num(), *torch.autograd.grad(out.nan_to_num().sin().sum(), x)]
        return found

    machine.same(pooled)


def test_bits_of_a_mask(processor: Emulated) -> None:
    with kernels_of(processor):
        test_kernels.test_bits(None)


# --- a recurrence through a matrix ------------------------------------------------------------------------------------


def products(a: Tensor, matrix: Tensor, base: Tensor | None) -> list[Tensor]:
    """Return the product for one row, for some and for all."""
    return [recurrent.product(a[:rows], matrix, base) for rows in (1, 7, len(a))]


@dtypes
@pytest.mark.parametrize("size", [1, 2, 7, 16, 33, 100])
def test_the_product(size: int, dtype: torch.dtype, machine: Machine) -> None:
    matrix, base = normal(size, size).to(dtype), normal(20, size, seed=1).to(dtype)
    for share in (0.0, 0.12, 0.6, 1.1):
        a = recurrent.spikes(20, size, share, dtype)
        for given in (None, base):
            machine.same(partial(products, a, matrix, given))


def test_the_product_beside_numpy() -> None:
    with kernels_of(emulated()):
        recurrent.test_the_product(33, torch.float32)
        recurrent.test_rows_of_all_kinds_in_one_product()
        recurrent.test_zero_times_infinity_is_not_a_number(torch.inf)


@dtypes
def test_a_recurrent_scan(dtype: torch.dtype, machine: Machine) -> None:
    for steps, size in ((8, 5), (17, 33), (40, 128)):
        given = recurrent.scan(steps, 5, size, dtype=dtype)
        machine.same(partial(given.found, "fused"))
        machine.same(partial(given.found, "fused", only=recurrent.OF_FEW))


# --- scans ------------------------------------------------------------------------------------------------------------

# what is printed has no vectors of its own: SVE is the compiler's affair, and has float32 alone here
PRINTED = [("generic", dtype) for dtype in (*FLOATS, *HALVES)] + [("neoverse_v1", torch.float32)]
DTYPES = pytest.mark.parametrize(("name", "dtype"), [*PRINTED, ("ziglang", torch.float32)], ids=str)
FLOATS_ALONE = pytest.mark.parametrize(("name", "dtype"), [p for p in PRINTED if p[1] not in HALVES], ids=str)


@DTYPES
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(case: Case, name: str, dtype: torch.dtype) -> None:
    machine: Machine = Zig() if name == "ziglang" else emulated(name)
    scan = of_case(case, 33, torch.float32 if dtype in HALVES else dtype)
    if dtype in HALVES:
        scan = scan._replace(xs=tree_map_only(Tensor, lambda x: x.to(dtype), scan.xs))
    found = machine.same(lambda: scan.found("fused"))
    if case.name not in TRANSCENDENTAL:
        with torch.no_grad():
            assert_same_bits(found[0], scan.run("loop"))


@FLOATS_ALONE
@pytest.mark.parametrize("names", operations.GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_every_operation(names: list[str], name: str, dtype: torch.dtype) -> None:
    """At special numbers, and at random ones."""
    machine = emulated(name)
    scan = operations.scan_of(names, dtype)

    def run() -> Any:
        with torch.no_grad():
            return scan.run("fused")[1]

    machine.same(run)
    if any(out.requires_grad for out in scan.watched()[0].run("loop")[1].values()):
        machine.same(lambda: scan.gradients("fused"))


def test_functions_all_along_the_numbers(processor: Emulated) -> None:
    """One in 262,145 of all float32 numbers, of every size and either sign."""
    names = [f"{name}.default" for name in operations.UNARY]
    x = torch.arange(-(2**31), 2**31, 2**18 + 1).to(torch.int32).view(torch.float32)[None]

    def step(state: tuple[()], x: Tensor) -> tuple[tuple[()], dict[str, Tensor]]:
        return state, {name: operations.TABLE[name](x, x, x) for name in names}

    with torch.no_grad():
        processor.same(lambda: Scan(step, (), x).run("fused"))


@pytest.mark.parametrize(("dtype", "floating"), [(torch.int32, torch.float32), (torch.int64, torch.float64)], ids=str)
def test_whole_numbers(dtype: torch.dtype, floating: torch.dtype) -> None:
    with kernels_of(emulated()):
        operations.test_whole_numbers(dtype, floating)
