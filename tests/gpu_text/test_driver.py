"""What Triton itself makes of a launch: its real compiler, and a driver that stands for one that has a card."""

import inspect
import re
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
from triton.runtime import driver

from spikingtorch.functional.fused.codegen import triton as printer
from spikingtorch.functional.fused.runtime.gpu import GPU
from spikingtorch.verification.cases import CASES
from tests.functional.fused.runtime.recorder import forget_kernels, lif, recorded
from tests.fused import draw
from tests.gpu_text.compiled import GPUS
from tests.programs import of_neuron

LAUNCHES: list[Any] = []


class Launcher:
    """Stands for what hands arguments to the driver in C."""

    def __init__(self, source: Any, metadata: Any) -> None:
        self.source, self.metadata = source, metadata

    def __call__(self, *given: Any) -> None:
        *grid, stream, function, _, _, _, _ = given[:9]
        LAUNCHES.append((grid, stream, function, dict(zip(self.source.fn.arg_names, given[9:], strict=True))))


@pytest.fixture(params=["sm_90", "gfx942"])
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[str]:
    """A card that is not there."""
    target = GPUS[request.param]
    utils = SimpleNamespace(
        get_device_properties=lambda device: {"max_shared_mem": 2**16},
        load_binary=lambda name, *_: ("module", f"function {name}", 32, 0, 1024),
    )
    stands = SimpleNamespace(
        utils=utils,
        launcher_cls=Launcher,
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 77,
        get_current_target=lambda: target,
    )
    monkeypatch.setattr(type(driver), "active", property(lambda self: stands))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda index: nullcontext())
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(tmp_path)
        forget_kernels()
        LAUNCHES.clear()
        yield request.param
    forget_kernels()


def test_a_launch(card: str) -> None:
    """Both passes of LIF, with the sources and arguments that a scan hands over."""
    x = draw(20, 3, 500, dtype=torch.float32).requires_grad_()
    with recorded() as recorder:
        torch.autograd.grad(lif(x, gain=0.5)[1], x, draw(20, 3, 500, dtype=torch.float32))
    block = printer.BLOCK[GPUS[card].backend]
    for source, (name, lanes, given) in zip(recorder.sources, recorder.runs, strict=True):
        kernel: Any = GPU.load(source, torch.device("cuda", 0))
        kernel(lanes)(list(given.values()))
        grid, stream, function, handed = LAUNCHES[-1]
        assert (grid, stream, function) == ([-(-1500 // block), 1, 1], 77, f"function {name}")
        assert handed == {**given, "BLOCK": block}
        held = inspect.getclosurevars(kernel).nonlocals["kernel"]
        types = held.src.signature
        # what is none is a constant, all else an argument of the machine's function, as many as it declares
        assert [each for each, value in handed.items() if value is None] == [*source.missing]
        assert {each for each, kind in types.items() if kind == "constexpr"} == {*source.missing, "BLOCK"}
        if card == "sm_90":
            declared = re.findall(rf"\.param .*{name}_param_\d+", held.asm["ptx"])
            scratch = 2
            assert len(declared) == sum(kind != "constexpr" for kind in types.values()) + scratch
    assert [name for name, *_ in recorder.runs] == ["forward", "backward"]


def test_why_there_is_no_kernel(card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = of_neuron(CASES[0]).to_text()
    assert GPU.failure(program) is None
    forget_kernels()

    def wrong(*given: Any, **options: Any) -> Any:
        raise triton.runtime.errors.PTXASError("no registers left")

    monkeypatch.setattr(triton, "compile", wrong)
    assert "Triton made no kernel (PTXASError: " in str(GPU.failure(program))
