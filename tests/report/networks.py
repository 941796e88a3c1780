"""A network to report on, its inputs and its history."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.report.reading import Page

HOSTILE = "<script>alert('1')</script>&\"$x_$"
SECTIONS = ["curves", "rates", "summary", "runs", "overview", "layers", "silent", "gradients"]


class Net(nn.Module):
    """Images, a time constant that learns, recurrence, and a name that is none of HTML's business."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.sl1 = nn.Conv2d(1, 3, 3), st.LIF(torch.full((3, 1, 1), 4.0), v0=0.3, learnable="tau")
        self.l2, self.sl2 = nn.Linear(48, 12), st.LIF(v0=0.3, recurrent=nn.Linear(12, 12, bias=False))
        self.drop, self.l3 = nn.Dropout(0.5), nn.Linear(12, 4)
        self.add_module("<b>out", st.LIF(v0=0.2))

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.sl2(self.l2(self.sl1(self.conv(x), init).flatten(1)), init)
        return self.get_submodule("<b>out")(self.l3(self.drop(h)), init)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def trained() -> list[dict[str, Any]]:
    return [
        {"loss": 1.0 / epoch, "train accuracy": 0.5 + 0.1 * epoch, "val_accuracy": torch.tensor(0.1 * epoch)}
        | {"sl1/rate": 0.1 * epoch, "sl2/rate": np.float32(0.2), "sl1/silent": 0.0, "sl1/interval": float(epoch)}
        | {HOSTILE: epoch}
        for epoch in (1, 2, 3)
    ]


Quickly = Callable[..., Page]
# what draws a picture, and its text, by its place on the page
Pictures = dict[str, tuple[Callable[[], Any], str]]
