"""The command ``python -m spikingtorch cache``."""

import time
from pathlib import Path

import pytest

from spikingtorch.cli import cache as cache_command
from tests.functional.fused.build.kernels import KEYS, Compiler, first_call, pretend


def test_command_shows(folder: Path, cc: Compiler, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_command.main([]) == 0
    assert not folder.exists()
    want = f"compiler  {cc.script}\nfolder    {folder}\n"
    want += "kernels   0 of at most 4096\nsize      0.0 MB of at most 256.0 MB\n"
    assert capsys.readouterr().out == want
    pretend(folder, KEYS[:1], used=time.time() - 3 * 86400 - 50)
    pretend(folder, KEYS[1:3], size=1_200_000, used=time.time() - 2 * 3600 - 50)
    assert cache_command.main(["show"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "kernels   3 of at most 4096",
        "size      2.4 MB of at most 256.0 MB",
        "oldest    last used 3 days ago",
        "newest    last used 2 hours ago",
    ]
    assert cc.runs == 0


def test_it_says_how_to_get_a_compiler(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert cache_command.main([]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("compiler  none; there is no C compiler: CC='no-such-compiler'")
    assert 'pip install "spikingtorch[compiler]"' in said


def test_command_clears(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(folder, KEYS[:3], size=1_200_000)
    first_call(monkeypatch, "unlink", PermissionError())
    assert cache_command.main(["clear"]) == 1
    out, err = capsys.readouterr()
    assert out == f"2 kernels removed from {folder}, 2.4 MB freed\n"
    assert err.startswith("1 kernel could not be removed")
    assert cache_command.main(["clear"]) == 0
    assert capsys.readouterr().out == f"1 kernel removed from {folder}, 1.2 MB freed\n"
    assert not list(folder.iterdir())
    with pytest.raises(SystemExit):
        cache_command.main(["burn"])
    assert "usage: python -m spikingtorch cache" in capsys.readouterr().err
