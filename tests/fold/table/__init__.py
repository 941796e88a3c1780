"""Networks by what mode "auto" is wanted to make of them, and why.

case            a network, and how it is called
plain           vectors of features, each sample by itself
sequences       tokens within a sample
vision          images within a sample
norms           batch norm and its kin
mixing          samples that mix, or know their place in the batch
effects         gradients that mix, and random numbers that all samples share
state           what is kept from step to step, and values that Python sees
"""

from itertools import chain

from tests.fold.table.case import Between, Case
from tests.fold.table.effects import EFFECTS
from tests.fold.table.mixing import MIXING
from tests.fold.table.norms import NORMS
from tests.fold.table.plain import PLAIN
from tests.fold.table.sequences import SEQUENCES
from tests.fold.table.state import STATE
from tests.fold.table.vision import VISION

__all__ = ["TABLE", "Between", "Case"]

_PARTS = (PLAIN, SEQUENCES, VISION, NORMS, MIXING, EFFECTS, STATE)
TABLE: dict[str, Case] = dict(chain.from_iterable(part.items() for part in _PARTS))

if len(TABLE) != sum(len(part) for part in _PARTS):
    raise ValueError("two networks of the table have the same name")
