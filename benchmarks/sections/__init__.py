"""The sections, in the order in which they run.

To add one, write a module with a ``SECTION`` and name it here. Whatever it wants timed must be a case that
``workloads.build`` knows; its bars have their limits in ``bars.py``.
"""

from benchmarks.section import Section
from benchmarks.sections import bandwidth, first_call, functions, growth, libraries, memory, neurons, sweep

SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION
    for module in (libraries, bandwidth, neurons, functions, first_call, memory, growth, sweep)
}
