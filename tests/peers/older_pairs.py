"""Layers of spikingtorch 0.1.3 and ours. Its package has our name: its one file is loaded from where it lies."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikingtorch import like
from tests.peers.pair import Pair, Theirs

FOLDER = Path(sys.prefix) / "older"  # `make test-peers` puts it there


def older() -> Any:
    """Return the layers of spikingtorch 0.1.3, as a module of another name."""
    spec = importlib.util.spec_from_file_location("older_spikingtorch_layers", FOLDER / "spikingtorch" / "layers.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"spikingtorch 0.1.3 is not in {FOLDER}; run make test-peers")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pair(name: str, kind: str, *, mean: float, **options: float) -> Pair:
    def theirs() -> Theirs:
        layer = getattr(older(), kind)(**options)

        def run(xs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
            if kind == "McPitts":
                return torch.stack([layer(x) for x in xs]), {}
            outs = torch.stack([layer(x, init=(t == 0)) for t, x in enumerate(xs)])
            # ours is the membrane after the reset, theirs that before it
            return outs, {"v": (1 - layer.s) * layer.v}

        return Theirs(run)

    return Pair(f"older {name}", lambda: getattr(like.older, kind)(**options), theirs, mean)


PAIRS = [
    _pair("IF", "IF", mean=0.2, v0=0.9),
    _pair("LIF", "LIF", mean=0.3, tau=5.0, beta=3.0),
    _pair("LIF decay", "LIF", mean=0.2, decay=0.8),
    _pair("McPitts", "McPitts", mean=0.2, thr=0.4),
    _pair("SpikingDecay", "SpikingDecay", mean=0.4, tau=3.0),
    _pair("CoarseLIF", "CoarseLIF", mean=0.4, tau=5.0),
]
