"""Timing on a device: calls in turns, their memory and their kernels, and how they compare, as tables."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.report import number, table
from benchmarks.subject import Call, in_turns
from benchmarks.suite import OURS, Size

WARM_UP = 3


class Timed(NamedTuple):
    """A call, and whether it waits for its own device."""

    call: Call
    waits: bool = False


class Row(NamedTuple):
    """What came of a contestant: seconds of its calls, bytes beyond its inputs, kernels of a call; or why nothing."""

    seconds: Sequence[float] = ()
    memory: int = 0
    launches: int = 0
    note: str = ""


def seconds(timed: Timed, device: torch.device) -> float:
    """Return how long a call takes on its device."""
    if device.type == "cpu" or timed.waits:
        start = time.perf_counter()
        timed.call()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    timed.call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1e3


def cost(timed: Timed, device: torch.device) -> tuple[int, int]:
    """Return the bytes that a call needs at most, and how many kernels it launches; only a card says either."""
    if device.type == "cpu" or timed.waits:
        return 0, 0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    timed.call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile() as profile:
        timed.call()
        torch.cuda.synchronize()
    noted = [each for each in profile.key_averages() if each.device_type.name == "CUDA"]
    on_device = [each for each in noted if not getattr(each, "is_user_annotation", False)]
    return peak, sum(each.count for each in on_device)


def measured(makers: Mapping[str, Callable[[], Timed]], device: torch.device, rounds: int) -> dict[str, Row]:
    """Measure contestants in turns; one that cannot take part is a row that says why."""
    found: dict[str, Row] = {}
    taking: dict[str, Timed] = {}
    for name, make in makers.items():
        try:
            timed = make()
            for _ in range(WARM_UP):
                timed.call()
            found[name], taking[name] = Row((), *cost(timed, device)), timed
        except Exception as error:  # any library may fail in any way, and the others go on
            found[name] = Row(note=f"{type(error).__name__}: {error}".splitlines()[0][:60])
    samples = in_turns({name: partial(seconds, timed, device) for name, timed in taking.items()}, rounds, warm_up=0)
    return {name: row._replace(seconds=samples.get(name, ())) for name, row in found.items()}


def shown(title: str, rows: Mapping[str, Row], moved: int = 0, peak: float = 0.0) -> str:
    """Return a table; with the bytes that have to move, also how much of the bandwidth of an addition that is."""
    header = ["", "ms", "times ours", "MB", "launches", *(["GB/s", "of an addition"] if moved else [])]
    lines = []
    for name, row in rows.items():
        if not row.seconds:
            lines.append([name, *[""] * (len(header) - 2), row.note or "not measured"])
            continue
        own, first = median(row.seconds), median(rows[OURS].seconds) if rows[OURS].seconds else float("nan")
        line = [name, f"{number(1e3 * own)} ({number(1e3 * min(row.seconds))})", f"{own / first:.2f}x"]
        line += [number(row.memory / 1e6), str(row.launches)]
        lines.append(line + ([number(moved / own / 1e9), f"{moved / own / peak:.0%}"] if moved else []))
    return table(title, header, lines)


def bandwidth(size: Size, device: torch.device, rounds: int) -> float:
    """Return the bytes a second that an addition into memory that is there reads and writes."""
    a, b, out = (torch.ones(size, device=device) for _ in range(3))
    row = measured({"add": lambda: Timed(lambda: torch.add(a, b, out=out))}, device, rounds)["add"]
    return 3 * out.nbytes / median(row.seconds)
