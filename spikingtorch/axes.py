"""The first two axes of a sequence: samples and time or, with ``batch_first=False``, time and samples.

All inner code works on (N, T, ...). Public functions and modules convert the other order when they take and return it.
"""

from torch import Tensor


def samples_first(x: Tensor, batch_first: bool) -> Tensor:
    """Return a view with the first two axes exchanged, unless batch_first: of what comes in, and of what goes out."""
    return x if batch_first else x.transpose(0, 1)


def check_order(owner: str, batch_first: object) -> bool:
    """Return batch_first, or raise unless it is True or False."""
    if not isinstance(batch_first, bool):
        raise TypeError(
            f"{owner}: batch_first={batch_first!r} is a {type(batch_first).__name__}, expected True for sequences "
            "(N, T, ...) or False for (T, N, ...)"
        )
    return batch_first


def named(batch_first: bool, rest: str = "...") -> str:
    """Return the name of the axes for messages.

    >>> named(True), named(False, "classes")
    ('(N, T, ...)', '(T, N, classes)')
    """
    return f"({'N, T' if batch_first else 'T, N'}, {rest})"


def spelled(batch_first: bool) -> str:
    """Return the axes in words.

    >>> spelled(True), spelled(False)
    ('samples, steps', 'steps, samples')
    """
    return "samples, steps" if batch_first else "steps, samples"


def counted(N: int, T: int, batch_first: bool) -> str:
    """Describe how the axes of a sequence were interpreted.

    >>> counted(8, 1, batch_first=False)
    '(T, N, ...): 8 samples of 1 step'
    """
    return f"{named(batch_first)}: {N} sample{'s' * (N != 1)} of {T} step{'s' * (T != 1)}"


def sizes(x: Tensor, batch_first: bool) -> tuple[int, int]:
    """Return the numbers of samples and of steps of a sequence."""
    first, second = x.shape[:2]
    return (first, second) if batch_first else (second, first)
