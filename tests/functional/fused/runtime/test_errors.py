"""Tensors that no kernel is for, and a machine without a compiler."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.fused.build.compiler import EXTRA
from tests.fused import Scan
from tests.fused_steps import N, draw, rest
from tests.processes import child

X = draw()


def add(state: Any, x: Tensor) -> Any:
    v = state.v + x
    return F.IFState(v), v


def scaled(state: Any, x: Tensor, gain: Any) -> Any:
    v = state.v + gain * x
    return F.IFState(v), v


def at(*shape: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> F.IFState:
    return F.IFState(torch.zeros(shape, dtype=dtype, device=device))


class Wrapped(Tensor):
    """A subclass of the user's own."""


COMPLEX = torch.complex(X, 2 * X)
# a word of the message, and a scan
UNSUITED = {
    "complex": ("complex", Scan(scaled, F.IFState(torch.zeros_like(COMPLEX[0])), COMPLEX, {"gain": 0.5j})),
    "meta": ("meta", Scan(add, at(N, device="meta"), X.to("meta"))),
    "subclass": ("Wrapped", Scan(add, rest(), X.as_subclass(Wrapped))),
    "subclass in the state": ("Wrapped", Scan(add, F.IFState(rest().v.as_subclass(Wrapped)), X)),
}


@pytest.mark.parametrize("name", UNSUITED)
def test_unsuited_tensors_take_the_loop_silently_and_are_told_so_in_a_sentence(name: str) -> None:
    word, scan = UNSUITED[name]
    got, want = scan.run("auto"), scan.run("loop")
    with pytest.raises(ValueError, match=rf"^scan: backend='fused' cannot run .*{word}") as caught:
        scan.run("fused")
    assert type(got[1]) is type(want[1])
    assert (got[1].shape, got[1].dtype, got[1].device) == (want[1].shape, want[1].dtype, want[1].device)
    assert name == "meta" or torch.equal(got[1], want[1])
    # "cannot run step, which a tensor is ..." is not English
    assert not re.search(r"which (a tensor|there|the state|shapes) ", str(caught.value))
    assert F.explain_scan(scan.step, scan.state, scan.xs, params=scan.params).backend == "loop"


# --- no compiler ------------------------------------------------------------------------------------------------------

NO_COMPILER = """
import sys
import warnings

if not sys.argv[1:]:
    sys.modules["ziglang"] = None  # as if it were not installed
import torch
from spikingtorch import functional as F

xs, state = torch.rand(5, 3), F.IFState(torch.zeros(3))
with warnings.catch_warnings(record=True, action="always") as caught:
    for _ in range(3):
        got = F.scan(F.if_step, state, xs)
    if not sys.argv[1:]:  # one warning for all steps
        F.scan(F.li_step, F.LIState(torch.zeros(3)), xs, params={"decay": 0.5})
assert torch.equal(got[1], F.scan(F.if_step, state, xs, backend="loop")[1])
(warned,) = caught
print(f"{warned.category.__name__}: {warned.message}", F.explain_scan(F.if_step, state, xs), sep="---")
try:
    F.scan(F.if_step, state, xs, backend="fused")
except ValueError as error:
    print("---", error, sep="")
# the library imports no Triton and wakes no GPU
assert not torch.cuda.is_initialized()
assert "triton" not in sys.modules or torch.cuda.is_available()
"""


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("compiler", "reasons"),
    [("", ("no C compiler", EXTRA)), ("echo 'out of licences' >&2; exit 3", ("out of licences", "code 3"))],
    ids=["missing", "failing"],
)
def test_without_a_compiler_loops_run_and_all_say_why(compiler: str, reasons: tuple[str, ...], tmp_path: Path) -> None:
    variables: dict[str, str | None] = {"CC": None, "SPIKINGTORCH_CACHE_DIR": str(tmp_path)}
    if compiler:
        script = tmp_path / "cc"
        script.write_text(f"#!/bin/sh\n{compiler}\n")
        script.chmod(0o755)
        variables["CC"] = str(script)
    else:
        variables["PATH"] = str(tmp_path)
    said = child(NO_COMPILER, *([compiler] if compiler else []), **variables)
    print(said)
    warned, explained, raised = said.split("---")
    who = "if_step ran" if compiler else "neurons run"
    assert warned.startswith(f"RuntimeWarning: scan: {who} on the Python loop (slower) because ")
    assert compiler or (len(warned) < 250 and "\n" not in warned)
    assert explained.startswith("loop")
    assert raised.startswith("scan: backend='fused' cannot run if_step")
    assert all(reason in text for text in (warned, explained, raised) for reason in reasons)
    assert not re.search(r"\.\.|(which|for it) no C", "".join((warned, raised))), "not English"
