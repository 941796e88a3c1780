"""Networks in onnxruntime beside the library, in turns on one thread: a step of a stream, and 100 steps of 16 samples.

.venv/bin/python -m benchmarks.deploy
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

import spikingtorch as st
from benchmarks.report import table
from benchmarks.subject import Call, in_turns
from spikingtorch.interop import onnx

ROUNDS, SECONDS = 15, 0.2


class Residual(nn.Module):
    """A block of two convolutions around which spikes are added."""

    def __init__(self) -> None:
        super().__init__()
        parts = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)) for _ in range(2)]
        self.first, self.second = parts
        self.n1, self.n2 = st.IF(), st.IF()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        """Return the spikes of both sides."""
        return x + self.n2(self.second(self.n1(self.first(x), init)), init)


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), st.IF()]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "three dense layers": (
        lambda: nn.Sequential(
            *(nn.Linear(64, 128), st.LIF(tau=5.0), nn.Linear(128, 128), st.LIF(tau=8.0)),
            *(nn.Linear(128, 10), st.LIF(tau=3.0)),
        ),
        (64,),
    ),
    "convolutions": (
        lambda: nn.Sequential(*_convolution(1, 8), *_convolution(8, 16), nn.Flatten(), nn.Linear(784, 10), st.IF()),
        (1, 28, 28),
    ),
    "recurrent": (
        lambda: nn.Sequential(
            nn.Linear(32, 64), st.ALIF(recurrent=nn.Linear(64, 64, bias=False)), nn.Linear(64, 10), st.LI(tau=5.0)
        ),
        (32,),
    ),
    "residual": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), st.IF(), Residual(), Residual()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
        ),
        (2, 16, 16),
    ),
}


def made(name: str) -> tuple[st.SpikingNet, Callable[[int, int], Tensor]]:
    """Return a network whose neurons fire, and a function that draws its inputs."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            module.running_var = torch.rand(module.num_features) * 0.06 + 0.02
        elif isinstance(module, nn.Linear):
            module.weight.data.mul_(2.5)
    return st.SpikingNet(net, warn_silent=False).eval(), lambda N, T: (torch.rand(N, T, *shape) < 0.3).float()


def opened(model: st.SpikingNet, x: Tensor, path: Path) -> Any:
    """Return a session of one thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a spike that rounding decides
        onnx.export(model, x, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def mean(call: Call) -> float:
    """Return the mean seconds of calls in a row, after one to warm up."""
    call()
    count, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < SECONDS:
        call()
        count += 1
    return passed / count


def times(folder: Path) -> str:
    """Return the table of times."""
    rows = []
    for name in NETWORKS:
        model, draw = made(name)
        session = opened(model, draw(2, 30), folder / "network.onnx")
        for N, T in ((1, 1), (16, 100)):
            x = draw(N, T)
            with torch.no_grad():
                model(x)
                rest = {f"state.{key}": each.numpy() for key, each in onnx.rest(model, N).items()}
                feeds = {"x": x.numpy()} | rest
                calls = partial(model, x, init=False), partial(session.run, None, feeds)
                found = in_turns({str(k): partial(mean, call) for k, call in enumerate(calls)}, ROUNDS, 0)
            ours, theirs = (1e6 * statistics.median(each) for each in found.values())
            rows.append([name, f"{N}, {T}", f"{ours:,.0f}", f"{theirs:,.0f}", f"{theirs / ours:.2f}"])
    return table("Medians", ["network", "N, T", "library, us", "onnxruntime, us", "ratio"], rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        print(times(Path(place)))
