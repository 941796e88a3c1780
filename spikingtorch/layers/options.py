"""The constructors of layers: those that a class declares without a body, and checked options that become arguments."""

import inspect
import math
import warnings
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeAlias, TypedDict, TypeVar, cast

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.names import level_of_user, step_name
from spikingtorch.layers.recurrent import Weights
from spikingtorch.layers.returns import Returns
from spikingtorch.validation import value_range

Value: TypeAlias = Tensor | float
Learnable: TypeAlias = bool | str | Iterable[str]

TAU = 8.0  # default membrane time constant, in steps


class StepOptions(TypedDict, total=False):
    """The options of every layer besides the parameters of its neuron; StepLayer documents them."""

    learnable: Learnable
    recurrent: Weights | None
    constrain: bool
    refractory: Value | None
    returns: Returns


class Options(StepOptions, total=False):
    """The options of a layer whose times are in steps, or in the unit of ``dt``, the length of a step."""

    dt: float


def tau_or_decay(owner: str, tau: Value, decay: Value | None) -> dict[str, Any]:
    """Return tau or decay, whichever was given; raise if both were given."""
    if decay is None:
        return {"tau": tau}
    if isinstance(tau, Tensor) or tau != TAU:
        raise ValueError(
            f"{owner}: tau={tau!r} and decay={decay!r} both say how much of the membrane is kept; give one of them"
        )
    return {"decay": decay}


def warn_of_tau(kind: type[Any], tau: Any) -> None:
    """Warn if a time constant in steps is shorter than one step: it may be a decay, or a time in another unit."""
    if not _is_share(tau):
        return
    owner = kind.__name__
    same = f"decay={tau:g}" if "decay" in _named(kind.__init__)[0] else f"tau={-1.0 / math.log(tau):.4g}"
    _warn(
        f"{owner}: tau={tau:g} is a time constant, in steps, and shorter than one step: its decay over a step is "
        f"exp(-1 / {tau:g}) = {math.exp(-1.0 / tau):.2g}. For a decay of {tau:g}, beta={tau:g} of snnTorch, write "
        f"{owner}({same}); for a time in another unit, give dt, the length of a step: {owner}(tau={tau:g}, dt=...)"
    )


def warn_of_beta(owner: str, beta: Any, tau: Value, decay: Value | None) -> None:
    """Warn if the slope of the surrogate looks like a decay: below one, and given without a tau or a decay."""
    # compare with the default object: an 8.0 in the user's code is another object
    if decay is not None or tau is not TAU or not _is_share(beta):
        return
    _warn(
        f"{owner}: beta={beta:g} is the slope of the surrogate, and the decay is that of tau={TAU:g} steps. For a "
        f"decay of {beta:g}, beta={beta:g} of snnTorch, write {owner}(decay={beta:g}); for this slope, "
        f"{owner}(surrogate=Sigmoid({beta:g}))"
    )


def warn_of_threshold(owner: str, name: str, value: Any, rest: Any, surrogate: Any) -> None:
    """Warn if a threshold is not above the membrane at rest."""
    low, _ = (value_range(owner, name, value) or (math.inf, 0)) if isinstance(value, Tensor) else (value, value)
    if isinstance(rest, int | float) and (low < rest or (low == rest and not isinstance(surrogate, F.Strict))):
        _warn(
            f"{owner}: {name}={low:g} is not above the membrane at rest, {rest:g}, so that neurons fire at each step "
            "without input. Give a threshold above it; McPitts compares its input with any threshold"
        )


def warn_of_shape(owner: str, unnamed: tuple[str, int] | None, values: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Warn if a parameter may be meant as the number of neurons, or as a value for each channel.

    ``unnamed`` is a whole number that was given without its name, and ``shape`` that of a sample of the first input.
    """
    inputs = f"a sample of the input, {shape}, has as many channels"
    if unnamed is not None and unnamed[1] in shape[:1]:
        call = "{}({}={})".format(owner, *unnamed)
        _warn(
            f"{owner}: {owner}({unnamed[1]}) means {call}, and {inputs}. A layer takes its number of neurons from its "
            f"input, so give none; write {call} if that is meant"
        )
    for name, value in values.items():
        each = tuple(value.shape) if isinstance(value, Tensor) else ()
        if len(shape) > 2 and each == shape[:1] == shape[-1:] != (1,):
            ones = (1,) * (len(shape) - 1)
            _warn(
                f"{owner}: {name} of shape {each} has a value for each entry of the last axis, and {inputs}. For a "
                f"value per channel, write {name}.view{each + ones}; for what is computed now, {name}.view{ones + each}"
            )


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=level_of_user())


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0.0 < float(value) < 1.0


def check_arguments(
    kind: type[Any], step: Callable[..., Any], state: type[Any], given: Iterable[str], handed: Collection[str]
) -> None:
    """Raise if a class of layers has an argument that its step does not take, or lacks one that the step needs.

    ``given`` are the arguments of the layer's constructor, ``handed`` those of its step, computed from them.
    """
    takes, any_name = _named(step)
    if not any_name and (unknown := [name for name in handed if name not in takes]):
        own, takes_options = _named(kind.__init__)
        known = [*takes][2:] if "step" in own else [*own][1:]  # a StepLayer takes the arguments of its step
        known += Options.__annotations__ if takes_options else ()
        wrong = [name for name in given if name not in (*takes, *known)] or unknown
        raise TypeError(f"{kind.__name__}: there is no argument {wrong[0]!r}; it takes {', '.join(known)}")
    if missing := [name for name in _needed(step) if name not in handed]:
        made = kind.__name__ if "step" in _named(kind.__init__)[0] else "super().__init__"
        called = step_name(step)
        first = called if called.isidentifier() else "step"
        written = [first, getattr(state, "__name__", "..."), *[f"{name}=..." for name in missing]]
        raise TypeError(f"{kind.__name__}: {called} needs {' and '.join(missing)}; write {made}({', '.join(written)})")


def _needed(step: Callable[..., Any]) -> list[str]:
    """Return the arguments after state and input without a default, of a step and of the steps inside it."""
    own, any_name = _named(step)
    needed = [name for name, each in [*own.items()][2:] if each.default is each.empty]
    inside = getattr(step, "step", None)
    if any_name and callable(inside) and type(step).__module__.startswith("spikingtorch."):  # it passes the others on
        needed += [name for name in _needed(inside) if name not in own]
    return needed


def _named(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the named arguments of a function, and whether it takes others, as far as its signature shows."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}, True
    named = {name: each for name, each in found.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    return named, any(each.kind is each.VAR_KEYWORD for each in found.values())


P = ParamSpec("P")
Constructor = TypeVar("Constructor", bound=Callable[..., None])


def noting(constructor: Constructor) -> Constructor:
    """Let a constructor note its one argument without a name, if that may be meant as a number of neurons."""
    first = [*inspect.signature(constructor).parameters.values()][1]

    @wraps(constructor)
    def noted(*args: Any, **kwargs: Any) -> None:
        layer: Any = args[0]
        given: Any = args[1] if len(args) == 2 else None
        if type(layer).__init__ is noted and isinstance(given, Integral) and given != first.default:
            object.__setattr__(layer, "_unnamed", (first.name, int(given)))
        constructor(*args, **kwargs)

    return cast(Constructor, noted)


def constructor_of(*first: Any, **more: Any) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Complete a constructor without a body: it passes its arguments by name to the constructor of the base class.

    The entries of ``**options`` become separate arguments; a dict of another name is passed on as it is.

    Args:
        *first: the arguments of the base class before them: a step and the type of its state.
        **more: its other arguments.

    >>> from spikingtorch import StepLayer, functional as F
    >>> class Halving(StepLayer):
    ...     @constructor_of(F.lif_step, F.LIFState)
    ...     def __init__(self, decay: float = 0.5, *, surrogate: F.Surrogate = F.Arctan(), **options: Any) -> None: ...
    >>> Halving(learnable="decay")
    Halving(decay=0.5 (learnable), surrogate=Arctan(alpha=2.0))
    """

    def complete(declared: Callable[P, None]) -> Callable[P, None]:
        signature = inspect.signature(declared)

        @wraps(declared)
        def constructor(*args: P.args, **kwargs: P.kwargs) -> None:
            declared(*args, **kwargs)  # raises TypeError if there are too many or too few
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            params = dict(given.arguments)
            layer, options = params.pop("self"), params.pop("options", {})
            owner: Any = next(kind for kind in type(layer).__mro__ if vars(kind).get("__init__") is noted)
            super(owner, layer).__init__(*first, **more, **params, **options)

        noted = noting(constructor)
        return noted

    return complete
