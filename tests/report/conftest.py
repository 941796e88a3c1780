"""Reports that are made quickly."""

from pathlib import Path
from typing import Any

import pytest

import spikingtorch as st
from spikingtorch.report import report
from spikingtorch.report.html import Html
from tests.report.networks import Quickly
from tests.report.reading import Page


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw pictures, but do not save them, and leave gradients out: both are looked at elsewhere."""
    drawn = lambda _, key, alt: Html(f'<svg role="img" id="{key}" aria-label="{len(alt)}"></svg>')  # noqa: E731
    monkeypatch.setattr("spikingtorch.report.firing_sections.inline", drawn)
    monkeypatch.setattr("spikingtorch.report.network_sections.inline", drawn)
    monkeypatch.setattr("spikingtorch.report.write.check_gradients", lambda *_: [])


@pytest.fixture
def quickly(quick: None, tmp_path: Path) -> Quickly:
    def made(net: Any, loader: Any, **options: Any) -> Page:
        wrapped = net if isinstance(net, st.SpikingNet) else st.SpikingNet(net)
        return Page(report(wrapped, loader, tmp_path / "page.html", **options))

    return made
