"""The benchmark on a GPU: it refuses without one, and on the CPU at small sizes its code runs."""

from pathlib import Path

import pytest
import torch

from benchmarks import gpu


def test_it_refuses_without_a_card(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "make bench-gpu needs a GPU" in capsys.readouterr().err


@pytest.mark.long
def test_the_code_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--quick", "--device", "cpu", "--output", str(tmp_path)]) == 0
    page = (tmp_path / "gpu.md").read_text()
    assert page in capsys.readouterr().out
    lines = [line for line in page.splitlines() if line.startswith("| spikingtorch ")]
    assert len(lines) == 5, "LIF in two dtypes and for more steps, and two networks"
    assert all("1.00x" in line for line in lines)
    # libraries that are not installed here say so, and are no failure
    assert page.count("| spikingjelly ") == 5
    assert "nothing compiled" in page
