"""Reports that are made quickly."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

import spikingtorch as st
from spikingtorch.report import report
from tests.report.networks import Page, Pictures, Quickly


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Pictures:
    """Keep what draws the pictures instead of drawing them into the page: each with its text, by its place."""
    found: Pictures = {}

    def keep(key: str, alt: str, draw: Callable[..., Any], *given: Any) -> Markup:
        found[key] = partial(draw, *given), alt
        return Markup(f'<svg role="img" id="{key}" aria-label="{len(alt)}"></svg>')

    monkeypatch.setattr("spikingtorch.report.write.picture", keep)
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
