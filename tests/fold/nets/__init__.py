"""Networks, each with a reason why it is here, with what mode "auto" is to make of it.

Each is in the table once; operations by themselves are in tests/fold/corpus/operations.py, and what changes between
calls of a network is in tests/fold/attacks.

entry       what a network of the table is
vectors     vectors of features, each sample by itself
sequences   tokens within a sample
images      images within a sample
norms       batch norm, called in ways of its own
mixing      samples that mix, or know their place in the batch
effects     gradients that mix, and random numbers that all samples share
counts      counts of calls, wherever they are kept
state       tensors that are kept from step to step, and values that Python sees
inits       init, and spiking layers
hidden      what a proof by noise may not see
published   networks as users write them
runs        how a network of the table is run, and what two runs differ in
"""

from collections import Counter
from itertools import chain

from tests.fold.nets.counts import COUNTED
from tests.fold.nets.effects import EFFECTS
from tests.fold.nets.entry import Entry
from tests.fold.nets.hidden import HIDDEN
from tests.fold.nets.images import IMAGES
from tests.fold.nets.inits import INITS
from tests.fold.nets.mixing import MIXING
from tests.fold.nets.norms import NORMS
from tests.fold.nets.published import PUBLISHED
from tests.fold.nets.sequences import SEQUENCES
from tests.fold.nets.state import STATE
from tests.fold.nets.vectors import VECTORS

_PARTS = (VECTORS, SEQUENCES, IMAGES, NORMS, MIXING, EFFECTS, COUNTED, STATE, INITS, HIDDEN, PUBLISHED)
TABLE: dict[str, Entry] = dict(chain.from_iterable(part.items() for part in _PARTS))

_TWICE = [name for name, count in Counter(chain.from_iterable(_PARTS)).items() if count > 1]
if _TWICE:
    raise ValueError(f"several networks of the table have these names: {_TWICE}")
