"""Reports that are made quickly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spikingtorch as st
from spikingtorch.report import report
from spikingtorch.report.html import Html
from tests.report.networks import Pictures, Quickly
from tests.report.reading import Page


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Pictures:
    """Keep what draws the pictures instead of drawing them into the page: each with its text, by its place."""
    found: Pictures = {}

    def keep(key: str, draw: Callable[[], Any], alt: str) -> Html:
        found[key] = draw, alt
        return Html(f'<svg role="img" id="{key}" aria-label="{len(alt)}"></svg>')

    monkeypatch.setattr("spikingtorch.report.firing_sections._picture", keep)
    curves = lambda figure, key, alt: keep(key, lambda: figure, alt)  # noqa: E731
    monkeypatch.setattr("spikingtorch.report.network_sections.inline", curves)
    return found


@pytest.fixture
def quick(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> Pictures:
    """Leave gradients out as well: both are looked at elsewhere."""
    monkeypatch.setattr("spikingtorch.report.write.check_gradients", lambda *_: [])
    return pictures


@pytest.fixture
def with_gradients(pictures: Pictures, tmp_path: Path) -> Quickly:
    def made(net: Any, loader: Any, **options: Any) -> Page:
        wrapped = net if isinstance(net, st.SpikingNet) else st.SpikingNet(net)
        return Page(report(wrapped, loader, tmp_path / "page.html", **options))

    return made


@pytest.fixture
def quickly(quick: Pictures, with_gradients: Quickly) -> Quickly:
    return with_gradients
