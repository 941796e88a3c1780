"""Explain to users what runs a scan, and why."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from spikingtorch.functional.core.names import level_of_user, step_name
from spikingtorch.functional.fused.errors import NotFusible, NothingCompiles, UseLoop
from spikingtorch.functional.fused.ir import from_text
from spikingtorch.functional.fused.runtime.recurrent.synapses import IN_C
from spikingtorch.functional.fused.trace.programs import TracedStep


class Explanation(NamedTuple):
    """What runs a scan, and the reason.

    Attributes:
        backend: "fused", "compile" or "loop"; of a layer that no scan runs, what does.
        exactness: "reference" for the loop. "E": spikes and states have the bits of the loop. "T": they depend on a
            function such as exp, which is within 2 units in the last place.
        reason: a sentence.
    """

    backend: str
    exactness: str
    reason: str

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason}"


def explain(plan: TracedStep | NotFusible) -> Explanation:
    """Return the choice of ``choose`` as an explanation for users."""
    if isinstance(plan, NotFusible):
        return Explanation("loop", "reference", f"one step after the other in Python, because the step {plan}")
    if (found := from_text(plan.program).product) is not None:
        synapse = "dense" if found.synapse == IN_C else found.synapse
        product = f"one compiled time loop, with one product a step ({synapse})"
        return Explanation("fused", "T", f"{product}; equal to the loop but for rounding")
    if not plan.inexact:
        return Explanation("fused", "E", "one compiled time loop; bit-identical to the loop")
    inexact = ", ".join(plan.inexact)
    return Explanation("fused", "T", f"one compiled time loop; equal to the loop but for rounding, by {inexact}")


def warn(step: Callable[..., Any], refusal: NotFusible) -> None:
    """Warn once that a step has run on the loop, unless the loop is the right way to run it."""
    if isinstance(refusal, NothingCompiles):
        _warn_once(f"scan: neurons run on the Python loop (slower) because {refusal.reason}")
    elif not isinstance(refusal, UseLoop):
        _warn_once(f"scan: {step_name(step)} ran on the Python loop (slower) because it {refusal}")


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=level_of_user())
