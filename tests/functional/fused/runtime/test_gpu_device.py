"""What the target for GPUs asks of a device and of Triton and hands to a kernel, and what it says without them."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from spikingtorch import LIF, SpikingNet
from spikingtorch import functional as F
from spikingtorch.functional.dispatch import dynamo
from spikingtorch.functional.dispatch.call import ScanCall
from spikingtorch.functional.fused.build import triton_kernel
from spikingtorch.functional.fused.build.triton_kernel import NoKernel, Settings, Source
from spikingtorch.functional.fused.runtime import gpu, targets
from spikingtorch.functional.fused.runtime.gpu import GPU
from spikingtorch.functional.fused.runtime.layout import layouts_of
from tests.functional.fused.runtime.recorder import Recorder, executable, forget_kernels, lif, recorded
from tests.fused import draw

CUDA = torch.device("cuda", 0)


class Device:
    """Stands for torch.cuda and for Triton, and notes what they are asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[Any] = []
        self.capturing = False
        self.fails: Exception | None = None
        target = SimpleNamespace(backend="cuda", arch=80, warp_size=32)
        driver = SimpleNamespace(active=SimpleNamespace(get_current_target=lambda: target))
        compiler = SimpleNamespace(ASTSource=lambda function, signature, constexprs: (signature, constexprs))
        triton = SimpleNamespace(runtime=SimpleNamespace(driver=driver), compiler=compiler, compile=self.compile)
        monkeypatch.setattr(triton_kernel, "_triton", lambda: triton)
        monkeypatch.setattr(triton_kernel, "_namespace", lambda text: {"forward": text, "backward": text})
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: self.capturing)
        monkeypatch.setattr(torch.cuda, "device", self.device)
        forget_kernels()

    @contextmanager
    def device(self, index: int) -> Iterator[None]:
        self.log.append(f"enter {index}")
        yield
        self.log.append(f"leave {index}")

    def compile(self, source: Any, target: Any, options: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        self.log.append(("compile", source, target.arch, options))
        log = self.log

        class Kernel:
            run = None

            def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
                return lambda *values: log.append(("run", grid, values))

        return Kernel()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    yield Device(monkeypatch)
    forget_kernels()


TYPES = (("x0_ptr", "*fp32"), ("z0_ptr", "*fp32"), ("steps", "i32"), ("BLOCK", "constexpr"))
SOURCE = Source("forward", "text", TYPES, ("z0_ptr",))


def test_a_kernel_is_compiled_once_a_device_and_held(device: Device) -> None:
    for index in (0, 0, 1):
        kernel = GPU.load(SOURCE, torch.device("cuda", index))
    signature = {"x0_ptr": "*fp32", "z0_ptr": "constexpr", "steps": "i32", "BLOCK": "constexpr"}
    exact = {"enable_fp_fusion": False, "enable_reflect_ftz": False}
    compiled = ("compile", (signature, {"BLOCK": 128, "z0_ptr": None}), 80, exact)
    assert device.log == ["enter 0", compiled, "leave 0", "enter 1", compiled, "leave 1"]
    device.log.clear()
    run = kernel(1000)
    run([10, None, 3])
    run([20, None, 3])
    expected = [["enter 1", ("run", (8, 1, 1), (address, None, 3, 128)), "leave 1"] for address in (10, 20)]
    assert device.log == [*expected[0], *expected[1]]


def test_no_kernel_is_loaded_while_a_graph_is_captured(device: Device) -> None:
    device.capturing = True
    with pytest.raises(RuntimeError, match=r"while a CUDA graph is captured.*Call it once.*before the capture"):
        GPU.load(SOURCE, CUDA)
    with pytest.raises(RuntimeError, match="while a CUDA graph is captured"):
        GPU.settle(CUDA)


def test_what_goes_wrong_is_a_reason_to_take_the_loop(device: Device) -> None:
    device.fails = OSError("no ptxas")
    with pytest.raises(NoKernel, match=r"Triton made no kernel \(OSError: no ptxas\)"):
        GPU.load(SOURCE, CUDA)


def test_a_forward_pass_is_compiled_as_training_takes_it(device: Device) -> None:
    with recorded() as target:
        lif(draw(20, 5, dtype=torch.float32).requires_grad_())
        text = executable().spec.program
    assert GPU.failure(text) is None
    (compiled,) = [entry for entry in device.log if entry[0] == "compile"]
    assert {name for name, value in compiled[1][1].items() if value is None} == {*target.sources[0].missing}


# --- without Triton, without a device ---------------------------------------------------------------------------------


def test_the_targets_and_their_operators() -> None:
    assert [target.device for target in targets.TARGETS] == ["cpu", "cuda"]
    for name in ("scan_forward", "scan_backward", "scan_exported"):
        for key in ("CPU", "CUDA"):
            assert torch._C._dispatch_has_kernel_for_dispatch_key(f"spikingtorch::{name}", key), (name, key)


def test_plain_tensors_of_the_cpu_are_none_of_a_gpu() -> None:
    assert not GPU.holds([torch.ones(3)])
    found: Any = targets.target_of([torch.ones(3)])
    assert found.device == "cpu"


@pytest.fixture
def fake(warn_anew: None) -> Iterator[Callable[..., Tensor]]:
    """Make tensors on a GPU that is not there; torch knows all of them but their numbers."""
    forget_kernels()
    with FakeTensorMode():
        yield lambda *shape: torch.empty(shape, device=CUDA)
    forget_kernels()


def test_without_triton_the_loop_runs_and_one_warning_says_what_to_install(
    fake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    state, x = F.LIFState(fake(5)), fake(3, 5)
    with warnings.catch_warnings(record=True, action="always") as warned:
        for _ in range(2):
            assert F.scan(F.lif_step, state, x, params={"decay": 0.9})[1].shape == (3, 5)
    (text,) = [str(each.message) for each in warned]
    assert "lif_step ran on the Python loop (slower) because it cannot be compiled: it needs Triton" in text
    assert "'pip install triton'" in text
    with pytest.raises(ValueError, match=r"backend='fused' cannot run lif_step.*needs Triton.*pip install triton"):
        F.scan(F.lif_step, state, x, params={"decay": 0.9}, backend="fused")
    assert "needs Triton" in str(F.explain_scan(F.lif_step, state, x, params={"decay": 0.9}))


def test_a_number_on_the_cpu_takes_the_loop_and_says_so(fake: Callable[..., Tensor]) -> None:
    """Torch's operations take it beside tensors on a GPU, and a kernel would look for it in the memory of the GPU."""
    params = {"decay": torch.tensor(0.9)}
    with pytest.warns(RuntimeWarning, match=r"has tensors on cuda:0 and on cpu; move them to one device with \.to"):
        F.scan(F.lif_step, F.LIFState(fake(5)), fake(3, 5), params=params)
    call = ScanCall.of(F.lif_step, F.LIFState(fake(5)), fake(3, 5), params, 0, torch.float32)
    assert "has tensors on several devices" in str(dynamo._unsuited(call))


def test_without_a_device_the_loop_runs(fake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernel, "_triton", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"cannot run lif_step.*torch finds no GPU"):
        F.scan(F.lif_step, F.LIFState(fake(5)), fake(3, 5), params={"decay": 0.9}, backend="fused")


def test_fakes_keep_the_states_of_the_target() -> None:
    """A chunk has eight steps on a GPU where it has sixteen on the CPU."""
    lif(draw(2, 5, dtype=torch.float32))
    options: Sequence[Any] = ((0.9,) * 7, executable().spec.program, 0, True)
    run = torch.ops.spikingtorch.scan_forward
    with FakeTensorMode():
        for place, kept in (("cuda:0", 4), ("cpu", 2)):
            state, x = torch.empty(5, device=place), torch.empty(40, 5, device=place)
            found = run([state], [x], [], *options)
            assert (found[-1].shape, found[-1].device.type) == ((kept, 5), torch.device(place).type)
        with pytest.raises(ValueError, match="got tensors on cpu and cuda:0"):
            run([torch.empty(5)], [torch.empty(40, 5, device=CUDA)], [], *options)


def test_settings_of_both_backends() -> None:
    assert gpu.settings("hip") == Settings({"enable_fp_fusion": False}, 256)
    assert gpu.settings("cuda").block == 128


@pytest.fixture
def target() -> Iterator[Recorder]:
    with recorded() as found:
        yield found


def test_the_arguments_of_both_passes(target: Recorder) -> None:
    """What the pointers and strides are for, `make test-gpu-text` shows by values; types are those of the source."""
    x = draw(20, 5, dtype=torch.float32).requires_grad_()
    v, out = lif(x, threshold=torch.ones(5, requires_grad=True), gain=0.5)
    torch.autograd.grad(out, [x], draw(20, 5, dtype=torch.float32, seed=1))
    assert [(name, lanes) for name, lanes, _ in target.runs] == [("forward", 5), ("backward", 5)]
    for source, (_, _, given) in zip(target.sources, target.runs, strict=True):
        types = dict(source.types)
        assert given.keys() == types.keys() - {"BLOCK"}
        assert {name for name, value in given.items() if value is None} == {*source.missing}
        for each in given.keys() - {*source.missing}:
            assert type(given[each]) is (float if types[each] in ("fp32", "fp64") else int), each
        assert (given["x0_ptr"], given["s0_ptr"]) == (x.data_ptr(), v.data_ptr())
    forward, backward = target.sources
    assert forward.missing == ("b0_ptr", "z0_ptr", "w0_ptr")
    assert backward.missing == ("c0_ptr",), "no gradient of the last state comes in"


def test_one_kernel_for_all_lengths_sizes_and_strides(target: Recorder) -> None:
    """A sequence of a single chunk keeps no state. It is handed the first one in its place, and never looks at it."""
    for dim, sizes in ((0, (1, 3)), (0, (8, 40)), (0, (300, 2, 5)), (1, (3, 9, 21)), (1, (4, 33, 2, 2))):
        x = draw(*sizes, dtype=torch.float32).transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
        v, out = lif(x, dim)
        torch.autograd.grad(out.sum(), [x, v])
        given = target.runs[-1][2]
        assert (given["k0_ptr"] == given["s0_ptr"] == v.data_ptr()) == (x.shape[dim] <= 8)
    assert len(set(target.sources)) == 2, "one forward pass and one backward pass"


def test_a_long_inference_keeps_nothing(target: Recorder) -> None:
    with torch.no_grad():
        lif(draw(20, 5, dtype=torch.float32))
    assert target.sources[-1].missing == ("b0_ptr", "z0_ptr", "w0_ptr", "k0_ptr")
    assert target.runs[-1][2]["k0_ptr"] is None


def test_a_stepper_moves_every_address(target: Recorder) -> None:
    x = draw(1, 5, dtype=torch.float32)
    lif(x)
    launch = executable().forward_launcher([torch.zeros(5), x], keep=False).launch
    names = [name for name, _ in target.sources[0].types if name != "b0_ptr"]  # nothing was counted
    step = launch.stepper([(1000, 20), (2000, 40), (3000, 0), (4000, 4)], (0.9,) * 7)
    step(0)
    step(3)
    first, later = (given for _, _, given in target.runs[-2:])
    assert names[:4] == ["s0_ptr", "x0_ptr", "f0_ptr", "y0_ptr"]
    assert [first[name] for name in names[:4]] == [1000, 2000, 3000, 4000]
    assert [later[name] for name in names[:4]] == [1060, 2120, 3000, 4012]
    assert later["k0_ptr"] == later["s0_ptr"], "what stands for another array moves with it"


def test_states_at_rest_are_written_once_and_waited_for(target: Recorder) -> None:
    """A later call may come on another stream than the one that has written the zeros."""
    model = SpikingNet(nn.Sequential(LIF()), mode="fold", warn_silent=False)
    for _ in range(3):
        model(draw(3, 20, 5, dtype=torch.float32))
    assert target.settled == 1
    assert {given["s0_ptr"] for _, _, given in target.runs} != {None}
    assert "z0_ptr" not in target.sources[-1].missing, "the outputs of the last step once more"


def test_the_same_form_on_another_device_is_another_one() -> None:
    with FakeTensorMode():
        places = ("cpu", "cuda:0", "cuda:1")
        assert len({str(layouts_of([torch.empty(3, device=place)])) for place in places}) == 3
