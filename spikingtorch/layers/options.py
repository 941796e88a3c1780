"""The constructors of layers: those that a class declares without a body, and checked options that become arguments."""

import inspect
import math
import warnings
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar, cast, get_args

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.names import level_of_user, step_name
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.recurrent import Weights
from spikingtorch.layers.returns import Returns
from spikingtorch.validation import check_parameter, value_range

Value: TypeAlias = Tensor | float
Learnable: TypeAlias = bool | str | Iterable[str]

# arguments whose None stands for the default
_DEFAULT = ("threshold", "surrogate")
TAU = 8.0  # default membrane time constant, in steps


class StepOptions(TypedDict, total=False):
    """The options of every layer besides the parameters of its neuron; StepLayer documents them."""

    learnable: Learnable
    recurrent: Weights | None
    constrain: bool | Literal["mirror"]
    refractory: Value | None
    returns: Returns


class Options(StepOptions, total=False):
    """The options of a layer whose times are in steps, or in the unit of ``dt``, the length of a step."""

    dt: float


class OlderOptions(Options, total=False):
    """The options of a layer that the older package has, with its names of threshold and slope."""

    v0: Value
    thr: Value
    beta: float


# of the options that a signature shows
DEFAULTS = {"learnable": (), "recurrent": None, "constrain": True, "refractory": None, "returns": SPIKES, "dt": 1.0}


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


def warn_of_beta(owner: str, beta: Any) -> None:
    """Warn if the slope of the surrogate looks like a decay: below one, where neither a tau nor a decay is given."""
    if _is_share(beta):
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
        own, more = _named(kind.__init__)
        known = [*own][1:]
        if "step" in known:  # a StepLayer takes the arguments of its step
            known = [*[*takes][2:], *[name for name in known if name in DEFAULTS]]
        elif more:
            known += [name for name in DEFAULTS if name not in own]
        # a layer may also store what its step takes in another form
        wrong = [name for name in unknown if name in given] or [name for name in given if name not in (*takes, *known)]
        wrong = wrong or unknown
        raise TypeError(f"{kind.__name__}: there is no argument {wrong[0]!r}; it takes {', '.join(known)}")
    if missing := [name for name in _needed(step) if name not in handed]:
        if own_map := _own_map(kind):
            raise TypeError(
                f"{kind.__name__}: {step_name(step)} needs {' and '.join(missing)}, and {own_map} returns only "
                f"{', '.join(handed) or 'an empty dict'}. It has to return every argument of the step, also those "
                "that it does not compute: {**stored, ...}"
            )
        made = kind.__name__ if "step" in _named(kind.__init__)[0] else "super().__init__"
        called = step_name(step)
        first = called if called.isidentifier() else "step"
        written = [first, getattr(state, "__name__", "..."), *[f"{name}=..." for name in missing]]
        raise TypeError(f"{kind.__name__}: {called} needs {' and '.join(missing)}; write {made}({', '.join(written)})")


def _own_map(kind: type[Any]) -> str | None:
    """Return the method of a user's class that computes the arguments of the step, if there is one."""
    names = ("step_params", "param_map")
    homes = {name: next(base for base in kind.__mro__ if name in vars(base)) for name in names}
    return next((name for name, home in homes.items() if not home.__module__.startswith("spikingtorch.")), None)


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


def arguments(*older: str, slope: float = 5.0) -> Callable[[Constructor], Constructor]:
    """Complete the arguments of a constructor whose ``**options`` are a TypedDict of this file.

    - Its signature lists the options, so that help and editors show them.
    - It notes its one argument without a name, if that may be meant as a number of neurons.
    - With ``older``, it takes the arguments of the older package, which its signature does not show.

    Args:
        *older: names of the older arguments in their order: v0 or thr is the threshold, beta is Sigmoid(beta).
        slope: beta by default.
    """

    def complete(constructor: Constructor) -> Constructor:
        signature = _with_options(constructor)
        first = next(iter([*signature.parameters.values()][1:]), None)

        @wraps(constructor)
        def completed(*args: Any, **kwargs: Any) -> None:
            layer: Any = args[0]
            given: Any = args[1] if len(args) == 2 else None
            whole = isinstance(given, Integral) and type(layer).__init__ is completed
            if whole and first is not None and given != first.default:
                object.__setattr__(layer, "_unnamed", (first.name, int(given)))
            if older:
                args, kwargs = args[:1], _newer(layer, older, slope, args[1:], kwargs)
            constructor(*args, **kwargs)

        noted: Any = completed
        noted.__signature__ = signature
        return cast(Constructor, noted)

    return complete


def _with_options(constructor: Callable[..., None]) -> inspect.Signature:
    """Return the signature of a constructor, with its options one by one, and without older arguments."""
    signature = inspect.signature(constructor)
    named = [each for each in signature.parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    options = signature.parameters.get("options")
    listed = (
        get_args(options.annotation)[0].__annotations__ if options is not None and get_args(options.annotation) else ()
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    named += [inspect.Parameter(name, kind, default=DEFAULTS[name]) for name in listed if name in DEFAULTS]
    return signature.replace(parameters=named)


def _newer(
    layer: Any, older: tuple[str, ...], slope: float, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a constructor by their names, from those of the older package."""
    owner = type(layer).__name__
    if len(args) > len(older):
        raise TypeError(f"{owner}: got {len(args)} arguments without a name, expected {', '.join(older)} at most")
    given = dict(zip(older, args, strict=False))
    if twice := [name for name in given if name in kwargs]:
        raise TypeError(f"{owner}: got {twice[0]} twice, by its place and by its name")
    given |= {name: value for name, value in kwargs.items() if value is not None or name not in _DEFAULT}
    threshold = next(name for name in older if name in ("v0", "thr"))
    if threshold in given:
        if "threshold" in given:
            raise ValueError(
                f"{owner}: {threshold}={given[threshold]!r} and threshold={given['threshold']!r} are the same "
                "parameter; give one of them"
            )
        if threshold in kwargs:  # messages have the name that the user wrote
            object.__setattr__(layer, "_older_name", threshold)
        given["threshold"] = given.pop(threshold)
    if "beta" in given:
        beta, surrogate = given.pop("beta"), given.get("surrogate")
        check_parameter(owner, "beta", beta, above=0.0)
        if surrogate is not None and beta != slope:
            raise ValueError(
                f"{owner}: beta={beta!r} is the slope of the default surrogate, give it to {surrogate!r} instead"
            )
        if "decay" in older and not given.keys() & {"tau", "decay"}:
            warn_of_beta(owner, beta)
        given.setdefault("surrogate", F.Sigmoid(beta))
    return given


def constructor_of(
    *first: Any, older: tuple[str, ...] = (), slope: float = 5.0, **more: Any
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Complete a constructor without a body: it passes its arguments by name to the constructor of the base class.

    The entries of ``**options`` become separate arguments; a dict of another name is passed on as it is.

    Args:
        *first: the arguments of the base class before them: a step and the type of its state.
        older: as in ``arguments``.
        slope: likewise.
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
        home = declared.__module__, declared.__qualname__.rpartition(".")[0]

        @wraps(declared)
        def constructor(*args: P.args, **kwargs: P.kwargs) -> None:
            declared(*args, **kwargs)  # raises TypeError if there are too many or too few
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            params = dict(given.arguments)
            layer, options = params.pop("self"), params.pop("options", {})
            params.pop("older", None)
            # by name: somebody may have put a wrapper in the place of this constructor
            owner: Any = next(kind for kind in type(layer).__mro__ if (kind.__module__, kind.__qualname__) == home)
            super(owner, layer).__init__(*first, **more, **params, **options)

        return arguments(*older, slope=slope)(constructor)

    return complete
