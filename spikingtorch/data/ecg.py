"""Heartbeats: electrocardiograms as spikes, with a label for each step."""

import torch
from torch import Generator
from torch.utils.data import TensorDataset

from spikingtorch.data.files import Root, Source, Split, check_split, find

_HOME = (
    "https://raw.githubusercontent.com/AdaptiveAILab/brf-neurons/5d45b0e7d545f09b79d029bb40573200fde57fd7/experiments"
)
_DIGESTS = {
    "train": "72d1a10c96f1540880447e07256835d66da419c0b34f3dff495731a7928c5bc7",
    "test": "916f11e21679a5b61988305bbb7cd1e6df8b34f1ed4a157a7a4e295d400ef232",
}


class QTDB(TensorDataset):
    """ECG-QTDB: two leads of an electrocardiogram as spikes, with the part of the heartbeat at each step.

    A sample is (spikes, labels): float32 (1300, 4), where two channels say that a lead rises or falls by a level, and
    int64 (1300,), from 0 to 5 in the order of a heartbeat: P, PQ, QR, RS, ST, TP. The last of 1301 steps is cut off, as
    in papers. The 141 samples for tests are the published ones. Of the other 618, a seed draws 61 for validation.

    The files leave 8 % of the steps for training, and 10 % of those for tests, without a label. Papers count them as
    class 0. With ``unlabelled=-100``, ``cross_entropy`` leaves them out.

    Args:
        split: "train", "validation" or "test".
        seed: seed of the choice of samples for validation.
        unlabelled: label of the steps without one.
        root: folder with QTDB_train.mat and QTDB_test.mat. By default it is ecg/ in the folder that the environment
            variable SPIKINGTORCH_DATA names, or else in ~/.cache/spikingtorch/data.
        download: download what is missing; licence MIT.

    Raises:
        FileNotFoundError: there is no such file, and download is False.
        ImportError: scipy, or for a download pooch, is missing: ``pip install ".[data]"``.
        ValueError: the split is another one, or a download has a wrong checksum.

    Sources: P. Laguna et al., Computers in Cardiology 24, 673 (1997), the recordings; B. Yin, F. Corradi and S. M.
    Bohte, Nature Machine Intelligence 3, 905 (2021), https://doi.org/10.1038/s42256-021-00397-w, the spikes.
    """

    def __init__(
        self, split: Split, *, seed: int = 0, unlabelled: int = 0, root: Root = None, download: bool = False
    ) -> None:
        check_split("QTDB", split)
        file = "test" if split == "test" else "train"
        source = Source(f"ecg/QTDB_{file}.mat", f"{_HOME}/ecg/data/QTDB_{file}.mat", "MIT", _DIGESTS[file])
        path = find("QTDB", source, root, download)
        try:
            from scipy.io import loadmat
        except ImportError:
            raise ImportError('QTDB: files of MATLAB need the package scipy: pip install ".[data]"') from None
        content = loadmat(path)
        x, y = (torch.from_numpy(content[name][:, :-1].astype("float32")) for name in "xy")
        labels = y.argmax(2).masked_fill(y.sum(2) == 0, unlabelled)
        few = len(x) // 10
        order = torch.randperm(len(x), generator=Generator().manual_seed(seed))
        kept = {"train": order[few:], "validation": order[:few], "test": order}[split].sort().values
        super().__init__(x[kept], labels[kept])
