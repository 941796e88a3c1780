"""The content of the page before it becomes HTML."""

import platform
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from spikingtorch.quantize import IntegerError
from spikingtorch.report.firing import Firing
from spikingtorch.report.gradients import Checked
from spikingtorch.report.history import History
from spikingtorch.report.html import Html
from spikingtorch.report.integers import Integers
from spikingtorch.report.measure import Measured
from spikingtorch.units import counted


class Section(NamedTuple):
    """A part of the page with a heading.

    Attributes:
        key: its anchor.
        title: its heading.
        body: the content below the heading.
    """

    key: str
    title: str
    body: Html


class Content(NamedTuple):
    """The content of the page.

    Attributes:
        title: of the page.
        kind: class of the network.
        made: when.
        versions: versions of the software, by name.
        history: the training history; None if nothing was logged.
        measured: the measurements of the network.
        checks: checks of the gradients of its steps.
        warned: warnings of Python while the network ran.
        integers: the network as integers, or their refusal; None without whole numbers.
    """

    title: str
    kind: str
    made: datetime
    versions: Mapping[str, str]
    history: History | None
    measured: Measured
    checks: list[Checked]
    warned: list[str]
    integers: Integers | IntegerError | None

    @property
    def firing(self) -> list[Firing]:
        """The layers whose outputs are spikes."""
        return [layer for layer in self.measured.layers.values() if layer.fires]

    @property
    def pictured(self) -> list[Firing]:
        """The spiking layers that ran on the samples of the pictures."""
        return [layer for layer in self.firing if layer.name in self.measured.pictured]

    @property
    def seen(self) -> str:
        """The samples and steps that the numbers of the page are based on."""
        found = self.measured
        fewest, most = found.lengths
        steps = f"{most:,} steps" if fewest == most else f"{fewest:,} to {most:,} steps"
        return f"{counted(found.samples, 'sample')} of {counted(found.batches, 'batch', 'batches')}, {steps} each"


def versions() -> dict[str, str]:
    """Return the versions of the software that makes a report."""
    import torch

    import spikingtorch

    return {"spikingtorch": spikingtorch.__version__, "torch": torch.__version__, "Python": platform.python_version()}
