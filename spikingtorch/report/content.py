"""What the page is made of, before it is HTML."""

import platform
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from spikingtorch.report.firing import Firing
from spikingtorch.report.gradients import Checked
from spikingtorch.report.history import History
from spikingtorch.report.html import Html
from spikingtorch.report.measure import Measured
from spikingtorch.units import counted


class Section(NamedTuple):
    """A part of the page with a heading.

    Attributes:
        key: its anchor.
        title: its heading.
        body: what is below it.
    """

    key: str
    title: str
    body: Html


class Content(NamedTuple):
    """All that the page says.

    Attributes:
        title: of the page.
        kind: class of the network.
        made: when.
        versions: of what it was made with, by name.
        history: what was logged, None if nothing was.
        measured: what the network did.
        checks: of the gradients of its steps.
        warned: what Python warned about while the network ran.
    """

    title: str
    kind: str
    made: datetime
    versions: Mapping[str, str]
    history: History | None
    measured: Measured
    checks: list[Checked]
    warned: list[str]

    @property
    def firing(self) -> list[Firing]:
        """The layers whose outputs are spikes."""
        return [layer for layer in self.measured.layers.values() if layer.fires]

    @property
    def pictured(self) -> list[Firing]:
        """Those among them that ran on the samples of the pictures."""
        return [layer for layer in self.firing if layer.name in self.measured.pictured]

    @property
    def seen(self) -> str:
        """On how much the numbers of the page are."""
        found = self.measured
        fewest, most = found.lengths
        steps = f"{most:,} steps" if fewest == most else f"{fewest:,} to {most:,} steps"
        return f"{counted(found.samples, 'sample')} of {counted(found.batches, 'batch', 'batches')}, {steps} each"


def versions() -> dict[str, str]:
    """Return the versions of what a report is made with."""
    import torch

    import spikingtorch

    return {"spikingtorch": spikingtorch.__version__, "torch": torch.__version__, "Python": platform.python_version()}
