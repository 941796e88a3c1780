"""A recurrent network as a file of NIR for each library that reads it: ``python -m examples.exchange``.

It prints the certificate of each file, or why there is none, and draws the nodes of one into docs/images/nir.png, or
wherever ``--picture`` says. The files go into ``--folder``.
"""

import argparse
from pathlib import Path

import nir
import torch
from torch import nn

from spikingtorch import LIF, SpikingNet
from spikingtorch.interop.nir import NIRError, to_nir, verify_nir
from spikingtorch.interop.nir.picture import picture
from spikingtorch.interop.nir.plan import plan_of

READERS = ("snntorch", "norse", "sinabs", "spikingjelly")


def network() -> SpikingNet:
    """Return a network with a layer that hears itself."""
    torch.manual_seed(0)
    hidden = LIF(tau=5.0, recurrent=nn.Linear(20, 20, bias=False))
    first, second = nn.Linear(10, 20), nn.Linear(20, 4)
    with torch.no_grad():
        first.weight.mul_(4.0)
        second.weight.mul_(4.0)
    return SpikingNet(nn.Sequential(first, hidden, second, LIF(tau=3.0))).eval()


def main() -> None:
    """Write, certify and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/exchange"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/nir.png"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    model, x = network(), (torch.rand(8, 100, 10) < 0.3).float()
    for target in (None, *READERS):
        name = target or "nir"
        try:
            graph = to_nir(model, x, target=target)
        except NIRError as error:
            print(f"{name}: {error}\n")
            continue
        nir.write(options.folder / f"{name}.nir", graph)
        print(f"{name}: {options.folder / f'{name}.nir'}\n{verify_nir(graph, x)}\n")
    picture(plan_of(to_nir(model, x))).savefig(options.picture, dpi=150)
    print(f"picture in {options.picture}")


if __name__ == "__main__":
    main()
