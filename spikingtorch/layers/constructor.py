"""Constructors that a class declares without a body."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")


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
            owner: Any = next(kind for kind in type(layer).__mro__ if vars(kind).get("__init__") is constructor)
            super(owner, layer).__init__(*first, **more, **params, **options)

        return constructor

    return complete
