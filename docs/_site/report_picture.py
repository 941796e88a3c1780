"""Draw the picture of docs/report.md with a Chromium on the PATH: ``python docs/_site/report_picture.py``."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spikingtorch import LIF, SpikeMonitor, SpikingNet
from spikingtorch.report import report
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

DOCS = Path(__file__).parents[1]
sys.path[:0] = [str(DOCS.parent)]

from examples.data import load  # noqa: E402
from examples.pictures import WIDTH  # noqa: E402
from examples.training import train_epoch  # noqa: E402

PICTURE = DOCS / "images" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1540, 950)
# the page on a wide screen, and beside it on a phone in the dark
PAGE = """<body style="margin: 0; padding: 20px; display: flex; gap: 30px; background: #ebebed">
<iframe src="report.html" style="width: 1080px; height: 910px; border: 0; color-scheme: light"></iframe>
<iframe src="report.html#layers" style="width: 390px; height: 870px; margin-top: 20px; border: 0;
border-radius: 30px; color-scheme: dark"></iframe>"""


class Digits(nn.Module):
    """Two convolutions with batch norm, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.sl1 = nn.Conv2d(1, 8, 5, stride=2), nn.BatchNorm2d(8), LIF(tau=4.0)
        self.conv2, self.norm2, self.sl2 = nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), LIF(tau=4.0)
        self.l3, self.sl3, self.l4, self.out = nn.Linear(400, 64), LIF(tau=4.0), nn.Linear(64, 10), LIF(tau=4.0)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        """Return the spikes of the last layer at a step."""
        x = self.sl1(self.norm1(self.conv1(x)), init)
        x = self.sl2(self.norm2(self.conv2(x)), init)
        out: Tensor = self.out(self.l4(self.sl3(self.l3(x.flatten(1)), init)), init)
        return out


def write(path: Path, epochs: int = 6, steps: int = 12) -> None:
    """Train on digits, and write the report."""
    torch.manual_seed(0)
    (train, test), model = load("digits"), SpikingNet(Digits(), 10)
    encoder, decoder, history = PoissonEncoder(steps), SumDecoder(steps), []
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    with SpikeMonitor(model) as monitor:
        for epoch in range(epochs):
            loader = DataLoader(train, 64, shuffle=True)
            loss = train_epoch(nn.Sequential(encoder, model, decoder), loader, optimizer, f"epoch {epoch + 1}", None)
            history.append({"loss": loss, **monitor.metrics()})
            monitor.reset()
    report(model, DataLoader(test, 128), path, history=history, encoder=encoder, title="Handwritten digits")


def draw(path: Path, browser: str) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "report.html")
        page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        page.write_text(PAGE)
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
        size = (f"--window-size={SIZE[0]},{SIZE[1]}", f"--force-device-scale-factor={WIDTH / SIZE[0]}")
        command = [browser, *quiet, *size, f"--user-data-dir={folder}/profile", f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(128).save(path, optimize=True)


def main() -> None:
    """Draw the picture, or say what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURE)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    options = parser.parse_args()
    if browser is None:
        parser.error(f"none of {', '.join(BROWSERS)} is on the PATH")
    torch.set_num_threads(1)
    draw(options.out, browser)
    print(f"{options.out.stat().st_size / 1000:.0f} kB  {options.out}")


if __name__ == "__main__":
    main()
