"""Convert events of a camera, (t, x, y, p), to a sequence of steps, and back."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch import validation as checks

OWNER = "events_to_sequence"
Events = np.ndarray[Any, Any] | Sequence[Tensor]


class _Events(NamedTuple):
    """Columns of the events, each of shape (E,): t is int64 or float64, the others int64."""

    t: Tensor
    x: Tensor
    y: Tensor
    p: Tensor


def events_to_sequence(
    events: Events,
    nsteps: int,
    sensor_size: Sequence[int],
    *,
    duration: float | None = None,
    dt: float | None = None,
    start: float | None = None,
    binary: bool = False,
    clip: bool = False,
) -> Tensor:
    """Count the events of each pixel and polarity in equal bins of time.

        s[k, p, y, x] = number of events (t, x, y, p) with  start + k dt <= t < start + (k + 1) dt,     k = 0 .. T - 1

    So an event at a border belongs to the later bin. The window is given in one of three ways:

    - ``dt``, the width of a bin. An event before the start, or at or after ``start + nsteps dt``, is an error, or is
      left out with ``clip=True``.
    - ``duration``: the same with ``dt = duration / nsteps``.
    - Neither: the window goes from the start to the last event, which belongs to the last bin.

    Integer times, such as microseconds, are compared with the borders without rounding if start, dt and duration are
    integers as well. Other times are compared in float64 with start + k dt, or start + k duration / nsteps, computed in
    this order. If t and start are integers, t - start is compared with the second term.

    Args:
        events: a structured numpy array with the fields t, x, y and p, as in the package tonic; or four tensors (t, x,
            y, p) of shape (E,). The field y may be missing if the sensor is one row. Times do not decrease. If P is 1,
            p may be any whole number, the same for all events.
        nsteps: number of bins T.
        sensor_size: (width W, height H, polarities P), in the order of tonic.
        duration: length of the window, in the unit of t.
        dt: width of a bin, in the unit of t.
        start: start of the first bin; the first event by default.
        binary: 1 for a pixel with any event, in place of the count.
        clip: leave out the events outside of the window or the sensor, as for a recording that is cut to its first
            bins, or to a corner of the sensor. If none is left, all counts are zero. By default they are errors. A
            polarity that does not exist is always an error.

    Returns:
        Counts, float32, shape (T, P, H, W), on the device of the events.

    Raises:
        ValueError: there are no events, or times decrease. An event is outside of the sensor, the polarities or the
            window. Both duration and dt are given, or one of them is not above 0. With ``clip`` there may be no events.
        TypeError: events are of another type, or coordinates are not integers.

    >>> t, x, y, p = (torch.tensor(column) for column in ([0, 4, 10, 19], [0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1]))
    >>> sequence = events_to_sequence((t, x, y, p), nsteps=2, sensor_size=(2, 1, 2), dt=10)
    >>> sequence.shape
    torch.Size([2, 2, 1, 2])
    >>> sequence[:, 1, 0]  # p = 1
    tensor([[0., 1.],
            [0., 2.]])
    """
    T = checks.check_count(OWNER, "nsteps", nsteps)
    W, H, P = _sensor_size(sensor_size)
    columns = _columns(events, H, P, clip)
    _check_range("p", columns.p, P, "Polarities count from 0; of -1 and 1, p > 0 makes 0 and 1")
    if not clip:
        hint = "sensor_size is (width, height, polarities); clip=True leaves such events out"
        _check_range("x", columns.x, W, hint)
        _check_range("y", columns.y, H, hint)
    _check_order(columns.t)
    window = _window(columns.t, T, duration, dt, start, clip)
    if clip:
        x, y = columns.x, columns.y
        inside = (x >= 0) & (x < W) & (y >= 0) & (y < H) & _in_window(columns.t, *window)
        columns = _Events(*(column[inside] for column in columns))
    k = _bins(columns.t, T, dt, *window)
    pixel = ((k * P + columns.p) * H + columns.y) * W + columns.x
    counts = torch.bincount(pixel, minlength=T * P * H * W).reshape(T, P, H, W)
    return (counts.clamp(max=1) if binary else counts).float()


def sequence_to_events(sequence: Tensor, *, dt: float = 1, start: float = 0) -> np.ndarray[Any, Any]:
    """Return the events of a sequence of counts, each at the beginning of its bin.

        t = start + k dt

    for each of the ``s[k, p, y, x]`` events, ordered by k, then p, y and x. If float64 can tell these times apart,
    ``events_to_sequence(events, T, (W, H, P), dt=dt, start=start)`` returns the sequence again.

    Args:
        sequence: counts, whole numbers of 0 or more of any dtype, shape (T, P, H, W); take one sample of a batch.
        dt: width of a bin, above 0.
        start: time of the first bin.

    Returns:
        A structured array, shape (E,), with the fields x, y, p, int32, and t, int64, or float64 if dt or start is not a
        integer: the format of tonic's transforms.

    Raises:
        ValueError: the sequence has another number of axes, or entries that are not counts; dt is not above 0; a time
            is too large for int64.
        TypeError: the sequence is not a tensor, or dt or start is not a number.

    >>> sequence = torch.zeros(3, 2, 1, 1)
    >>> sequence[2, 1] = 2
    >>> sequence_to_events(sequence, dt=1000)[["t", "p"]].tolist()
    [(2000, 1), (2000, 1)]
    """
    owner = "sequence_to_events"
    if not isinstance(sequence, Tensor):
        raise TypeError(f"{owner}: the sequence is a {type(sequence).__name__}, expected a torch.Tensor")
    if sequence.ndim != 4:
        raise ValueError(
            f"{owner}: the sequence has shape {tuple(sequence.shape)}, expected (T, P, H, W): steps, polarities, "
            "height, width. Of a batch, take one sample"
        )
    _check_number(owner, "dt", dt, above=0.0)
    _check_number(owner, "start", start)
    values = sequence.detach().cpu()
    counts = values.long()
    if values.is_complex() or not ((counts == values) & (counts >= 0)).all():
        raise ValueError(
            f"{owner}: the sequence holds entries that are not counts, expected whole numbers of 0 or more"
        )
    where = counts.nonzero()
    k, p, y, x = where.repeat_interleave(counts[tuple(where.T)], 0).T.numpy()
    whole = isinstance(dt, Integral) and isinstance(start, Integral)
    # numpy would let them overflow
    if whole and abs(int(start)) + max(len(sequence), 1) * int(dt) >= 2**63:
        raise ValueError(
            f"{owner}: start={start!r} and {len(sequence)} steps of dt={dt!r} make times too large for int64; give "
            "both in a larger unit, or as floats"
        )
    fields = [("x", np.int32), ("y", np.int32), ("t", np.int64 if whole else np.float64), ("p", np.int32)]
    events = np.empty(len(k), np.dtype(fields))
    events["x"], events["y"], events["t"], events["p"] = x, y, start + k * dt, p
    return events


def _check_number(owner: str, name: str, value: Any, *, above: float | None = None) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{owner}: {name} is a {type(value).__name__}, expected a number, in the unit of t")
    checks.check_parameter(owner, name, value, above=above)


def _sensor_size(sensor_size: Sequence[int]) -> tuple[int, int, int]:
    sizes = checks.check_shape(OWNER, "sensor_size", sensor_size) if isinstance(sensor_size, tuple | list) else ()
    if len(sizes) != 3:
        raise ValueError(
            f"{OWNER}: sensor_size={sensor_size!r}, expected (width, height, polarities), such as (34, 34, 2)"
        )
    W, H, P = sizes
    return W, H, P


def _columns(events: Any, H: int, P: int, may_be_none: bool) -> _Events:
    """Return the columns of the events as tensors."""
    expected = "expected a structured array with the fields t, x, y, p, or four tensors (t, x, y, p)"
    if isinstance(events, np.ndarray):
        names = events.dtype.names or ()
        missing = {"t", "x", "p"} - {*names} or ({"y"} - {*names} if H > 1 else set())
        if missing:
            raise TypeError(
                f"{OWNER}: events is an array with the fields {names}, without {sorted(missing)}; {expected}"
            )
        columns = [_tensor(events[name]) if name in names else None for name in _Events._fields]
        t, x, y, p = (column if column is not None else torch.zeros(len(events)).long() for column in columns)
    elif isinstance(events, tuple | list) and len(events) == 4 and all(isinstance(c, Tensor) for c in events):
        t, x, y, p = events
    else:
        raise TypeError(f"{OWNER}: events is a {type(events).__name__}, {expected}")
    shapes = [tuple(column.shape) for column in (t, x, y, p)]
    if len(shapes[0]) != 1 or len({*shapes}) > 1:
        raise ValueError(f"{OWNER}: t, x, y, p have the shapes {shapes}, expected one axis (E,) of the same length")
    if shapes[0] == (0,) and not may_be_none:
        raise ValueError(f"{OWNER}: there are no events. The sequence of none is torch.zeros(nsteps, P, H, W)")
    for name, column in (("x", x), ("y", y), ("p", p)):
        if column.is_floating_point() or column.is_complex():
            raise TypeError(f"{OWNER}: {name} has dtype {column.dtype}, expected integers; round them, and convert")
    if t.dtype == torch.bool or t.is_complex():
        raise TypeError(f"{OWNER}: t has dtype {t.dtype}, expected times")
    t = t.double() if t.is_floating_point() else t.long()
    if not t.isfinite().all():
        raise ValueError(f"{OWNER}: t holds NaN or infinite values. Look at the recording")
    if P == 1 and (p == p[:1]).all():
        p = torch.zeros_like(p)
    return _Events(t, x.long(), y.long(), p.long())


def _tensor(column: np.ndarray[Any, Any]) -> Tensor:
    """Return a field of a structured array, which is not contiguous, as a tensor."""
    if column.dtype.kind == "u":
        if column.dtype.itemsize == 8 and column.size and column.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{OWNER}: a value of {column.max()} does not fit int64. Subtract the first time from all")
        column = column.astype(np.int64)
    if column.dtype.kind not in "bif":
        raise TypeError(f"{OWNER}: a field has dtype {column.dtype}, expected numbers")
    native = column.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(column, dtype=native if column.dtype.itemsize <= 8 else np.float64))


def _check_range(name: str, column: Tensor, size: int, hint: str) -> None:
    outside = (column < 0) | (column >= size)
    if outside.any():
        i = int(outside.nonzero()[0, 0])
        raise ValueError(f"{OWNER}: event {i} has {name}={int(column[i])}, expected 0 to {size - 1}. {hint}")


def _check_order(t: Tensor) -> None:
    earlier = t[1:] < t[:-1]
    if earlier.any():
        i = int(earlier.nonzero()[0, 0])
        raise ValueError(
            f"{OWNER}: times decrease from {t[i].item()} to {t[i + 1].item()} at event {i + 1}; sort them by time: "
            "events[np.argsort(events['t'], kind='stable')]"
        )


def _window(
    t: Tensor, T: int, duration: float | None, dt: float | None, start: float | None, clip: bool
) -> tuple[float, float, bool]:
    """Return the start and the length of the window, and whether its end belongs to it; unless clip, all lie in it."""
    if duration is not None and dt is not None:
        raise ValueError(f"{OWNER}: duration={duration!r} and dt={dt!r} both say how wide a bin is; give one of them")
    for name, value in (("duration", duration), ("dt", dt), ("start", start)):
        if value is not None:
            _check_number(OWNER, name, value, above=None if name == "start" else 0.0)
    if len(t) == 0:
        return 0, 1, True
    first, last = t[0].item(), t[-1].item()
    start = first if start is None else _whole(start)
    if first < start and not clip:
        raise ValueError(
            f"{OWNER}: the first event is at t={first}, before start={start}. Lower start, or leave such events out "
            "with clip=True"
        )
    if duration is None and dt is None:
        if last <= start:
            raise ValueError(
                f"{OWNER}: no event is later than the start, t={start}, which leaves bins no width. Give duration or dt"
            )
        return start, last - start, True
    length = _whole(duration) if duration is not None else T * _whole(dt or 0)
    if clip:
        return start, length, False
    if last - start >= length if isinstance(last, int) and isinstance(start, int) else last >= start + length:
        raise ValueError(
            f"{OWNER}: the last event is at t={last}, expected times below start + duration = {start + length} "
            f"({start} + {length}). Raise nsteps or the width of a bin, or leave later events out with clip=True"
        )
    return start, length, False


def _in_window(t: Tensor, start: float, length: float, closed: bool) -> Tensor:
    """Return which times lie in a window. Integers are compared with integers, so that nothing is rounded."""
    low, high = start, start + length
    if not t.is_floating_point():
        high = start + math.ceil(length) if isinstance(start, int) else math.ceil(high)
        low, high = max(math.ceil(low), -(2**63)), min(high, 2**63 - 1)
    return (t >= low) & ((t < high) | closed)


def _bins(t: Tensor, T: int, dt: float | None, start: float, duration: float, closed: bool) -> Tensor:
    """Return the bin of each time: the last k with start + k duration / T <= t. If closed, the last bin has the end."""
    whole = not t.is_floating_point() and isinstance(start, int)
    if whole and isinstance(duration, int) and T * duration < 2**63:
        k = (t - start) * T // duration
    else:
        steps = torch.arange(T + 1, dtype=torch.float64, device=t.device)
        borders = steps * duration / T if dt is None else steps * _whole(dt)
        # integers are subtracted first: float64 may not hold the times, but it holds their distance from the start
        t, borders = (t - start, borders) if whole else (t, start + borders)
        k = torch.searchsorted(borders, t.double(), right=True) - 1
        closed = True  # the window was checked, so only rounding can put a time at its end
    return k.clamp(max=T - 1) if closed else k


def _whole(value: Any) -> float:
    """Return a number as an int if its value is one: an integer of numpy, or a float without a fraction."""
    return int(value) if isinstance(value, Integral) or float(value).is_integer() else float(value)
