"""Constructors that a class declares without a body."""

import inspect
from collections.abc import Callable
from functools import wraps
from numbers import Integral
from typing import Any, ParamSpec, TypeVar, cast

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
