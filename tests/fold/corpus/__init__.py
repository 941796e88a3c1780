"""The corpus: networks that mode "auto" is asked about, each with a reason that no other has, which is its name.

entry       what an entry is: a network, what is made of it, how it is called, and what changes between two calls
samples     code that leaves samples to themselves
mixing      code that mixes them
sizes       code that looks at how many there are, or at how they lie in memory
effects     gradients that mix, and random numbers that all samples share
state       tensors that are kept from step to step, and values that Python sees
counts      counts of calls, wherever they are kept
inits       init, and spiking layers
changes, objects, packages      what changes between two calls: in modules, in objects, in modules of Python
operations*     operations by themselves, with a runner of their own, tests/fold/test_rules.py
runs        how a network is run, and what two runs differ in
outside     places outside of a network, with the same content at the beginning of each run
"""

from collections import Counter
from itertools import chain

from tests.fold.corpus.changes import CHANGES
from tests.fold.corpus.counts import COUNTED
from tests.fold.corpus.effects import EFFECTS
from tests.fold.corpus.entry import Entry, each_time
from tests.fold.corpus.inits import INITS
from tests.fold.corpus.mixing import MIXING, NORMS
from tests.fold.corpus.objects import OBJECTS
from tests.fold.corpus.packages import PACKAGES
from tests.fold.corpus.samples import SAMPLES
from tests.fold.corpus.sizes import SIZES
from tests.fold.corpus.state import STATE

_PARTS = SAMPLES, MIXING, NORMS, SIZES, EFFECTS, STATE, COUNTED, INITS, CHANGES, OBJECTS, PACKAGES
TABLE: dict[str, Entry] = dict(chain.from_iterable(part.items() for part in _PARTS))

_TWICE = [name for name, count in Counter(chain.from_iterable(_PARTS)).items() if count > 1]
if _TWICE:
    raise ValueError(f"several networks of the corpus have these names: {_TWICE}")

# what cannot be looked at, and what a proof must leave alone: each run of the tests has these as well
_EACH_TIME = (
    *("a generator goes on", "an iterator goes on", "an iterator that no code reads", "makes folders", "moves files"),
    *("a generator goes on from step to step", "an object of numpy's draws, and it shows rarely", "writes"),
    *("a method is cached", "a value between two settings of torch", "a variable that has no value", "slots"),
    *("a number that has no text", "a list that is too deep", "a class whose attributes are entries", "an array"),
    *("a generator of nobody", "a set in a dict", "a module that is no submodule trains"),
    *("a first parameter of a module", "a backward pass comes to mix", "one sample: draws in another order"),
    *("one sample: a clone is written on", "one sample: a tensor is written on, of several its copy"),
)
TABLE |= each_time({name: TABLE[name] for name in _EACH_TIME})
