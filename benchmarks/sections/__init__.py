"""The sections, in the order in which they run.

To add one, write a module with a ``SECTION`` and name it here. Whatever it wants timed must be a case that
``workloads.build`` knows; its bars have their limits in ``bars.py``.
"""

from benchmarks.section import Section
from benchmarks.sections import (
    bandwidth,
    deep,
    digits,
    first_call,
    functions,
    growth,
    inference_memory,
    libraries,
    linear,
    memory,
    neurons,
    recurrent,
    sweep,
)

SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION
    for module in (
        libraries,
        bandwidth,
        neurons,
        functions,
        first_call,
        memory,
        growth,
        sweep,
        recurrent,
        digits,
        linear,
        deep,
        inference_memory,
    )
}
