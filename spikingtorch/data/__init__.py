"""Data sets as datasets of torch, with the splits "train", "validation" and "test": heartbeats, and spoken digits.

Nothing is downloaded unless ``download=True`` asks for it. ``docs/data.md`` has recipes for other data sets.
"""

from spikingtorch.data.ecg import QTDB
from spikingtorch.data.speech import SpokenDigits, read_wav

__all__ = ["QTDB", "SpokenDigits", "read_wav"]
