"""Check the gradients of a network's steps against an independent JAX implementation or finite differences."""

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.recorded import default_of
from spikingtorch.interop import to_jax
from spikingtorch.layers.reset_value import Valued
from spikingtorch.report.subjects import NEURONS, Subject, subjects_of
from spikingtorch.units import counted

Twin = Callable[..., Any]
_OURS = "spikingtorch.functional."
TWIN, DIFFERENCES = "twin in JAX", "finite differences"
# below this, a gradient is rounding
_NOTHING = 1e-9
# limit for finite differences, which need a run for each number
_FEW, _SHORT, _MOST = 3, 4, 600
_STOPPED = (
    "a gradient that is stopped on purpose, as detached(...) and some neurons do, is an error to finite differences"
)


class Checked(NamedTuple):
    """The result of the check of one step."""

    layers: tuple[str, ...]  # names of the layers that run the step
    step: str
    how: str  # the other side of the comparison; empty if there was none
    passed: bool | None  # None if it was not compared
    error: float | None  # the largest relative deviation, if it is a number
    words: str  # the compared quantities, or why there is no comparison


def check_gradients(model: Any, x: Tensor) -> list[Checked]:
    """Check the gradients of each step of a network once, with the parameters and the inputs of one of its layers."""
    try:
        subjects = subjects_of(model, x)
    except Exception as error:
        words = f"the network does not run in double precision on the CPU ({_said(error)})"
        return [Checked((), "all steps", "", None, None, words)]
    return [_checked(subject) for subject in subjects]


def _checked(subject: Subject) -> Checked:
    note = ""
    twin = twin_of(subject.step) if has_jax() else None
    if twin is not None and is_foreign(subject.params.get("surrogate")) and not subject.is_own:
        note = "; its surrogate has no twin"
    elif twin is not None:
        try:
            return _against_twin(subject, twin)
        except Exception as error:
            note = f"; the comparison with its twin failed: {_said(error)}"
    found = _against_differences(subject)
    return found._replace(words=found.words + note)


def _against_twin(subject: Subject, twin: Twin) -> Checked:
    """Compare outputs, the last state and all gradients, on the loop and on the compiled loop if there is one."""
    from spikingtorch.verification.trial import TOLERANCE, Trial, errors_by_backend

    driven, fired = subject.narrowed(NEURONS).driven() if subject.spikes else (subject.narrowed(NEURONS), True)
    trial = Trial(driven.step, twin, driven.state, driven.xs, driven.params)
    compiles = F.explain_scan(driven.step, driven.state, driven.xs, params=driven.params).backend == "fused"
    backends: tuple[F.Backend, ...] = ("loop", "fused") if compiles else ("loop",)
    found = errors_by_backend([trial], backends)
    errors = {(backend, name): error for backend, (each,) in found.items() for name, error in each.items()}
    allowed = TOLERANCE[trial.precision]
    vanishing = _vanishing(trial) if max(errors.values()) > allowed else set()
    kept = {key: error for key, error in errors.items() if key[1] not in vanishing}
    worst = max(kept.values())
    if worst <= allowed:
        loops = "in the Python loop and in the compiled one" if compiles else "in the Python loop"
        words = f"{_quantities(name for _, name in kept)}, {loops}"
    else:
        wrong = [name for (_, name), error in kept.items() if not error <= allowed]
        words = f"differ: {_quantities(wrong)}; allowed is {allowed:g}"
    words += f"; too small to compare: {_quantities(vanishing)}" if vanishing else ""
    unreached = "" if fired else "; no neuron fired in it, so that spike and reset were not reached"
    return Checked(driven.layers, driven.name, TWIN, worst <= allowed, worst, words + unreached)


def _vanishing(trial: Any) -> set[str]:
    """Return the names of gradients that are only rounding errors: sigmoids are flat to the last digits."""
    from spikingtorch.verification.trial import draw_cotangents, torch_results

    results = torch_results(trial, draw_cotangents(trial, torch.Generator().manual_seed(0)), "loop")
    return {name for name, each in results.items() if name.startswith("d ") and float(each.abs().max()) < _NOTHING}


def _against_differences(subject: Subject) -> Checked:
    """Compare the gradients of the smooth version of a step with finite differences."""
    from spikingtorch.testing import check_smooth

    short: Any = tree_map(lambda leaf: leaf[:_SHORT], subject.xs)
    few = subject._replace(xs=short).narrowed(_FEW)
    checked = Checked(few.layers, few.name, "", None, None, "")
    if few.detaches:
        return checked._replace(words=_STOPPED)
    if few.numbers > _MOST:
        return checked._replace(words=f"its {few.numbers:,} numbers depend on each other, too many for differences")
    driven, fired = few.driven() if few.spikes else (few, True)
    inside = default_of(driven.step, "surrogate")
    # check_smooth looks for the surrogate among the parameters of the outer step
    params = driven.params if inside is None else {"surrogate": inside, **driven.params}
    # a filter has no spike and is already smooth
    smooth = beside(driven.step, "smooth") if driven.spikes else driven.step
    try:
        check_smooth(driven.step, driven.state, driven.xs, params=params, smooth=smooth)
    except AssertionError as error:
        if not driven.is_own:
            return checked._replace(words=f"{_STOPPED}, and they do not agree here")
        return checked._replace(how=DIFFERENCES, passed=False, words=_said(error))
    except TypeError:
        return checked._replace(words="there is no surrogate with a primitive, which finite differences take")
    except Exception as error:
        return checked._replace(words=f"finite differences failed: {_said(error)}")
    if not fired:
        return checked._replace(words="no neuron fired in the check, so that it says nothing about spikes")
    words = "gradients of the smooth step, and no branch on a spike; the equation itself has no second implementation"
    return checked._replace(how=DIFFERENCES, passed=True, words=words)


def agreement(checks: Sequence[Checked]) -> str:
    """Return in one sentence how many steps were checked, and how many agree."""
    checked = [each for each in checks if each.passed is not None]
    wrong = [each for each in checked if not each.passed]
    left, steps = len(checks) - len(checked), counted(len(checks), "step")
    if not checked:
        return f"{steps}, not checked."
    rest = f"; {left} not checked" if left else ""
    if wrong:
        return f"{len(wrong)} of {steps} wrong{rest}."
    worst = max((each.error for each in checked if each.error is not None), default=None)
    deviation = "" if worst is None else f", with deviations up to {worst:.0e}"
    return f"{len(checked)} of {steps} checked and right{deviation}{rest}."


def _said(error: Exception) -> str:
    """Return the first line of an error."""
    text = (str(error).strip() or "?").splitlines()[0]
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"


def _quantities(names: Iterable[str]) -> str:
    """Return the names of the compared quantities for readers.

    >>> _quantities(["output", "state.v", "d xs", "d state.v", "d params.decay", "d params.decay"])
    'outputs, last state and the gradients of input, initial state, decay'
    """
    listed = sorted(names, key=lambda name: not name.startswith("d xs"))
    values = ["outputs"] if "output" in listed or any(name.startswith("output.") for name in listed) else []
    values += ["last state"] if any(name.startswith("state") for name in listed) else []
    gradients = dict.fromkeys(_of(name.removeprefix("d ")) for name in listed if name.startswith("d "))
    values += [f"the gradients of {', '.join(gradients)}"] if gradients else []
    return " and ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)


def _of(name: str) -> str:
    head, _, rest = name.partition(".")
    return {"xs": "input", "state": "initial state"}.get(head.partition("[")[0], rest or name)


def has_jax() -> bool:
    """Return True if JAX is installed."""
    return find_spec("jax") is not None


def is_foreign(value: Any) -> bool:
    """Return True if a surrogate holds a function that is not from the library, and therefore has no twin.

    >>> import torch
    >>> is_foreign(F.Strict(F.Sigmoid())), is_foreign(F.FromPrimitive(torch.tanh))
    (False, True)
    """
    if isinstance(value, tuple):
        return any([is_foreign(each) for each in value]) or not type(value).__module__.startswith(_OURS)
    return callable(value) and not str(getattr(value, "__module__", "")).startswith(_OURS)


def twin_of(step: Any) -> Twin | None:
    """Return the JAX implementation of a step, including its wrappers; None if there is none.

    The implementation of a user's step is ``<step>_twin`` in the module of the step.
    """
    if isinstance(step, F.Recurrent | F.Refractory | F.RelativeRefractory | Valued):
        inner = twin_of(step.step)
        if inner is None:
            return None
        return _valued(inner) if isinstance(step, Valued) else _namesake(step._replace(step=inner))
    return _namesake(step) if str(getattr(step, "__module__", "")).startswith(_OURS) else beside(step, "twin")


def beside(step: Any, kind: str) -> Twin | None:
    """Return ``<step>_<kind>`` of the module of a step, if there is one."""
    name = getattr(step, "__name__", None)
    found = getattr(sys.modules.get(str(getattr(step, "__module__", ""))), f"{name}_{kind}", None)
    return found if callable(found) else None


def _namesake(step: Any) -> Twin | None:
    try:
        found: Twin = to_jax(step)
    except TypeError:
        return None
    return None if found is step else found


def _valued(inner: Twin) -> Twin:
    """Return the twin of a step whose reset rule has its value beside it."""
    from spikingtorch.functional import jax_reference as J

    def twin(state: Any, x: Any, *, reset: Any, v_reset: Any, **params: Any) -> Any:
        rule: Any = J.to_value(v_reset)
        return inner(state, x, reset=J.detached(rule) if isinstance(reset, J.Detached) else rule, **params)

    return twin
