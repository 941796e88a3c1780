"""Kernels called from XLA, on other platforms too: torch's bits in half precision, threads, and what is refused."""

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch import jax as snn
from spikingtorch.functional.fused.build.compiler import NoCompiler
from spikingtorch.functional.fused.build.openmp import with_runtime
from spikingtorch.functional.fused.ir import from_text
from spikingtorch.jax import handler, late, primitives
from spikingtorch.jax.handler import TARGET
from tests.jax.process import both, digest, drawn, lif
from tests.processes import at_once
from tests.surroundings import calls_of

ffi: Any = jax.ffi  # parts of it have no types


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (17, 2, 130), (33, 3, 700)], ids=str)
def test_the_bits_of_torch(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """In every precision with a state in float32; test_table.py has all neurons."""
    v, xs = (torch.from_numpy(each) for each in drawn(shape)[:2])
    xs = xs.to(dtype)
    state, spikes = F.scan(F.lif_step, F.LIFState(v), xs, params={"decay": 0.9}, backend="fused")
    found = jax.jit(lif)(jax.dlpack.from_dlpack(v), jax.dlpack.from_dlpack(xs))
    for ours, theirs in zip(found, (state.v, spikes), strict=True):
        assert digest([ours]) == digest([jax.dlpack.from_dlpack(theirs)])


@pytest.mark.long
def test_many_threads_at_once() -> None:
    """Threads of Python call the same kernels and new ones."""
    given = drawn()

    def calls(decays: list[float]) -> list[tuple[float, Any]]:
        return [(decay, jax.jit(partial(both, decay=decay))(*given)) for decay in decays for _ in range(5)]

    found = at_once(*[lambda k=k: calls([0.9, 0.5 + k / 100]) for k in range(8)])
    want = {decay: digest(partial(both, decay=decay)(*given)) for decay, _ in found[0] + found[-1]}
    for decay, each in [pair for pairs in found for pair in pairs if pair[0] in want]:
        assert digest(each) == want[decay]


def test_no_name_is_taken_twice() -> None:
    """A clang without OpenMP compiles the handler and openmp.h as one text."""
    names = re.findall(r"^(?:static |OWN )?\w+ \**(\w+)\(", with_runtime(handler.handler_source()), re.MULTILINE)
    assert "handler" in names
    assert "take_threads" in names
    assert len(names) == len({*names})


@pytest.fixture(scope="module")
def request_of_if() -> handler.Request:
    """The kernel of a neuron."""
    with pytest.MonkeyPatch.context() as patch:
        seen = calls_of(patch, handler, "call", lambda _, request, *others: request)
        rest: Any = snn.IFState(jnp.zeros((2, 30)))
        jax.jit(lambda xs: snn.scan(snn.if_step, rest, xs, backend="fused")).lower(np.zeros((1, 2, 30), np.float32))
    return seen[-1]


def called(request: handler.Request, /, **changed: Any) -> Any:
    """Call a kernel with other attributes."""
    attributes = {
        "kernel": handler.kernel(request), "request": request.to_text(), "scalars": np.zeros(1),
        "records": np.full(99, 2), "pointers": np.array([20, 40]),
    }  # fmt: skip
    v = np.zeros((2, 3), np.float32)
    run = ffi.ffi_call(handler.TARGET, v, vmap_method="sequential")
    with jax.enable_x64(True):
        return np.asarray(run(v, **attributes | changed))


OTHER = "another version of spikingtorch has made this program of JAX. Compile or export it again"


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel": "0" * 64},
        {"kernel": "0" * 64, "request": "{}"},
        {"kernel": "0" * 64, "request": "no request"},
        {"kernel": "0"},
        {"records": np.full(99, 2, np.int32)},
        {"records": np.full(4, 2)},
        {"pointers": np.array([20])},
        {"pointers": np.array([20, 99])},
        {"pointers": np.array([20, -1])},
        {"scalars": 1.0},
    ],
    ids=str,
)
def test_a_program_of_another_version(changed: dict[str, Any], request_of_if: handler.Request) -> None:
    with pytest.raises(Exception, match=OTHER):
        called(request_of_if, **changed)


def test_no_compiler_where_a_program_runs(monkeypatch: pytest.MonkeyPatch, request_of_if: handler.Request) -> None:
    def none(source: str) -> Any:
        raise NoCompiler("there is no C compiler. To get one: ...")

    other = request_of_if._replace(wanted=(False,) * len(from_text(request_of_if.program).params))
    monkeypatch.setattr(handler, "library", none)
    with pytest.raises(Exception, match=r"cannot be compiled here: there is no C compiler\. To get one"):
        called(request_of_if, kernel="0" * 64, request=other.to_text())


ANSWERS: list[Any] = ["there is no C compiler. To get one: ..."]
HEADER = handler.header().read_text()
LATE = late.handler(lambda: ANSWERS[-1], HEADER)  # XLA may call it as long as the process lives


def test_a_handler_without_a_compiler_refuses_in_words_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "TARGET", "spikingtorch_late")
    ffi.register_ffi_target(handler.TARGET, ffi.pycapsule(LATE))
    given = drawn((17, 2, 130))
    for _ in range(2):
        with pytest.raises(Exception, match=r"there is no C compiler\. To get one"):
            digest(jax.jit(lambda *given: both(*given))(*given))
    monkeypatch.setattr(f"{__name__}.ANSWERS", [handler.handler().handler])
    assert digest(jax.jit(lambda *given: both(*given))(*given)) == digest(both(*given))


def test_no_handler_is_made_for_an_interface_that_is_not_known() -> None:
    """XLA's CPU would not start with it."""
    assert late.handler(str, HEADER.replace("API_MAJOR 0", "API_MAJOR 1")) is None
    assert late.handler(str, "") is None


X = np.linspace(-0.5, 1.5, 8 * 3 * 20, dtype=np.float32).reshape(8, 3, 20)


def value_and_gradient(xs: Any, decay: Any) -> Any:
    def loss(xs: Any, decay: Any) -> Any:
        state = snn.LIFState(v=jnp.zeros(xs.shape[1:]))
        final, spikes = snn.scan(snn.lif_step, state, xs, params={"decay": decay})
        return (spikes * xs).sum() + (final.v**2).sum()

    return jax.value_and_grad(loss, (0, 1))(xs, decay)


def test_a_program_for_gpus_calls_no_kernel() -> None:
    primitives.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="On cuda and tpu, jax.lax.scan runs") as seen:
        exported = jax.export.export(jax.jit(value_and_gradient), platforms=["cuda", "tpu"])(X, 0.9)
    text = exported.mlir_module()
    assert TARGET not in text
    assert "stablehlo.while" in text
    assert {each.filename for each in seen} == {__file__}


def test_a_program_for_several_platforms_runs_here() -> None:
    primitives.warn_once.cache_clear()
    known = [jax.export.DisabledSafetyCheck.custom_call(TARGET)]
    with pytest.warns(RuntimeWarning, match="On cuda, jax.lax.scan runs"):
        exported = jax.export.export(jax.jit(value_and_gradient), platforms=["cpu", "cuda"], disabled_checks=known)(
            X, 0.9
        )
    call: Any = exported.call
    got, want = call(X, 0.9), jax.jit(value_and_gradient)(X, 0.9)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_without_jit() -> None:
    with jax.disable_jit():
        got = value_and_gradient(X, 0.9)
    jax.tree.map(np.testing.assert_array_equal, got, value_and_gradient(X, 0.9))
