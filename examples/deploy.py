"""A network learns digits in PyTorch, leaves as a file of ONNX, and onnxruntime alone serves a stream with it.

The stream shows one digit after the other. A call takes one step and the state, and gives out spikes and the next
state. ``make browser`` puts the same file, runs/deploy/net.onnx, on a page that reads what a visitor draws.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from examples import data, training
from spikingtorch import LIF, SpikingNet
from spikingtorch.functional import Arctan
from spikingtorch.interop.onnx import export
from spikingtorch.spikeio import PoissonEncoder

NETWORK = Path("runs/deploy/net.onnx")
STEPS = 16  # of a digit in the stream
FADES = 0.85  # what a step leaves of the spikes counted before
Array = npt.NDArray[Any]


class Net(nn.Module):
    """One step of the network: spikes (N, 1, 28, 28) to those of each layer, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 12, 5, stride=2), nn.BatchNorm2d(12)  # 28 x 28 -> 12 x 12
        self.conv2, self.norm2 = nn.Conv2d(12, 24, 3, stride=2), nn.BatchNorm2d(24)  # 12 x 12 -> 5 x 5
        self.linear = nn.Linear(600, 10)
        self.lif1, self.lif2, self.lif3 = (LIF(tau=4.0, surrogate=Arctan()) for _ in range(3))

    def forward(self, x: Tensor, init: Any) -> dict[str, Tensor]:
        """Advance one step; init starts a new sequence."""
        first = self.lif1(self.norm1(self.conv1(x)), init)
        second = self.lif2(self.norm2(self.conv2(first)), init)
        return {"first": first, "second": second, "digits": self.lif3(self.linear(second.flatten(1)), init)}


class Jitter(nn.Module):
    """In training, turns, stretches and moves each image (N, 1, 28, 28) a little, as hands do."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, changed while training."""
        if not self.training:
            return images
        maps = torch.eye(2, 3) + torch.randn(len(images), 2, 3) * torch.tensor([0.12, 0.12, 0.07])
        return F.grid_sample(images, F.affine_grid(maps, [*images.shape], align_corners=False), align_corners=False)


class Counts(nn.Module):
    """Counts the spikes of each output neuron."""

    def forward(self, spikes: dict[str, Tensor]) -> Tensor:
        """Return the counts (N, 10) of spikes (N, T, 10)."""
        return spikes["digits"].sum(1)


def make() -> tuple[SpikingNet, Tensor]:
    """Return the network and an input, for ``python -m spikingtorch onnx examples.deploy:make`` as well."""
    return SpikingNet(Net()), PoissonEncoder(STEPS)(torch.rand(4, 1, 28, 28))


def at_rest(session: onnxruntime.InferenceSession, N: int) -> dict[str, Array]:
    """Return the state at rest of a file for N samples, by the names of its inputs."""
    values = json.loads(session.get_modelmeta().custom_metadata_map["spikingtorch"])["rest"]
    states = [each for each in session.get_inputs() if each.name.startswith("state.")]
    return {each.name: np.full((N, *each.shape[1:]), values[each.name[6:]], np.float32) for each in states}


def serve(path: Path, images: Array, labels: Array) -> None:
    """Stream images (N, 1, 28, 28) through a file by onnxruntime, one step a call, and print what fires and is read."""
    (one := onnxruntime.SessionOptions()).intra_op_num_threads = 1
    session, draw = onnxruntime.InferenceSession(path, one), np.random.default_rng(0)
    names = [each.name for each in session.get_outputs()]
    state, counts, right, took = at_rest(session, 1), np.zeros(10), 0, list[float]()
    print(f"shown   {'spikes of the output neurons, step by step':{STEPS + 32}} read")
    for image, label in zip(images, labels, strict=True):
        print(f"  {label}     ", end="")
        for _ in range(STEPS):
            x = (draw.random(image.shape) < image).astype(np.float32)[None, None]
            begin = time.perf_counter()
            out: dict[str, Any] = dict(zip(names, session.run(None, {"x": x, **state}), strict=True))
            took.append(time.perf_counter() - begin)
            state = {name: out[name.replace("state.", "next.")] for name in state}
            counts = FADES * counts + (fired := out["out.digits"][0, 0])
            print(int((fired * (1 + counts)).argmax()) if fired.any() else "·", end=" ", flush=True)
        right += int(counts.argmax() == label)
        print(f"  {counts.argmax()}")
    print(f"{right} of {len(labels)} read; {np.median(took) * 1e6:.0f} microseconds a step (median, one thread)")


def main() -> None:
    """Train, export, and serve."""
    options = training.parse_options(__doc__)
    torch.manual_seed(0)
    model, x = make()
    classify = nn.Sequential(Jitter(), PoissonEncoder(STEPS), model, Counts())
    (train, test), optimizer = data.load(options.dataset), torch.optim.Adam(model.parameters())
    schedule = OneCycleLR(optimizer, 0.005, epochs=options.epochs, steps_per_epoch=math.ceil(len(train) / 32))
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    training.fit(classify, optimizer, options)
    NETWORK.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), NETWORK.with_name("run.pt"))
    print(export(model.eval(), x, NETWORK))
    serve(NETWORK, *(each[:20].numpy() for each in test.tensors))


if __name__ == "__main__":
    main()
