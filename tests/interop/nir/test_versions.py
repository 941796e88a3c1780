"""The package nir itself: missing, too old for this library, or new enough."""

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

from spikingtorch.cli import main

OURS = ("spikingtorch.interop.nir", "spikingtorch.cli.nir")


def said(nir: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what an import and the command say where ``nir`` is that module, or None."""
    for name in [each for each in sys.modules if each.startswith(OURS)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nir", nir)
    with pytest.raises(ImportError) as caught:
        importlib.import_module("spikingtorch.interop.nir")
    assert main(["nir", "a.nir"]) == 2
    assert capsys.readouterr().err == f"{caught.value}\n"
    return str(caught.value)


def test_an_older_nir_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    old: Any = ModuleType("nir")
    # what Sinabs 3.1.3 asks for: a reader of files that takes no other argument
    old.__version__, old.read = "1.0.4", lambda filename: None
    assert said(old, monkeypatch, capsys) == (
        "spikingtorch.interop.nir needs nir 1.0.7 or newer, and 1.0.4 is installed, whose neurons have another "
        "meaning: pip install --no-deps nir==1.0.8. Sinabs 3.1.3 asks for 1.0.4, and works with 1.0.8 as well."
    )


def test_a_nir_that_is_not_there_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "spikingtorch.interop.nir needs the package nir: pip install 'spikingtorch[nir]'"
    assert said(None, monkeypatch, capsys) == message
