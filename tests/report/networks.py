"""A network to report on, its inputs and its history, and a page as a reader has it."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st

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


def trained() -> list[dict[str, Any]]:
    return [
        {"loss": 1.0 / epoch, "train accuracy": 0.5 + 0.1 * epoch, "val_accuracy": torch.tensor(0.1 * epoch)}
        | {"sl1/rate": 0.1 * epoch, "sl2/rate": np.float32(0.2), "sl1/silent": 0.0, "sl1/interval": float(epoch)}
        | {HOSTILE: epoch}
        for epoch in (1, 2, 3)
    ]


VOID = {"meta", "path", "image", "use", "br", "circle", "rect"}


class Page(HTMLParser):
    """A parsed page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.headings: list[tuple[int, str]] = []  # level and text
        self.sections: list[str] = []  # ids
        self.tables: dict[str, list[list[str]]] = {}  # by caption, the texts of the cells of each row
        self.ids: list[str] = []  # of all elements
        self.references: list[str] = []  # values of all attributes that may name a file or an address
        self.alts: list[str] = []  # what pictures are called
        self.scripts: list[str] = []  # and images, frames and links to styles
        self.advice: list[str] = []  # the text of each box
        self._open: list[str] = []
        self._boxes: list[int] = []
        self._rows: list[list[str]] = []
        self.feed(self.text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.references += [v for name, v in given.items() if name in ("href", "src", "xlink:href", "action", "srcset")]
        if tag == "svg":
            assert given["role"] == "img"
            self.alts.append(given["aria-label"])
        if tag in ("script", "img", "iframe", "link", "object", "embed"):
            self.scripts.append(tag)
        if tag == "section":
            self.sections.append(given["id"])
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), ""))
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td") and self._rows:
            assert tag == "td" or given["scope"] in ("col", "row")
            self._rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)
        if tag == "div" and given.get("class", "").startswith("advice"):
            self.advice.append("")
            self._boxes.append(len(self._open))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open, f"</{tag}> without a beginning"
        if self._boxes and self._boxes[-1] == len(self._open):
            self._boxes.pop()
        assert self._open.pop() == tag
        if tag == "caption":
            self._caption = self._caption.strip()
        if tag == "table":
            self.tables[self._caption], self._rows, self._caption = self._rows, [], ""

    _caption = ""

    def handle_data(self, data: str) -> None:
        if self._boxes:
            self.advice[-1] += data
        if "caption" in self._open:
            self._caption += data
        elif self._rows and {"th", "td"} & {*self._open}:
            self._rows[-1][-1] += data
        if self.headings and {"h1", "h2", "h3"} & {*self._open}:
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)

    @property
    def words(self) -> str:
        """The text of the page without what is escaped."""
        return " ".join(self.text.split())

    def table(self, start: str) -> list[list[str]]:
        """Return the rows of the table whose caption begins so."""
        (found,) = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        return found


Quickly = Callable[..., Page]
# what draws a picture, and its text, by its place on the page
Pictures = dict[str, tuple[Callable[[], Any], str]]
